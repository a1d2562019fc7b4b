"""The bundled judges as scorers."""

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import StudioError
from core.evaluation.pixels import as_signed
from core.generation.decoding import to_images
from core.miniature.scorers import CARDS, JudgeScorer
from core.miniature.world.render import render
from core.miniature.world.scene import describe, parse, sample_scene
from core.miniature.worlds import SHAPES
from core.studio.workspace import ASSETS


def test_the_judges_figures_are_those_of_the_judge_itself_in_the_order_of_the_pictures():
    rng = np.random.default_rng(3)
    scenes = [sample_scene(rng, spoilt=0.5) for _ in range(6)]
    images = to_images(render(scenes))
    prompts = [describe(scene.attributes) for scene in scenes]
    judge = SHAPES.judge(ASSETS)
    expected = judge.score(as_signed(images), [parse(prompt) for prompt in prompts])
    for figure in ("preference", "accuracy", "cleanliness"):
        scorer = JudgeScorer(judge, f"judge-{figure}")
        assert torch.equal(scorer.score(images, prompts), getattr(expected, figure))
        assert scorer.card is CARDS[f"judge-{figure}"] and not scorer.card.files
    assert torch.equal(scorer.features(images), expected.features)
    assert scorer.reference.mean.shape == (128,)


def test_a_prompt_of_another_world_is_refused():
    with pytest.raises(StudioError):
        JudgeScorer(SHAPES.judge(ASSETS), "judge-accuracy").score([Image.new("RGB", (64, 64))], ["a castle"])
