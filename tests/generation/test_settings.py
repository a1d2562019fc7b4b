"""Each setting of a comparison is declared once, and everything else agrees with the declaration."""

import dataclasses
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.generation import limits
from core.generation.comparison import Comparison
from core.generation.foreign_metadata import parse_parameters
from core.generation.inputs import InputImage
from core.generation.media import parameters_text
from core.generation.settings import COLUMN, FIELDS, Settings, column_values
from core.method.guidance import GuidanceWeights
from core.studio.library.choose import BUNDLED
from core.studio.presets.preset import places, preset_of, schema_json

ROOT = Path(__file__).parents[2]
NUMBERS = sorted(name for name, about in FIELDS.items() if about.kind in (int, float))


def at(name, place):
    """The least or greatest value of a setting, and one just beyond it."""
    bound = FIELDS[name].range[place]
    step = (1 if FIELDS[name].kind is int else 1e-3) * (1 if place else -1)
    return bound, bound + step


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", NUMBERS)
def test_form_preset_and_renderer_agree_on_every_range(name, place):
    inside, outside = at(name, place)
    others = {"images": 1} if name != "images" else {}
    assert getattr(Settings.from_values({name: inside, **others}), name) == inside
    with pytest.raises(StudioError, match=f"{name} is .*, outside"):
        Settings.from_values({name: outside, **others})
    with pytest.raises(StudioError, match=f"{name} is .*, outside"):
        preset_of({name: outside})
    if name in COLUMN:
        assert column_values(Settings.from_values({name: inside}).weights)[name] == inside
        flat = {"beta_split": "split", "beta_late": "late"}
        with pytest.raises(StudioError):
            if name in flat:
                dataclasses.replace(GuidanceWeights(omega=1).beta_schedule, **{flat[name]: outside})
            else:
                GuidanceWeights(**{"omega": 1.0, name: outside})
    if name in places():
        part, key = places()[name]
        kept = preset_of({name: inside}).model_dump()[part][key]
        assert kept == inside
    if name in ("strength", "control_scale"):
        InputImage(image=None, **{name: inside})
        with pytest.raises(StudioError, match=name):
            InputImage(image=None, **{name: outside})


def test_the_ranges_of_the_presets_schema_are_the_declared_ones():
    import json

    definitions = json.loads(schema_json())["$defs"]
    for name, (part, key) in places().items():
        if name in NUMBERS:
            (number, _) = definitions[part.title()]["properties"][key]["anyOf"]
            assert (number["minimum"], number["maximum"]) == FIELDS[name].range


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_value_of_another_type_is_refused_and_the_setting_named(name):
    wrong = {
        bool: ["yes", 1, None, math.nan],
        str: [1, None, True, "\ud800", "x" * (limits.PROMPT + 1)],
        int: ["1", None, True, 1.5, math.nan, math.inf, 10**400, [1]],
        float: ["1", None, True, math.nan, -math.inf, -(10**400), {}],
    }
    for value in wrong[FIELDS[name].kind]:
        with pytest.raises(StudioError, match=f"^{name} ") as refused:
            Settings.from_values({name: value})
        assert refused.value.remedy and len(str(refused.value)) < 300
        str(refused.value).encode("utf-8")


JSON = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)) | st.text(max_size=5), JSON, max_size=5))
def test_values_are_settings_or_a_sentence(values):
    try:
        settings = Settings.from_values(values)
    except StudioError as error:
        assert error.message
        return
    assert Settings.from_values(settings.values()) == settings


def test_what_a_comparison_is_made_of_is_in_its_pictures():
    values = {
        "omega": 3.0,
        "beta": 0.5,
        "seed": 7,
        "images": 2,
        "base": "/home/me/model",
        "negative": "runs/a.safetensors",
    }
    comparison = Comparison.of(Settings.from_values(values))
    assert comparison.seeds == (7, 8) and [column.beta for column in comparison.columns] == [0.0, 0.5]
    facts = comparison.facts(1, 8, video=False)
    assert (facts["omega"], facts["beta"], facts["seed"], facts["base"]) == (3.0, 0.5, 8, "model")
    assert facts["negative"] == "a.safetensors" and not {"frames", "strength", "control", "images"} & set(facts)
    assert {"frames", "fps"} <= set(comparison.facts(0, 7, video=True))
    text = parse_parameters(parameters_text(facts | {"guidance_scale": 4.0})).values
    assert (text["omega"], text["beta"], text["seed"]) == (3.0, 0.5, 8)


