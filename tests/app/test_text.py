"""Every text of the page has its Chinese."""

import ast
import re
from pathlib import Path

from app.page.text import CHINESE, SAID
from core.training.config import FIELDS, RECIPE_HELP

PAGE = Path(__file__).parents[2] / "app" / "page"


def texts(called):
    """What stands in t(…), or in say(…), in the page's code: texts, and names of texts above it."""
    for path in sorted(PAGE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == called and node.args:
                given = node.args[0]
                if isinstance(given, ast.Constant):
                    yield path.name, given.value
                elif isinstance(given, ast.Name) and given.id in constants:
                    yield path.name, constants[given.id]


def test_every_text_of_the_page_has_its_chinese():
    found = list(texts("t"))
    assert len(found) > 120
    assert not [(name, text) for name, text in found if text not in CHINESE]


def test_every_sentence_with_figures_has_its_chinese_with_the_same_figures():
    found = list(texts("say"))
    assert len(found) > 50
    assert not [(name, text) for name, text in found if text not in SAID]
    fields = re.compile(r"{[^}]*}")
    assert not [
        text for text, chinese in SAID.items() if sorted(fields.findall(text)) != sorted(fields.findall(chinese))
    ]


def test_every_training_setting_and_recipe_has_its_chinese():
    from app.page.train import HIDDEN

    wanted = [t for n, f in FIELDS.items() if n not in HIDDEN for t in (n.replace("_", " "), f.metadata["help"])]
    assert not [text for text in (*wanted, *RECIPE_HELP.values()) if text not in CHINESE]
