"""Every action that a tab takes from its file of actions is called by a test without a browser."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BUILDERS = TESTS.parent / "builders"
PAGE = TESTS.parents[1] / "app" / "page"
FILES = sorted(path.stem for path in PAGE.glob("*_actions.py"))


def names_from(tree, module):
    """What a file takes from a module of actions: imported by name, or as an attribute of the module."""
    called = {}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            called |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name == module}
            names |= {alias.name for alias in node.names if (node.module or "").endswith(f".{module}")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in called:
            names.add(node.attr)
    return names


def trees(folder, pattern):
    return [ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob(pattern)]


@pytest.mark.parametrize("module", FILES)
def test_every_action_of_a_tab_is_called_by_a_test_or_by_one_that_is(module):
    own = ast.parse((PAGE / f"{module}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in own.body if isinstance(node, ast.FunctionDef)}
    wired = set().union(*(names_from(tree, module) for tree in trees(PAGE, "*.py"))) & functions.keys()
    calls = trees(TESTS, "test_*.py") + trees(BUILDERS, "*.py")
    tested = set().union(*(names_from(tree, module) for tree in calls)) & functions.keys()
    reached = set()
    while tested - reached:
        name = (tested - reached).pop()
        reached.add(name)
        tested |= {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)} & functions.keys()
    assert wired, "a file of actions that no tab uses"
    assert not wired - reached, f"{sorted(wired - reached)} are called by no test"
