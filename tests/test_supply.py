"""What the program is made of: no way to run a stranger's code, and packages under licences that allow what it does."""

import ast
import importlib.metadata
import re
import sys
import warnings
from pathlib import Path

import pytest

import launch
from tests import audit

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for part in ("core", "app", "assets", "launch.py")
    for path in [ROOT / part, *(ROOT / part).rglob("*.py")]
    if path.is_file()
)
UNPICKLING = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
BUILT_IN = {"eval", "exec", "__import__"}
CHILD = ROOT / "core" / "offsets" / "unpickle.py"
"""The one file of the program that opens a stranger's pickle: in a child process, under limits."""


def faults_of(tree: ast.AST, path: Path) -> list[str]:
    """Calls and imports in a source that could run code which came as data."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            faults += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLING]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in BUILT_IN or name in SHELLS:
            faults.append(f"calls {name}")
        if keywords.get("shell", "False") != "False":
            faults.append(f"{name} with a shell")
        if keywords.get("trust_remote_code", "False") != "False":
            faults.append(f"{name} with trust_remote_code")
        if keywords.get("custom_pipeline", "None") != "None":
            faults.append(f"{name} with custom_pipeline")
        if name == "torch.load" and keywords.get("weights_only") != "True":
            faults.append("torch.load without weights_only=True")
        if name == "torch.load" and path != CHILD and ROOT / "assets" / "build" not in path.parents:
            faults.append("torch.load outside of the child process")
    return faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_fault_65_nothing_that_came_as_data_is_run(path):
    assert not faults_of(ast.parse(path.read_text(encoding="utf-8")), path)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "import joblib.numpy_pickle",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.Popen(command, shell=wanted)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "torch.load(path, weights_only=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "DiffusionPipeline.from_pretrained(name, custom_pipeline=where)",
    ],
)
def test_each_of_them_would_be_seen(line):
    assert faults_of(ast.parse(line), ROOT / "core" / "any.py")


def test_what_is_alike_is_left_alone():
    for line in (
        "model.eval()",
        "subprocess.run(['ls'])",
        "load(path)",
        "from_pretrained(name, trust_remote_code=False)",
    ):
        assert not faults_of(ast.parse(line), ROOT / "core" / "any.py")
    assert not faults_of(ast.parse("torch.load(path, weights_only=True)"), CHILD)


# a licence that lets anyone use, change and pass on what is built with it; those with a duty to publish changes bind their own
# files alone (MPL-2.0), as libraries that are imported unchanged
FREE = (
    r"MIT|MIT-CMU|MIT License|0?BSD|BSD License|3-Clause BSD License|BSD-[23]-Clause|Apache|Apache[ -]2\.0( License)?"
)
FREE += r"|Apache Software License|Apache-2\.0 WITH LLVM-exception|BSL-1\.0|ISC|ISC License|PSF-2\.0|CNRI-Python|Zlib"
FREE += r"|CC0-1\.0|MPL-2\.0|Mozilla Public License 2\.0|DFSG approved"


def licence_of(name: str) -> str:
    """What a package says of its licence: the expression, else the classifiers, else the field, else its licence file."""
    package = importlib.metadata.distribution(name)
    if expression := package.metadata.get("License-Expression"):
        return expression
    classified = [
        c.split(" :: ")[-1] for c in package.metadata.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    if classified:
        return " AND ".join(classified)
    field = (package.metadata.get("License") or "").strip()
    if field:
        return field.splitlines()[0]
    files = [file for file in package.files or [] if "licen" in file.name.lower()]
    return str(files[0].read_text()).strip().splitlines()[0] if files else ""


def acceptable(licence: str) -> bool:
    """Whether all parts of a licence expression are free, and of alternatives one."""
    plain = re.sub(r" \((MPL 2\.0|ISCL)\)|[()]", "", licence)
    return all(
        any(re.fullmatch(FREE, choice.strip()) for choice in part.split(" OR ")) for part in plain.split(" AND ")
    )


@pytest.mark.parametrize("lock", [launch.LOCK, launch.TEST_LOCK], ids=lambda lock: lock.name)
def test_every_pinned_package_may_be_used_and_passed_on(lock):
    unfit = {name: licence_of(name) for name in launch.pins(lock)}
    assert not {name: licence for name, licence in unfit.items() if not acceptable(licence)}


@pytest.mark.parametrize(
    "licence", ["", "GPL-3.0-only", "MIT AND GPL-2.0", "AGPL-3.0", "Proprietary", "CC-BY-NC-4.0", "UNKNOWN"]
)
def test_a_licence_that_binds_more_would_be_seen(licence):
    assert not acceptable(licence)


@pytest.mark.process
def test_no_pinned_package_has_a_known_weakness():
    weaknesses, reason = audit.audit()
    if reason:
        warnings.warn(reason, stacklevel=1)  # a sentence in the summary, and no failure
    assert weaknesses == []


def test_a_weakness_would_be_seen_and_a_silent_database_is_a_sentence(monkeypatch):
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]},
            {"name": "b", "version": "1", "vulns": []},
        ]
    }
    assert audit.found_in(report) == ["a 1: CVE-1, corrected in 2"]
    monkeypatch.setattr(audit, "command", lambda: [sys.executable, "-c", "import sys; sys.exit('no route to host')"])
    assert audit.audit() == (
        [],
        "The pinned packages were not all audited: the advisory database cannot be reached (no route to host).",
    )
    monkeypatch.setattr(audit, "command", lambda: None)
    assert audit.audit() == ([], "The pinned packages were not all audited: pip-audit is not installed.")
