"""The form of Compare, without a browser: its controls are the declared settings, and fill and read are each other's inverse."""

import json
import re
from pathlib import Path

import gradio as gr
import pytest

from app.page.fields import _IN_0_2, nothing, options
from app.page.form import make_controls
from core.generation.forms import MEANINGS, TITLES
from core.generation.settings import DEFAULTS, FIELDS
from core.method.forms import FORMS
from core.studio.comparing.engine import Engine
from core.studio.comparing.settings import comparison_of, opening_values
from core.studio.runs.notes import Notes, write_notes
from core.studio.runs.run import create_run
from core.studio.workspace import Workspace
from core.training.config import TrainConfig


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(Workspace(tmp_path_factory.mktemp("space")), cpu=True)


@pytest.fixture(scope="module")
def fields(engine):
    with gr.Blocks():
        return make_controls(engine, opening_values(engine.workspace, {}))


def shown(updates, fields):
    """What the controls hold after these updates; None for those that are left alone."""
    shown_values = {}
    for name, update in zip(fields.controls, updates, strict=True):
        arguments = update if isinstance(update, dict) else getattr(update, "constructor_args", {"value": update})
        shown_values[name] = arguments.get("value")
    return shown_values


def test_every_setting_has_one_control_with_its_range(fields):
    assert set(fields.controls) == set(FIELDS)
    for name, control in fields.controls.items():
        if isinstance(control, gr.Slider):
            assert (control.minimum, control.maximum) == FIELDS[name].range
        assert isinstance(control, gr.Dropdown) == bool(FIELDS[name].lists or FIELDS[name].options)


def test_what_the_controls_hold_is_a_comparison(fields):
    held = [
        nothing(name) if FIELDS[name].lists not in ("", "base") else FIELDS[name].default for name in fields.controls
    ]
    assert fields.read(held) == DEFAULTS
    assert comparison_of(fields.read(held)).seeds == (0, 1)
    assert fields.read([None] * len(held)) == DEFAULTS, "an emptied control is the default"


def test_filling_sets_what_is_given_and_leaves_the_rest(engine, fields):
    updates = shown(fields.fill(engine, {"omega": 3.0, "prompt": "a"}), fields)
    assert (updates["omega"], updates["prompt"]) == (3.0, "a")
    assert all(value is None for name, value in updates.items() if name not in ("omega", "prompt"))


def test_row_75_an_unknown_scheduler_does_not_enter_the_list(engine, fields):
    for values in ({"scheduler": "best", "base": "miniature-sd15"}, {"scheduler": "dpm"}):
        updates = fields.fill(engine, values, "miniature-sd15")
        listed = [name for _, name in updates[list(fields.controls).index("scheduler")].choices]
        assert listed == ["auto", "dpmsolver++", "ddim", "euler", "unipc"]
        assert shown(updates, fields)["scheduler"] is None, "what was chosen stays"


def test_the_browser_gets_back_what_it_kept_by_name_and_as_version_0_2_kept_it(engine, fields):
    values = {**DEFAULTS, "omega": 4.5, "negative": "sd15-mini-negative", "scheduler": "auto", "control": "none"}
    for stored in (values, [values[name] for name in _IN_0_2]):
        updates = shown(fields.restore(engine, json.dumps(stored)), fields)
        assert (updates["omega"], updates["negative"], updates["scheduler"]) == (4.5, "sd15-mini-negative", "auto")


@pytest.mark.parametrize("kept", ["", "null", "5", "[1]", "{", '{"base": 5}', '{"base": "nowhere"}', "[" * 100_000])
def test_what_a_browser_kept_may_be_anything(engine, fields, kept):
    assert fields.restore(engine, kept) == [gr.skip()] * len(fields.controls)


def test_a_kept_value_outside_its_range_is_left_out(engine, fields):
    kept = {"base": "miniature-sd15", "omega": 99, "beta": "x", "steps": True, "strange": 1, "seed": 4}
    updates = shown(fields.restore(engine, json.dumps(kept)), fields)
    assert updates["seed"] == 4 and updates["omega"] is None and updates["beta"] is None and updates["steps"] is None


def test_an_offset_of_a_run_is_labelled_with_its_title_start_and_base(engine):
    run = create_run(engine.workspace, TrainConfig.from_dict({"base": "miniature-sd15"}), "first")
    write_notes(run, Notes("without stripes", ""))
    (text, name), (other, _) = options([f"run {run.id}", "sd15-mini-negative"], engine.workspace)
    assert name == f"run {run.id}" and other == "sd15-mini-negative"
    assert re.fullmatch(rf"run {run.id} · without stripes · \d{{4}}-\d\d-\d\d \d\d:\d\d · miniature-sd15", text)


def test_every_form_of_guidance_has_its_title_its_meaning_and_its_drawing():
    script = (Path(__file__).parents[2] / "app" / "page" / "diagram.js").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^    '?([a-z-]+)'?: \(\) =>", script, re.MULTILINE))
    labels = re.search(r"label\(at\.npo, \{(.*?)\}\[form\]", script)
    assert drawn == set(FORMS) == set(TITLES) == set(MEANINGS)
    assert labels and set(re.findall(r"'?([a-z-]+)'?: '", labels[1])) == set(FORMS)
