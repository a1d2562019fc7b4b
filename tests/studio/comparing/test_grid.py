"""Grids: what stands where, in few forwards, kept when stopped."""

import shutil

import pytest
from PIL import Image

from core.errors import StudioError
from core.generation.media import read_png
from core.generation.settings import DEFAULTS
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Sampling
from core.studio.comparing.grid import Axis, Cell, Sheet, cells, parse_axis, render_grid
from core.studio.workspace import ASSETS, Workspace

NONE = Axis("", (None,))
VALUES = {
    "base": "miniature-sd15",
    "negative": "sd15-mini-negative",
    "prompt": "a red circle",
    "steps": 2,
    "omega": 2.0,
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(Workspace(tmp_path_factory.mktemp("space")), cpu=True)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("beta", "0, 0.5,1", (0.0, 0.5, 1.0)),
        ("omega", "0:2:0.5", (0.0, 0.5, 1.0, 1.5, 2.0)),
        ("steps", "10,20", (10, 20)),
        ("seed", "1:3:1", (1, 2, 3)),
        ("negative", "none, a", ("", "a")),
        ("prompt", "a, b\nc", ("a, b", "c")),
    ],
)
def test_values_as_a_person_writes_them(name, text, values):
    assert parse_axis(name, text) == Axis(name, values)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("beta", "x", "not a value of beta"),
        ("beta", "", "has no values"),
        ("steps", "1.5", "whole numbers"),
        ("height", "64", "not an axis"),
        ("beta", "0:9:0", "not a value"),
        ("beta", "0:1e9:1e-9", "not a value"),
    ],
)
def test_values_that_are_not_valid(name, text, sentence):
    with pytest.raises(StudioError, match=sentence):
        parse_axis(name, text)


def test_faults_are_found_before_anything_is_rendered():
    beta = Axis("beta", (0.0, 1.0))
    for axes, sentence in (
        ((NONE, NONE, NONE), "no axis"),
        ((beta, beta, NONE), "same setting"),
        ((Axis("omega", (1.0, 99.0)), beta, NONE), "omega|ω"),
        ((Axis("seed", tuple(range(300))), NONE, NONE), "300 cells"),
    ):
        with pytest.raises(StudioError, match=sentence):
            cells(VALUES, *axes)


def test_cells_are_where_they_belong_and_know_their_settings(engine):
    x, y, pages = Axis("beta", (0.0, 1.0, 2.0)), Axis("omega", (1.0, 3.0)), Axis("seed", (4, 5))
    events = list(render_grid(engine, VALUES, x, y, pages))
    cells = [event for event in events if isinstance(event, Cell)]
    assert len(cells) == 12 and len({cell.place for cell in cells}) == 12
    for cell in cells:
        facts = read_png(cell.saved.path)
        i, j, k = cell.place
        assert (facts["beta"], facts["omega"], facts["seed"]) == (x.values[i], y.values[j], pages.values[k])
        assert cell.score is not None and 0 <= cell.score <= 1
    # two omegas, two steps each, whatever the number of betas and seeds
    assert len([event for event in events if isinstance(event, Sampling)]) == 4
    sheet = events[-1]
    assert isinstance(sheet, Sheet) and len(sheet.paths) == 2
    assert read_png(sheet.paths[0])["grid"] == {"beta": [0.0, 1.0, 2.0], "omega": [1.0, 3.0], "seed": [4, 5]}
    with Image.open(sheet.paths[0]) as picture:
        assert picture.width >= 3 * 128 and picture.height >= 2 * 128


def test_cells_of_several_seeds_share_what_they_have_in_common(engine):
    events = list(render_grid(engine, VALUES, Axis("seed", (4, 5)), NONE, NONE, seeds=2))
    cells_found = [event for event in events if isinstance(event, Cell)]
    assert sorted((cell.place[0], cell.nth, cell.saved.seed) for cell in cells_found) == [
        (0, 0, 4), (0, 1, 5), (1, 0, 5), (1, 1, 6)
    ]  # fmt: skip
    assert len({cell.saved.path for cell in cells_found}) == 3, "seed 5 is rendered once"
    with pytest.raises(StudioError, match="200 cells of 2 pictures; at most 256"):
        cells(VALUES, Axis("seed", tuple(range(200))), NONE, NONE, 2)


def test_a_grid_over_other_settings_and_a_stop_that_keeps_what_is_done(engine):
    steps = Axis("steps", (1, 2, 3))
    seen = []

    def enough():
        return len(seen) >= 1

    for event in render_grid(engine, VALUES, steps, NONE, NONE, cancelled=enough):
        if isinstance(event, Cell):
            seen.append(event)
        last = event
    assert [cell.place for cell in seen] == [(0, 0, 0)] and isinstance(last, Sheet)


def test_outside_the_judges_world_there_is_no_score(engine):
    values = {**VALUES, "prompt": "an astronaut on a horse"}
    cells = [e for e in render_grid(engine, values, Axis("steps", (1,)), NONE, NONE) if isinstance(e, Cell)]
    assert cells[0].score is None


def test_checkpoints_of_a_run_are_an_axis(engine):
    offsets = engine.workspace.runs / "first-1" / "offsets"
    offsets.mkdir(parents=True)
    for step in (50, 100):
        shutil.copy(ASSETS / "offsets" / "sd15-mini-negative.safetensors", offsets / f"step-{step}.safetensors")
    values = {**VALUES, "negative": "run first-1"}
    rendered = [
        e for e in render_grid(engine, values, parse_axis("checkpoint", "50,100"), NONE, NONE) if isinstance(e, Cell)
    ]
    assert [cell.saved.settings["negative"] for cell in rendered] == ["run first-1 step 50", "run first-1 step 100"]
    with pytest.raises(StudioError, match="no checkpoint at step 70") as refused:
        list(render_grid(engine, values, parse_axis("checkpoint", "70"), NONE, NONE))
    assert "50, 100" in refused.value.remedy
    with pytest.raises(StudioError, match="replaces the negative offset"):
        cells(values, parse_axis("checkpoint", "50"), Axis("negative", ("a", "b")), NONE)


def test_where_the_dose_is_held_beta_follows_an_axis_of_omega():
    values = {**DEFAULTS, "omega": 2.0, "beta": 0.9, "hold_dose": True}
    along = lambda values, *axes: [  # noqa: E731
        (settings.omega, settings.beta) for _, settings in cells(values, *axes, *[Axis("", (None,))] * (3 - len(axes)))
    ]
    omegas = Axis("omega", (0.0, 1.0, 6.0))
    assert along(values, omegas) == [(0.0, 0.0), (1.0, 1.8), (6.0, 0.3)]
    assert along({**values, "hold_dose": False}, omegas) == [(0.0, 0.9), (1.0, 0.9), (6.0, 0.9)]
    assert along({**values, "guidance": "both-branches"}, omegas)[2] == (6.0, 0.9), (
        "its dose is beta, whatever omega is"
    )
    assert along(values, omegas, Axis("beta", (0.5,)))[2] == (6.0, 0.5), "an axis of beta is what was asked for"
