"""Views, examples, wiring, and the files that lists leave out."""

from app.page import (
    history_actions,
    library_actions,
    presets_actions,
    runs_actions,
)
from app.page.examples import chosen_prompts, words_of
from app.page.views import Cell, Pair, board, flicker, slider
from app.page.wiring import by_component


def test_what_came_from_outside_is_escaped_in_every_view():
    evil = '"><script>'
    pair = Pair((Cell(evil, evil, settings={}), Cell("b", evil, video=evil)), evil, evil)
    for shown in (board([pair], chosen=0), slider(pair), flicker(pair), flicker(Pair(pair.cells[:1], "x"))):
        assert "<script>" not in shown


def test_examples_are_short_and_words_are_each_once():
    assert words_of(["a Red moon", "a red, half-moon 3"]) == ["a", "half-moon", "moon", "red"]
    assert chosen_prompts(["x" * 99, *(f"p{n}" for n in range(8))], 4) == ["p0", "p2", "p4", "p6"]


def test_damaged_files_that_a_list_leaves_out_are_named_in_it(workspace):
    for file in (workspace.outputs / "a.png", workspace.presets / "b.json", workspace.runs / "c" / "config.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{")
    (workspace.models / "d").mkdir(parents=True)
    (workspace.models / "d" / "model_index.json").write_text("{")
    for shown, name in (
        (history_actions.search(workspace, "", False)["summary"], "a.png"),
        (presets_actions.listed(workspace)["presets_left"], "b.json"),
        (runs_actions.refresh(workspace, None)["runs_left"], "c"),
        (library_actions.refresh(workspace)["library_left"], "d"),
    ):
        assert "Left out because damaged: 1" in shown and f"“{name}”" in shown and str(workspace.root) not in shown
    assert library_actions.left_out([]) == ""


def test_actions_are_joined_to_components_by_name():
    parts = {"a": object(), "b": object()}
    assert by_component(parts, lambda x: {"b": x})(3) == {parts["b"]: 3}
    assert list(by_component(parts, _twice)(3)) == [{parts["a"]: 3}, {parts["b"]: 3}]
    assert by_component(parts, dict)()["__type__"] == "update", "an empty answer changes nothing"


def _twice(x):
    yield {"a": x}
    yield {"b": x}
