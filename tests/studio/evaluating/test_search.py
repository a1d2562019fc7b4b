"""The search by successive halving: its plan, that it finds what is best, chooses on one part and confirms on another."""

import json

import pytest

from app.cli import main
from core.errors import StudioError
from core.files import read_json
from core.miniature.world.scene import sample_prompts
from core.offsets.writing import save_offset
from core.studio.evaluating import search as searching
from core.studio.evaluating.evidence import setting_with_evidence
from core.studio.evaluating.folder import get_evaluation
from core.studio.evaluating.search import Search, create_search, read_search, rounds_of, run_search
from core.studio.evaluating.settings import EvaluationSettings, row_forwards
from core.studio.presets.files import find_preset
from core.studio.presets.preset import Evidence, preset_of
from core.studio.presets.reading import parse_preset, read_preset
from tests.builders.offsets import DELTA


@pytest.fixture
def space(workspace, tmp_path):
    save_offset(workspace.offsets / "bad.safetensors", DELTA, family="sd15", provenance={})
    (tmp_path / "many.txt").write_text("\n".join(sample_prompts(40, seed=5)) + "\n")
    return workspace


def small(tmp_path, **changes):
    return EvaluationSettings.from_dict(
        {
            "base": "tiny",
            "negative": "bad.safetensors",
            "prompts": str(tmp_path / "many.txt"),
            "batch": 20,
            "steps": 1,
            "cfg": (1.0, 3.0),
            "probe": 1,
            "scorers": ("judge-preference",),
            "count": 40,
            "keep": 0,
            **changes,
        }
    )


def test_each_round_has_half_the_settings_and_new_prompts(tmp_path):
    planned = rounds_of(Search(small(tmp_path), omega="1,2,3", beta="0.5,1"))
    assert [(one.candidates, one.plain) for one in planned] == [(6, 3), (3, 2), (2, 1), (1, 1)]
    assert [(one.first, one.count) for one in planned] == [(0, 2), (2, 4), (6, 14), (20, 20)]
    assert all(one.row_forwards > 0 for one in planned)


@pytest.mark.parametrize(
    ("tried", "changes", "message"),
    [
        ({"beta": "9"}, {}, "beta is 9"),
        ({"beta": "x"}, {}, "not a value of beta"),
        ({"beta": "0:2:0.1", "omega": "1,2,3,4"}, {}, "84 candidates, more than 64"),
        ({"beta": "1,2"}, {"count": 39}, "39 prompts are too few"),
    ],
)
def test_searches_that_cannot_be_are_reported_at_once(tmp_path, tried, changes, message):
    with pytest.raises(StudioError, match=message):
        rounds_of(Search(small(tmp_path, **changes), **tried))


@pytest.mark.long
def test_a_search_stops_continues_chooses_and_confirms(space, tmp_path, monkeypatch):
    scores = {"omega 2, alpha 1, beta 1, beta_split 0": 0.1, "omega 2, alpha 1, beta 2, beta_split 0": 0.9}

    def favouring(evaluation, candidates, plain, sums):
        for one in candidates:
            sums[searching._name(one)] = scores[searching._name(one)]
        for omega in plain:
            sums[omega] = -omega

    monkeypatch.setattr(searching, "_add", favouring)
    made = create_search(space, Search(small(tmp_path), beta="1,2"))
    planned = rounds_of(Search.from_dict(read_search(space, made)["search"]))
    done = []
    list(run_search(space, made, cpu=True, cancelled=lambda: True))
    assert read_search(space, made)["result"] is None
    list(run_search(space, made, cpu=True, cancelled=lambda: bool(done.append(1))))
    state = read_search(space, made)
    result = state["result"]
    assert result["winner"]["beta"] == 2 and result["best_cfg"] == 1 and result["seconds"] > 0
    confirming = get_evaluation(space, result["confirmed_by"])
    rounds = [get_evaluation(space, name) for name in state["rounds"]]
    chosen = {prompt.text for one in rounds[:-1] for prompt in one.prompts()}
    assert confirming.settings.beta == 2 and confirming.settings.cfg == (1.0,) and confirming.settings.first == 20
    assert [one.settings.first for one in rounds] == [one.first for one in planned]
    assert len(list(confirming.prompts())) == 20 and not chosen & {p.text for p in confirming.prompts()}
    assert sum(one.row_forwards for one in planned) == pytest.approx(result["row_forwards"], rel=0.2)
    assert result["row_forwards"] == sum(row_forwards(one.settings) for one in rounds)

    values, evidence = setting_with_evidence(confirming)
    preset = preset_of(values, name="found", evidence=[Evidence(**one) for one in evidence])
    again = parse_preset(preset.to_json())
    assert again.guidance.beta == 2 and again.evidence[0].prompts == 20
    assert (
        again.evidence[0].text == read_json(confirming.folder / "report.json", dict, limit=2**24)["verdict"]["sentence"]
    )
    assert {"difference", "low", "high", "wins", "mean"} <= set(again.evidence[0].metrics)


@pytest.mark.long
def test_the_command_line_searches_and_keeps_the_setting_with_its_evidence(space, tmp_path, capsys):
    at = ["--workspace", str(space.root)]
    command = ["evaluate", "search", "--base", "tiny", "--negative", "bad.safetensors", "--beta", "0.5,1"]
    command += ["--prompts", str(tmp_path / "many.txt"), "--scorers", "judge-preference", "--cfg", "1", *at]
    assert (
        main([*command, "--set", "steps=1", "batch=20", "probe=1", "keep=0", "controls=false", "--dry-run", "--json"])
        == 0
    )
    plan = json.loads(capsys.readouterr().out)
    assert [one["candidates"] for one in plan["rounds"]] == [2, 1]
    command += ["--set", "steps=1", "batch=20", "probe=1", "keep=0", "controls=false", "effective=false"]
    assert main([*command, "--cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["winner"]["beta"] in (0.5, 1.0) and result["row_forwards"] > 0
    assert main(["evaluate", "preset", result["confirmed_by"], "--name", "searched", "--json", *at]) == 0
    saved = json.loads(capsys.readouterr().out)
    assert saved["settings"]["beta"] == result["winner"]["beta"]
    stored = read_preset(find_preset(space, "searched").path)
    assert stored.evidence[0].kind == "measured" and stored.evidence[0].text == result["verdict"]
