"""Each base model says which world it draws; its grammar, sample prompts and judge follow from that, and from nothing else."""

import json

import pytest
import torch
from PIL import Image

from core.errors import StudioError
from core.miniature.scorer_cards import CARDS
from core.miniature.worlds import DRAWINGS, SHAPES, WORLDS, world_of, world_reading
from core.studio.comparing.scores import scorer_of
from core.studio.evaluating.folder import create_evaluation, get_evaluation, own_prompts
from core.studio.evaluating.scorers import default_scorers, judged_world, load
from core.studio.evaluating.settings import EvaluationSettings
from core.studio.library.worlds import world_of_base
from core.studio.runs import training
from core.studio.workspace import ASSETS


def copied(name, world, folder):
    """A base of the workspace with the files that say what it is, and its world."""
    base = folder / name
    base.mkdir(parents=True)
    for file in ("model_index.json", "unet/config.json"):
        (base / file).parent.mkdir(exist_ok=True)
        (base / file).write_bytes((ASSETS / "miniature-sd15" / file).read_bytes())
    if world is not None:
        (base / "world.json").write_text(world)
    return base


def test_a_bundled_picture_model_says_its_world_and_the_judge_of_it_is_here():
    drawn = {"miniature-drawings": DRAWINGS, "miniature-sd15": SHAPES, "miniature-sdxl": SHAPES}
    for folder in ASSETS.glob("miniature-*"):
        assert world_of(folder) is drawn.get(folder.name), folder.name
    for world in WORLDS.values():
        assert world.judge(ASSETS) is world.judge(ASSETS)
        assert world.judge(ASSETS).language is world.language
    assert DRAWINGS.judge(ASSETS, "reporting").facts["accuracy"] > 0.5
    with pytest.raises(StudioError, match="no second judge"):
        SHAPES.judge(ASSETS, "reporting")


def test_the_second_judge_is_asked_by_its_own_scorers(workspace):
    first, second = load(workspace, ["judge-preference", "second-judge-preference"], DRAWINGS)
    assert first.judge is DRAWINGS.judge(ASSETS) and second.judge is DRAWINGS.judge(ASSETS, "reporting")
    assert (first.card.name, second.card.name) == ("judge-preference", "second-judge-preference")
    with pytest.raises(StudioError, match="no second judge"):
        load(workspace, ["second-judge-accuracy"], SHAPES)


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda world: world.name)
def test_everything_of_a_base_follows_from_its_world_whatever_its_name(world, workspace):
    base = copied("mine", json.dumps({"world": world.name}), workspace.models)
    assert world_of_base(workspace, "mine") is world
    assert default_scorers(workspace, "mine") == tuple(CARDS)
    prompts = own_prompts(base, 5, 40)
    assert [prompt.text for prompt in prompts] == world.prompts(0, 45)[5:]
    assert {prompt.category for prompt in prompts} == {"one object", "two objects"}
    assert [world_reading(prompt.text) for prompt in prompts].count(world) == 40
    score = training.scorer_of("judge-preference", world).score
    pictures = [image_of(world) for _ in range(2)]
    assert score(pictures, [prompts[0].text, prompts[1].text]).shape == (2,)
    settings = EvaluationSettings(base="mine", count=2, cfg=())
    evaluation = create_evaluation(workspace, settings)
    assert get_evaluation(workspace, evaluation.id).world is world


def image_of(world):
    return Image.new("RGB", (world.judge(ASSETS).side,) * 2, "pink")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"world": "of cats"}', '{"world": ["shapes"]}'])
def test_a_base_that_says_no_known_world_has_no_judge_and_no_prompts(content, workspace):
    base = copied("miniature-sd99", content, workspace.models)
    assert world_of(base) is None and default_scorers(workspace, base.name) == ()
    assert scorer_of(workspace, base.name)(Image.new("RGB", (64, 64)), "a red circle") is None
    with pytest.raises(StudioError, match="no bundled prompts"):
        own_prompts(base, 0, 2)
    with pytest.raises(StudioError, match="cannot read pictures of this base"):
        training.scorer_of("judge-preference", world_of(base))


def test_pictures_of_which_only_the_prompt_is_known_are_read_by_the_judge_of_its_words(workspace):
    assert judged_world(workspace, "a flat pizza beside a soft fox") is DRAWINGS
    assert judged_world(workspace, "a red circle left of a star") is SHAPES
    assert world_reading("a castle in the air") is None
    assert judged_world(workspace, "a flat pizza", "miniature-sd15") is SHAPES  # the base decides


@pytest.mark.parametrize("world", WORLDS.values(), ids=lambda world: world.name)
def test_a_worlds_examples_are_sentences_of_it_and_other_sizes_are_read_too(world):
    for text in (*world.examples, world.language.example):
        assert world.parse(text)
    judge = world.judge(ASSETS)
    assert judge.score(torch.zeros(1, 3, 40, 40), [{}]).accuracy.tolist() == [1]
