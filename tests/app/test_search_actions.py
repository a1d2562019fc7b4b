"""The search in the page: its cost, its rounds followed, its winner used and kept. No browser; the models are tiny."""

import pytest

from app.page import evaluate_actions, search_actions
from app.page.evaluate import DEFAULTS
from app.page.evaluate_actions import CONTROLS
from core.miniature.world.scene import sample_prompts
from core.offsets.writing import save_offset
from core.studio.evaluating import search_job, worker
from core.studio.evaluating.folder import get_evaluation
from core.studio.evaluating.search import read_search
from core.studio.evaluating.search_job import standing_of
from core.studio.presets.files import find_preset
from core.studio.presets.reading import read_preset
from tests.builders.offsets import DELTA
from tests.builders.player import Player
from tests.builders.spaces import tiny_space

TRIED = {"omega": "", "beta": "0.5, 1", "alpha": "", "beta_split": None}


@pytest.fixture
def workspace(tmp_path):
    return tiny_space(tmp_path / "space")


@pytest.fixture
def form(workspace, tmp_path):
    """Evaluate's form for forty prompts of the tiny model, two rounds and the confirmation."""
    save_offset(workspace.offsets / "bad.safetensors", DELTA, family="sd15", provenance={})
    (tmp_path / "many.txt").write_text("\n".join(sample_prompts(40, seed=5)) + "\n")
    return {name: DEFAULTS[name] for name in CONTROLS} | {
        "negative": "bad.safetensors",
        "positive": "none",
        "prompts": str(tmp_path / "many.txt"),
        "count": 40,
        "batch": 20,
        "steps": 1,
        "cfg": "1",
        "scorers": ["judge-preference"],
        "controls": False,
        "effective": False,
        "keep": 0,
    }


@pytest.fixture
def asked(monkeypatch):
    """What would have been started as a process."""
    commands = []
    monkeypatch.setattr(
        search_job, "start", lambda evaluation, **how: commands.append((evaluation.id, how)) or evaluation
    )
    return commands


def test_the_cost_is_told_and_what_cannot_be_searched_is_said(workspace, form):
    told = search_actions.forecast(Player(workspace), "tiny", form, TRIED)
    assert "settings" in told["search_plan"] and told["start_search"]["interactive"]
    few = search_actions.forecast(Player(workspace), "tiny", {**form, "count": 10}, TRIED)
    assert "10 prompts are too few for a search." in few["search_plan"] and not few["start_search"]["interactive"]
    wrong = search_actions.forecast(Player(workspace), "tiny", form, {**TRIED, "beta": "much"})
    assert 'class="fault"' in wrong["search_plan"]


def test_a_search_is_followed_from_round_to_round_used_and_kept(workspace, form, asked):
    engine = Player(workspace)
    changes = search_actions.begin(engine, "tiny", form, TRIED)
    first = changes["evaluation_id"]
    assert [name for name, _ in asked] == [first] and "--search" in asked[0][1]["command"]
    search = standing_of(workspace, first)
    assert (search.round, search.rounds, search.newest, search.ended) == (1, 2, first, False)
    before = evaluate_actions.watch(workspace, first, None, ())
    assert "Round 1 of 2 of a search." in before["evaluation_status"] and before["go_on"]["interactive"]
    assert "has no report yet" in search_actions.keep(workspace, first)["kept"]
    evaluate_actions.resume(engine, first)
    assert asked[1] == asked[0], "the search goes on, not its round alone"

    assert worker.main([str(get_evaluation(workspace, first).folder), "--search", search.id, "--cpu"]) == 0
    state = read_search(workspace, search.id)
    followed = evaluate_actions.watch(workspace, first, None, (first, "running"))
    assert followed["evaluation_id"] == state["rounds"][-1] != first
    assert "evaluation_id" not in evaluate_actions.watch(workspace, first, None, ()), "one that was chosen stays"
    last = evaluate_actions.watch(workspace, followed["evaluation_id"], None, ())
    assert "The search confirms its winner" in last["evaluation_status"] and last["use_evaluated"]["interactive"]
    values = search_actions.evaluated_values(workspace, followed["evaluation_id"])
    assert values["beta"] == state["result"]["winner"]["beta"] and values["negative"] == "bad.safetensors"
    kept = search_actions.keep(workspace, followed["evaluation_id"])["kept"]
    stored = read_preset(find_preset(workspace, kept.split("“")[1].split("”")[0]).path)
    assert stored.evidence[0].text == state["result"]["verdict"]


def test_an_evaluation_of_its_own_is_no_round(workspace):
    assert standing_of(workspace, "evaluation-20260101-000000-abcd") is None
    assert standing_of(workspace, "gone-1") is None
