"""Every text of the page has its Chinese."""

import ast
import json
import re
import string
from pathlib import Path

import pytest

from app.page.fields import LABELS
from app.page.library_actions import COLUMNS, KINDS
from app.page.proposal_actions import WORDS
from app.page.text import CHINESE, MESSAGES, PHRASES, SENTENCES, _in_chinese
from core.errors import Sentence, StudioError
from core.events import RunFailed, from_json, to_json
from core.generation.forms import MEANINGS
from core.generation.settings import FIELDS as SETTINGS
from core.studio.comparing.grid import axes
from core.training.config import FIELDS
from core.training.recipes import RECIPE_HELP

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "app" / "page"
SPEAKERS = ("StudioError", "Damaged", "DiskFull", "Sentence", "Note", "Notice", "RunFailed", "on_note", "out_of_room")


def texts(called):
    """What is in label(…), or in sentence(…), in the page's code: texts, and names of texts above it."""
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
                argument = node.args[0]
                if isinstance(argument, ast.Constant):
                    yield path.name, argument.value
                elif isinstance(argument, ast.Name) and argument.id in constants:
                    yield path.name, constants[argument.id]


def test_every_text_of_the_page_has_its_chinese():
    labels = list(texts("label"))
    assert len(labels) > 120
    assert not [(name, text) for name, text in labels if text not in CHINESE]


def test_every_sentence_with_figures_has_its_chinese_with_the_same_figures():
    sentences = list(texts("sentence"))
    assert len(sentences) > 50
    assert not [(name, text) for name, text in sentences if text not in SENTENCES]
    fields = re.compile(r"{[^}]*}")
    assert not [
        text for text, chinese in SENTENCES.items() if sorted(fields.findall(text)) != sorted(fields.findall(chinese))
    ]


def test_every_value_and_axis_has_its_chinese_name():
    names = [LABELS.get(name, name) for name in (*SETTINGS, *axes())] + [about.help for about in SETTINGS.values()]
    names += [title for about in SETTINGS.values() for title in about.options.values()] + list(MEANINGS.values())
    assert not [name for name in (*names, *WORDS.values(), *KINDS.values(), *COLUMNS) if name not in CHINESE]


def test_every_setting_of_an_evaluation_has_its_chinese():
    from app.page.evaluate_actions import HELP
    from app.page.evaluate_actions import LABELS as NAMES

    assert not [text for text in (*NAMES.values(), *HELP.values()) if text not in CHINESE]


def test_every_training_setting_and_recipe_has_its_chinese():
    from app.page.train_actions import HIDDEN

    wanted = [t for n, f in FIELDS.items() if n not in HIDDEN for t in (n.replace("_", " "), f.help)]
    assert not [text for text in (*wanted, *RECIPE_HELP.values()) if text not in CHINESE]


def wordings(node, names):
    """The sentences that an expression may be, each a template."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        raise AssertionError(f"{ast.unparse(node)}: a sentence for a person is a template and its values")
    elif isinstance(node, ast.IfExp):
        yield from wordings(node.body, names)
        yield from wordings(node.orelse, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, []):
            yield from wordings(value, {})


def sentences_of_the_engine():
    """What core and the page's code may tell a person: messages, remedies, notes; missing things of a preset."""
    for path in sorted([*(ROOT / "core").rglob("*.py"), *PAGE.glob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            own = called == "__init__" and ast.unparse(node.func).startswith("super()")  # of an error
            if called in SPEAKERS or own or ast.unparse(node.func) == "missing.append":
                for argument in [*node.args, *(k.value for k in node.keywords if k.arg in (None, "message", "remedy"))]:
                    yield from ((path.name, text) for text in wordings(argument, names) if " " in text)


def test_every_sentence_of_the_engine_has_its_chinese_and_no_other_is_kept():
    sentences = {text: name for name, text in sentences_of_the_engine()}
    assert len(sentences) > 300
    assert not [(name, text) for text, name in sentences.items() if text not in MESSAGES and text not in CHINESE]
    assert not [text for text in MESSAGES if text not in sentences]
    for english, chinese in {**MESSAGES, **PHRASES}.items():
        assert slots(english) == slots(chinese), english


def slots(text):
    """The names of what is filled into a template."""
    names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    assert all(names), f"{text}: a value has a name"
    return sorted(names)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        (Sentence("There is no preset “{name}”.", name="a {b}"), "没有预设“a {b}”。"),
        (
            Sentence("“{name}” is cut off or damaged at tensor {tensor}.", name="a.b", tensor="x.y"),
            "“a.b”在张量 x.y 处被截断或损坏。",
        ),
        (
            Sentence(
                "The {what} “{name}” is not on this machine; it is on the Hub in {repository}.",
                what=Sentence("negative offset"),
                name="x. y",
                repository="a/b",
            ),
            "本机没有负偏移“x. y”；Hub 的 a/b 中有。",
        ),
        ("Seed of everything random in the run.", "本次运行中所有随机数的种子。"),
        ("A sentence nobody knows.", "A sentence nobody knows."),
    ],
)
def test_sentences_are_shown_in_chinese(english, chinese):
    assert _in_chinese(english) == chinese


def test_a_sentence_is_translated_by_its_template_whatever_was_filled_in():
    name = "x. y” could not be written: the disk is full."
    error = StudioError("“{name}” could not be written: the disk is full.", "Free disk space.", name=name)
    assert _in_chinese(error.message) == f"“{name}”无法写入：磁盘已满。"
    assert _in_chinese(error.remedy) == "请释放磁盘空间。"
    reason = Sentence("it does not hold a JSON {kind}", kind=Sentence("list"))
    damaged = StudioError("“{name}” is damaged: {reason}.", name="a", reason=reason)
    assert _in_chinese(damaged.message) == "“a”已损坏：其内容不是 JSON 列表。"


def test_a_sentence_survives_a_journal_and_a_hostile_template_is_never_formatted():
    event = RunFailed(message=Sentence("“{name}” does not exist.", name="a"), remedy="Choose another.")
    read = from_json(json.loads(json.dumps(to_json(event))))
    assert read == event and _in_chinese(read.message) == "“a”不存在。"
    evil = {**to_json(event), "templates": {"message": {"template": "{name:999999999}", "values": {"name": "a"}}}}
    assert _in_chinese(from_json(evil).message) == event.message
    mismatched = {**to_json(event), "templates": {"message": {"template": "“{name}” does not exist.", "values": {}}}}
    assert _in_chinese(from_json(mismatched).message) == event.message
