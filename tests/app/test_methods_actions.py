"""What a person has, the method proposed for it, and votes and thumbs that become pairs to train from."""

import json

import pytest
from PIL import Image

from app.page import history_actions, methods_actions
from app.page.methods_actions import ASKED, HAVE, WHY
from core.generation.media import save_png
from core.studio.comparing.thumbs import DOWN, UP, preferences, set_thumb, thumbs
from core.studio.pairs import votes_folder
from core.studio.workspace import Workspace
from core.training.config import FIELDS, TrainConfig
from core.training.pairs import read_pairs
from core.training.recipes import RECIPE_FOR, RECIPES
from tests.builders.studies import make_study, vote_all


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


def render(workspace, seed, columns=2):
    """The pictures of one seed as Compare leaves them; their names."""
    names = []
    for column in range(columns):
        name = f"20260101-000000-abcdef-{column}-{seed}.png"
        settings = {"prompt": f"prompt {seed}", "seed": seed, "beta": float(column), "omega": 2.0}
        save_png(Image.new("RGB", (8, 8), (seed, 90 * column, 0)), workspace.outputs / name, settings)
        names.append(name)
    return names


@pytest.mark.parametrize("have", sorted(RECIPE_FOR))
def test_for_whatever_a_person_has_one_recipe_fills_the_form(workspace, have):
    changes = methods_actions.propose(workspace, have)
    assert changes["recipe"] == RECIPE_FOR[have] and changes["recipe"] in RECIPES
    assert changes["have_value"]["visible"] == (have in ASKED) and changes["have_note"]
    if have in ASKED:
        target = ASKED[have][0]
        assert target in FIELDS and methods_actions.asked_setting(have, "mine") == {target: "mine"}
        values = {name: value for name, value in changes.items() if name in FIELDS} | {target: "mine"}
        assert TrainConfig.from_dict(values).recipe == RECIPE_FOR[have]


def test_a_tuned_checkpoint_needs_no_training(workspace):
    changes = methods_actions.propose(workspace, "checkpoint")
    assert "No training is needed" in changes["have_note"] and "recipe" not in changes
    assert set(HAVE) == set(WHY) == {*RECIPE_FOR, "checkpoint"} and methods_actions.asked_setting("nothing", "x") == {}


def test_without_votes_it_says_where_they_come_from(workspace):
    assert "There are no votes yet" in methods_actions.propose(workspace, "votes")["have_note"]


def test_thumbs_and_blind_votes_become_pairs_that_a_training_reads(workspace):
    plain, guided = render(workspace, 1)
    set_thumb(workspace, guided, UP)
    set_thumb(workspace, render(workspace, 2)[1], DOWN)
    study = make_study(workspace, items=3, prompts=["a", "b", "c"], questions=("overall",))
    vote_all(study, lambda one: "draw" if one.item == 0 else "left" if one.left == "NPO" else "right")
    changes = methods_actions.propose(workspace, "votes")
    assert changes["have_note"].startswith("4 pairs: 2 from thumbs, 2 from blind votes.")
    assert (changes["recipe"], changes["batch_size"]) == ("diffusion-npo", 4)
    values = {name: value for name, value in changes.items() if name in FIELDS}
    config = TrainConfig.from_dict(values)
    pairs = {pair.prompt: pair for pair in read_pairs(votes_folder(workspace), config.batch_size)}
    assert pairs["prompt 1"].preferred == (workspace.outputs / guided).read_bytes()
    assert pairs["prompt 1"].rejected == (workspace.outputs / plain).read_bytes()
    assert set(pairs) == {"prompt 1", "prompt 2", "b", "c"}
    (workspace.outputs / plain).unlink()
    assert methods_actions.propose(workspace, "votes")["have_note"].startswith("3 pairs")


def test_a_thumb_is_shown_taken_away_and_survives_a_damaged_file(workspace):
    plain, guided = render(workspace, 3)
    cells = history_actions.search(workspace, "", False)["listed"][0]
    chosen = (cells, cells.cells[1])
    shown = history_actions.rate(workspace, chosen, UP, "", False)["listed"][0]
    assert shown.cells[1].name.endswith("👍") and not shown.cells[0].name.endswith("👍")
    history_actions.rate(workspace, chosen, DOWN, "", False)
    assert thumbs(workspace) == {guided: DOWN}
    assert [(pair.preferred.name, pair.rejected.name) for pair in preferences(workspace)] == [(plain, guided)]
    history_actions.rate(workspace, chosen, DOWN, "", False)
    assert thumbs(workspace) == {} and preferences(workspace) == []
    assert 'class="fault"' in history_actions.rate(workspace, None, UP, "", False)["status"]
    for damaged in ("{", json.dumps({guided: 5, plain: True})):
        (workspace.outputs / ".thumbs.json").write_text(damaged)
        assert thumbs(workspace) == {}


def test_of_three_pictures_the_best_is_paired_with_each_of_the_worst(workspace):
    names = render(workspace, 4, columns=3)
    set_thumb(workspace, names[2], UP)
    assert {(pair.preferred.name, pair.rejected.name) for pair in preferences(workspace)} == {
        (names[2], names[0]),
        (names[2], names[1]),
    }
