"""The floors of the house: imports run downwards only."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = {
    "app": {"core", "core.studio", "core.errors", "core.events", "core.method.guidance", "core.training.config"},
    "core.studio": {
        "core.training",
        "core.generation",
        "core.evaluation",
        "core.offsets",
        "core.families",
        "core.method",
    },
    "core.training": {"core.offsets", "core.families", "core.method"},
    "core.generation": {"core.offsets", "core.families", "core.method"},
    "core.evaluation": {"core.offsets", "core.families", "core.method"},
    "core.offsets": {"core.families", "core.method"},
    "core.families": {"core.method"},
    "core.method": set(),
}
SHARED = {"core", "core.errors", "core.events"}
FILES = sorted(path for top in ("app", "core") for path in (ROOT / top).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {id(n) for branch in ast.walk(tree) if is_typing_branch(branch) for n in ast.walk(branch)}
    nodes = tree.body if top_level else [node for node in ast.walk(tree) if id(node) not in typing_only]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def is_typing_branch(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def within(module: str, floor: str) -> bool:
    return module == floor or module.startswith(f"{floor}.")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_downwards_and_siblings_never_meet(path):
    module = module_of(path)
    floor = next((floor for floor in BELOW if within(module, floor)), None)
    for imported in imports(path):
        if within(imported, "core") and imported not in SHARED:
            assert floor, f"{module} stands on no floor and imports {imported}"
            allowed = BELOW[floor]
            assert within(imported, floor) or any(within(imported, below) for below in allowed), (
                f"{module} imports {imported}"
            )
        assert not within(imported, "app") or floor == "app", f"{module} imports {imported}"
        assert not within(imported, "assets"), f"{module} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_gradio_is_imported_in_app_alone_and_torch_never_there(path):
    module, found = module_of(path), imports(path)
    assert not any(within(name, "gradio") for name in found) or within(module, "app")
    if within(module, "app"):
        assert not any(
            within(name, heavy) for name in found for heavy in ("torch", "diffusers", "transformers", "peft")
        )
    if within(module, "core.studio") and module != "core.studio.worker":
        first = imports(path, top_level=True)
        assert not any(within(name, heavy) for name in first for heavy in ("torch", "diffusers", "core.generation"))


@pytest.mark.parametrize("name", ["launch.py", "core/errors.py", "core/events.py"])
def test_what_all_may_import_needs_the_standard_library_alone(name):
    for imported in imports(ROOT / name):
        top = imported.split(".")[0]
        assert top in sys.stdlib_module_names or imported in SHARED, f"{name} imports {imported}"


def test_no_family_knows_another():
    families = {path.stem for path in (ROOT / "core/families").glob("*.py")} - {"__init__", "base", "samplers"}
    for path in (ROOT / "core/families").glob("*.py"):
        if path.stem in families:
            others = {f"core.families.{name}" for name in families - {path.stem}}
            assert not others & imports(path)