def test_the_cost_of_a_comparison():
    plain, npo = GuidanceWeights(omega=2.0), GuidanceWeights(omega=2.0, beta=1.0)
    comparison = Comparison(seeds=(1, 2), columns=(plain, npo, GuidanceWeights(omega=0.0)), steps=10)
    assert comparison.row_forwards == 10 * 2 * (2 + 2 + 1)
    drawn_anew = dataclasses.replace(comparison, image=object(), strength=0.4)
    assert drawn_anew.row_forwards == 4 * 2 * 5
    assert dataclasses.replace(drawn_anew, control="edges").row_forwards == comparison.row_forwards


def test_the_model_at_the_start_is_the_bundled_one():
    assert FIELDS["base"].default == BUNDLED


ADDED = '    graininess: float = _setting(0.25, "Strength", "What to draw.", range=(0.0, 2.0), step=0.05, preset="sampler.graininess", metadata="Graininess", axis=True)\n'
PROOF = """
import json
from app.cli import main
from app.page.form import make_controls
from core.generation.comparison import Comparison
from core.generation.foreign_metadata import parse_parameters
from core.generation.media import parameters_text
from core.generation.settings import Settings
from core.studio.comparing.engine import Engine
from core.studio.comparing.grid import axes, parse_axis
from core.studio.comparing.settings import opening_values
from core.studio.presets.preset import preset_of, schema_json
from core.studio.presets.reading import parse_preset
from core.studio.presets.resolving import resolve
from core.studio.workspace import Workspace
import gradio as gr, sys

workspace = Workspace(sys.argv[1])
with gr.Blocks():
    engine = Engine(workspace, cpu=True)
    fields = make_controls(engine, opening_values(workspace, {}))
control = fields.controls["graininess"]
assert (control.minimum, control.maximum, control.step, control.value) == (0.0, 2.0, 0.05, 0.25)
values = fields.read([1.5 if name == "graininess" else None for name in fields.controls])
assert values["graininess"] == 1.5
comparison = Comparison.of(Settings.from_values(values))
assert comparison.graininess == 1.5
facts = comparison.facts(1, 0, video=False)
assert facts["graininess"] == 1.5 and "Graininess: 1.5" in parameters_text(facts)
assert parse_parameters(parameters_text(facts)).values["graininess"] == 1.5
preset = preset_of({"graininess": 1.5})
assert resolve(workspace, parse_preset(preset.to_json())).values == {"graininess": 1.5}
assert "graininess" in json.loads(schema_json())["$defs"]["Sampler"]["properties"]
assert "graininess" in axes() and parse_axis("graininess", "0, 1").values == (0.0, 1.0)
assert main(["compare", "x", "--dry-run", "--set", "graininess=1.5", "--workspace", sys.argv[1]]) == 0
assert main(["compare", "x", "--dry-run", "--set", "graininess=2.5", "--workspace", sys.argv[1]]) == 1
"""


@pytest.mark.process
def test_a_new_setting_is_one_line(tmp_path):
    """In a copy of the program one line is added to the declaration; nothing else is changed."""
    for name in ("app", "core"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("assets", "presets"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    declaration = tmp_path / "core" / "generation" / "settings.py"
    text = declaration.read_text(encoding="utf-8")
    before = "    def __post_init__(self) -> None:\n        for entry"
    assert text.count(before) == 1
    declaration.write_text(text.replace(before, ADDED + "\n" + before), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PROOF, str(tmp_path / "space")]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "graininess = 1.5" in ended.stdout and "graininess is 2.5, outside 0 to 2" in ended.stderr
