"""The floors of the house: imports run downwards only."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from core.families import NAMES

ROOT = Path(__file__).parents[1]
METHOD = {"core.method"}
FAMILIES = METHOD | {"core.families"}
OFFSETS = FAMILIES | {"core.offsets"}
DECLARATIONS = {"core.generation.settings", "core.generation.forms", "core.method.forms", "core.generation.comparison"}
BELOW = {
    # the page knows the studio; the modules below it are plain data without torch, and a test holds them to that
    "app": {
        "core.studio",
        "core.method.guidance",
        "core.training.config",
        "core.training.cost",
        "core.training.recipes",
        *DECLARATIONS,
    },
    "core.studio": OFFSETS | {"core.training", "core.generation", "core.evaluation", "core.miniature"},
    "core.training": OFFSETS,
    "core.generation": OFFSETS,
    "core.evaluation": OFFSETS,
    "core.miniature": OFFSETS | {"core.evaluation"},
    "core.offsets": FAMILIES,
    "core.families": METHOD,
    "core.method": set(),
}
"""What each floor may import beside itself. Floors side by side do not name each other."""

SHARED = {"core", "core.errors", "core.events", "core.files"}
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate")
WORKER = "core.studio.runs.worker"  # the training process itself: nothing else imports it
# the one room of a wing that imports torch, itself imported late
HEAVY_ROOMS = ("core.studio.comparing.models", "core.studio.runs.training")
FILES = sorted(path for top in ("app", "core") for path in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(tree: ast.AST, *, at_once: bool) -> list[ast.AST]:
    """All nodes but those for the type checker; `at_once`: only what runs when the module is imported."""
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not for_types_only(node) and not (at_once and later):
            nodes += [node, *statements(node, at_once=at_once)]
    return nodes


@cache
def imports(path: Path, *, at_once: bool = False) -> set[str]:
    """The modules a file imports, by whatever spelling: `from core import studio` is core.studio."""
    names: set[str] = set()
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), at_once=at_once):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*parents, *([node.module] if node.module else [])])
            inner = {f"{source}.{alias.name}" for alias in node.names if is_module(f"{source}.{alias.name}")}
            names |= inner or {source}
    return names


WINGS = ("core.studio.comparing", "core.studio.runs", "core.studio.presets", "core.studio.studying")
"""Wings of the studio. Each may import the hall (the modules of core/studio itself) and the library, but no other wing."""
DOCTOR = "core.studio.doctor"  # looks after the whole house


def within(module: str, *floors: str) -> bool:
    return any(module == floor or module.startswith(f"{floor}.") for floor in floors)


def reached(module: str) -> set[str]:
    """Everything that importing a module of this repository imports at once, through all that it imports itself."""
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if within(name, "core", "app"):
            parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
            file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            file = file if file.is_file() else ROOT.joinpath(*name.split("."), "__init__.py")
            waiting |= (imports(file, at_once=True) | parents) - seen
    return seen


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_downwards_and_siblings_never_meet(path):
    module = module_of(path)
    floor = next((floor for floor in BELOW if within(module, floor)), None)
    assert floor or module in SHARED, f"{module} stands on no floor"
    for imported in imports(path):
        if within(imported, "core") and imported not in SHARED:
            assert floor and within(imported, floor, *BELOW[floor]), f"{module} imports {imported}"
        assert not within(imported, "app") or floor == "app", f"{module} imports {imported}"
        assert not within(imported, "assets", "tests", "launch"), f"{module} imports {imported}"


@pytest.mark.parametrize("path", [path for path in FILES if within(module_of(path), "core.studio")], ids=module_of)
def test_the_wings_of_the_studio_do_not_know_each_other(path):
    module, imported = module_of(path), imports(path)
    own = next((wing for wing in WINGS if within(module, wing)), None)
    others = [wing for wing in WINGS if wing != own]
    if module != DOCTOR:
        assert not [name for name in imported if within(name, *others)], f"{module} enters another wing"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_gradio_is_imported_in_app_alone_and_torch_never_there(path):
    module, names = module_of(path), imports(path)
    assert within(module, "app") or not any(within(name, "gradio") for name in names)
    assert not within(module, "app") or not any(within(name, *HEAVY) for name in names)
    assert not any(within(name, WORKER) for name in names), "the training process is started, never imported"


@pytest.mark.parametrize("module", sorted({m for p in FILES if within(m := module_of(p), "app")}))
def test_the_page_is_served_before_torch_is_imported(module):
    assert not {name for name in reached(module) if within(name, *HEAVY)}


@pytest.mark.parametrize("path", [path for path in FILES if within(module_of(path), "core.studio")], ids=module_of)
def test_the_studio_imports_torch_inside_functions(path):
    if module_of(path) not in HEAVY_ROOMS:
        assert not {name for name in reached(module_of(path)) if within(name, *HEAVY)}


@pytest.mark.parametrize("name", ["launch.py", "core/__init__.py", "core/errors.py", "core/events.py", "core/files.py"])
def test_what_all_may_import_needs_the_standard_library_alone(name):
    for imported in imports(ROOT / name):
        assert imported.split(".")[0] in sys.stdlib_module_names or imported in SHARED, f"{name} imports {imported}"


def test_no_family_knows_another():
    families = set(NAMES)
    for name in families:
        others = {f"core.families.{other}" for other in families - {name}}
        assert not others & imports(ROOT / f"core/families/{name}.py")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("from core import studio", "core.studio"),
        ("from . import runs", "core.studio.runs"),
        ("from ..method.guidance import guide", "core.method.guidance"),
        ("def later():\n    import torch.nn", "torch.nn"),
    ],
)
def test_the_reader_of_imports_sees_every_spelling(tmp_path, monkeypatch, source, wanted):
    file = tmp_path / "core" / "studio" / "asked.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    for inner in ("studio/runs.py", "method/guidance.py"):
        (tmp_path / "core" / inner).parent.mkdir(exist_ok=True)
        (tmp_path / "core" / inner).touch()
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    is_module.cache_clear()
    assert imports(file) == {wanted}
    assert imports(file, at_once=True) == (set() if "def" in source else {wanted})
    is_module.cache_clear()
