"""Columns of any settings, sweeps over two of them, and what is chosen on one part of the prompts and confirmed on another."""

import csv
import json

import pytest
import torch
from PIL import Image

from core.errors import StudioError
from core.generation.media import read_png
from core.method.guidance import GuidanceWeights
from core.offsets.writing import save_offset
from core.studio.evaluating.folder import create_evaluation
from core.studio.evaluating.report import write_report
from core.studio.evaluating.results import figures_of
from core.studio.evaluating.settings import NPO, EvaluationSettings, cells_of, columns_of, row_forwards
from core.studio.evaluating.sweep import best_settings
from tests.builders.evaluations import finished, prepared, settings
from tests.builders.offsets import DELTA

SWEEP = {"sweep_x": "beta=0,1,2", "sweep_y": "omega=1,2", "controls": False, "effective": False, "probe": 0}


@pytest.fixture
def space(workspace, tmp_path):
    return prepared(workspace, tmp_path)


def test_cells_that_are_columns_already_are_not_rendered_twice():
    swept = EvaluationSettings.from_dict({"negative": "bad", "cfg": "4", **SWEEP})
    names = {place: column.name for place, column in cells_of(swept).items()}
    assert names == {
        (0, 0): "CFG ω 1",
        (1, 0): "beta 1, omega 1",
        (2, 0): "beta 2, omega 1",
        (0, 1): "CFG ω 2",
        (1, 1): NPO,
        (2, 1): "beta 2, omega 2",
    }
    assert [column.name for column in columns_of(swept)] == [
        NPO,
        "beta 1, omega 1",
        "beta 2, omega 1",
        "beta 2, omega 2",
        "CFG ω 1",
        "CFG ω 2",
        "CFG ω 4",
    ]
    assert row_forwards(swept) == 40 * 7 * 2 * 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep_x": "prompt=a"}, "“prompt” cannot be swept"),
        ({"sweep_x": "beta=9"}, "beta is 9"),
        ({"sweep_x": "beta=a"}, "“a” is not a value of beta"),
        ({"sweep_x": "beta=", "sweep_y": ""}, "The axis beta has no values"),
        ({"sweep_x": "beta=0:1:0.01"}, "101 cells, more than 64"),
        ({"sweep_x": "beta=0,1", "sweep_y": "beta=1"}, "Both axes"),
        ({"columns": [{"bta": 1}]}, "no setting “bta”. Did you mean beta"),
        ({"columns": ["beta"]}, "not a valid column"),
        ({"columns": [{"name": "NPO"}]}, "Two columns are called “NPO”"),
        ({"columns": [{"steps": 0}]}, "steps is 0"),
        ({"choosing": 1.0}, "choosing is 1"),
        ({"columns": [{"negative": "none.safetensors"}]}, "no offset “none"),
        ({"reference": "nowhere"}, "“nowhere” holds 0 pictures"),
    ],
)
def test_columns_and_sweeps_that_cannot_be_are_reported_before_anything_is_made(space, tmp_path, changes, message):
    with pytest.raises(StudioError, match=message):
        create_evaluation(space, settings(tmp_path, **changes))
    assert not list((space.root / "evaluations").glob("*/settings.json"))


def test_prompts_that_choose_are_spread_evenly():
    chosen = EvaluationSettings(choosing=0.25)
    assert [n for n in range(12) if chosen.chooses(n)] == [3, 7, 11]
    assert not any(EvaluationSettings(choosing=0.0).chooses(n) for n in range(50))


@pytest.mark.long
def test_a_sweep_has_its_map_table_sheets_and_preset(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path, **SWEEP, cfg=(1.0,), choosing=0.5))
    finished(space, evaluation)
    figures = write_report(evaluation)
    assert (figures["pairs"], figures["reported"], figures["chosen_on"]) == (4, 2, 2)
    found = figures["sweep"]["scorers"]["judge-preference"]
    means = {row["column"]: row["mean"]["value"] for row in figures["scorers"]["judge-preference"]["rows"]}
    assert len(found["cells"]) == 6 and all(cell["value"] == means[cell["column"]] for cell in found["cells"])
    assert found["best"]["low"] <= found["best"]["value"] <= found["best"]["high"]
    # the best cell is the best of the pairs set aside, whatever the others say
    own = [figures_of_pairs(evaluation, cell["column"], (1, 3)) for cell in found["cells"]]
    best = max(range(6), key=lambda n: own[n])
    assert found["best"]["column"] == found["cells"][best]["column"]
    page = (evaluation.folder / "report.html").read_text()
    assert page.count("outline:3px") == 2 and "<script" not in page
    with (evaluation.folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and sum(int(row["best"]) for row in rows) == 2
    figure = json.loads((evaluation.folder / "heatmap-judge-preference.json").read_text())
    assert figure["data"][0]["type"] == "heatmap" and len(figure["data"][0]["z"]) == 2
    facts = read_png(evaluation.folder / "sheet-000000.png")
    assert facts["grid"] == {"beta": [0.0, 1.0, 2.0], "omega": [1.0, 2.0]} and facts["negative"] == "bad.safetensors"
    with Image.open(evaluation.folder / "sheet-000000.png") as sheet:
        assert sheet.width > 3 * 128
    best_values = best_settings(evaluation.settings, figures, "judge-preference")
    place = found["best"]
    assert best_values["beta"] == [0.0, 1.0, 2.0][place["x"]] and best_values["omega"] == [1.0, 2.0][place["y"]]


def figures_of_pairs(evaluation, column, pairs, scorer="judge-preference"):
    values = [v for n in range(2) for v in evaluation.chunk(n)["columns"][column][scorer]]
    return sum(values[pair] for pair in pairs)


@pytest.mark.long
def test_a_column_may_have_offsets_steps_and_words_of_its_own(space, tmp_path):
    other = (
        {name: (factors[0], factors[1] * 3) for name, factors in DELTA.items()} if isinstance(DELTA, dict) else DELTA
    )
    save_offset(space.offsets / "worse.safetensors", other, family="sd15", provenance={})
    columns = (
        {"name": "worse", "negative": "worse.safetensors"},
        {"name": "as NPO", "negative": "bad.safetensors"},
        {"name": "fewer steps", "steps": 1},
        {"name": "away from red", "negative_prompt": "red circle"},
    )
    evaluation = create_evaluation(space, settings(tmp_path, columns=columns, controls=False, count=2))
    assert set(evaluation.facts["offsets"]) == {"worse.safetensors"}
    finished(space, evaluation)
    figures = evaluation.chunk(0)["columns"]
    assert figures["as NPO"]["contrast"] == pytest.approx(figures[NPO]["contrast"], abs=2e-3)
    for name in ("fewer steps", "away from red"):
        assert figures[name]["contrast"] != pytest.approx(figures[NPO]["contrast"], abs=1e-5), name
    assert set(evaluation.probe()["columns"]) == {NPO, *(column["name"] for column in columns)}
    rows = figures_of(evaluation, draws=50)["scorers"]["judge-preference"]["rows"]
    costs = {row["column"]: row["row_forwards"] for row in rows}
    assert costs["fewer steps"] == 2 and costs[NPO] == 4
    assert next(c for c in columns_of(evaluation.settings) if c.name == "worse").weights == GuidanceWeights(
        omega=2.0, beta=1.0
    )


@pytest.mark.long
def test_diversity_and_distance_to_a_folder_of_pictures(space, tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    for n in range(9):
        noise = torch.randint(0, 255, (64, 64, 3), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(folder / f"{n}.png")
    evaluation = create_evaluation(
        space, settings(tmp_path, seeds=2, reference=str(folder), controls=False, effective=False, probe=0)
    )
    finished(space, evaluation)
    measured = figures_of(evaluation, draws=50)["distribution"]
    assert measured["pairs"] == 8 and "diversity_minus_same_omega" in measured
    for one in measured["columns"].values():
        assert set(one) == {"frechet", "precision", "recall", "diversity"} and one["diversity"] > 0
    assert "diversity between seeds" in (write_report(evaluation) and (evaluation.folder / "report.html").read_text())
