"""Learning from a scorer's gradient: the gradient against its closed form, what it does to a model, resuming, and its faults."""

import itertools

import pytest
import torch

from core.errors import StudioError
from core.events import RunFinished, StepDone
from core.families import get
from core.method.reward import reward_loss, truncated_sample
from core.method.schedule import NoiseSchedule, ddim_grid
from core.miniature.scorers import JudgeScorer
from core.miniature.worlds import SHAPES
from core.offsets.files import read_offset
from core.studio.workspace import ASSETS
from core.training.cost import row_forwards_of_step
from core.training.loop import train
from tests.training.variants import FAMILY, PROMPTS, config, losses, run

REWARD = {"method": "reward", "start": "noise", "scorer": "brightness", "batch_size": 2, "caption_dropout": 0.0}


def brightness(images, prompts):
    assert len(images) == len(prompts)
    return images.mean((1, 2, 3))


@pytest.mark.parametrize("last", [1, 3, 6])
def test_the_gradient_passes_through_the_last_predictions_alone(last):
    schedule = NoiseSchedule.from_scheduler(FAMILY.tiny().scheduler)
    grid = ddim_grid(schedule.timesteps, 6)
    noise = torch.randn((3, 4, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.full((6,), 0.3, dtype=torch.float64, requires_grad=True)
    places = {int(t): number for number, t in enumerate(grid)}

    def predict(x, t):
        return weights[places[int(t[0])]] * x

    x_0 = truncated_sample(predict, noise, grid, schedule, last)
    x_0.sum().backward()
    assert (weights.grad != 0).tolist() == [False] * (6 - last) + [True] * last
    # the last prediction in closed form: x_0 = (x - sigma w x) / alpha, so d x_0 / d w = -sigma x / alpha
    with torch.no_grad():
        x = noise
        for t, after in itertools.pairwise(grid):
            rows = t.expand(3)
            x = schedule.ddim_step(predict(x, rows), x, rows, after.expand(3))
        alpha, sigma = schedule.at(grid[-1].expand(3), x)
        assert torch.allclose(x_0, (x - sigma * 0.3 * x) / alpha)
        assert torch.allclose(weights.grad[-1], (-sigma * x / alpha).sum())


def test_a_negative_offset_lowers_the_reward_and_a_positive_one_raises_it():
    rewards = torch.tensor([0.2, 0.6], requires_grad=True)
    reward_loss(rewards, "negative").backward()
    assert rewards.grad.tolist() == [0.5, 0.5]
    rewards.grad = None
    reward_loss(rewards, "positive").backward()
    assert rewards.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("direction", ["negative", "positive"])
def test_samples_become_darker_or_brighter_as_the_direction_says(tmp_path, direction):
    settings = config(**REWARD, direction=direction, steps=8, learning_rate=1e-2, gradient_steps=2)
    events = run(tmp_path, settings, reward=brightness)
    said = [event.loss for event in events if isinstance(event, StepDone)]
    assert isinstance(events[-1], RunFinished) and sum(said[-3:]) < sum(said[:3])
    assert read_offset(tmp_path / "offset.safetensors").layers > 0


def test_it_resumes_to_the_bit(tmp_path):
    settings = config(**REWARD)
    whole = run(tmp_path / "whole", settings, reward=brightness)
    events = train(settings, tmp_path / "cut", FAMILY.tiny(), FAMILY, PROMPTS, cpu=True, reward=brightness)
    cut = list(itertools.takewhile(lambda e: e.step <= 3, events))
    assert losses(cut)[:2] + losses(run(tmp_path / "cut", settings, reward=brightness)) == losses(whole)


def test_of_a_video_the_mean_over_its_frames_is_rewarded(tmp_path):
    family = get("cogvideox")
    settings = config(**REWARD, family="cogvideox", steps=1, ddim_grid=2)
    seen = []

    def counted(images, prompts):
        seen.append((images.ndim, len(images), len(prompts)))
        return brightness(images, prompts)

    events = list(train(settings, tmp_path, family.tiny(), family, PROMPTS, cpu=True, reward=counted))
    assert isinstance(events[-1], RunFinished)
    ((ndim, images, prompts),) = seen
    assert ndim == 4 and images == prompts and images > 2 and images % 2 == 0


@pytest.mark.parametrize(
    ("reward", "sentence"),
    [
        (lambda images, prompts: torch.ones(len(images)), "has no gradient"),
        (lambda images, prompts: 0 * images.mean((1, 2, 3)), "the same score"),
        (lambda images, prompts: images.mean((1, 2, 3)) * float("nan"), "loss became NaN"),
    ],
)
def test_a_scorer_that_says_nothing_stops_the_run_with_a_sentence(tmp_path, reward, sentence):
    with pytest.raises(StudioError, match=sentence):
        run(tmp_path, config(**REWARD), reward=reward)


def test_what_cannot_be_trained_is_said_before_it_starts(tmp_path):
    with pytest.raises(StudioError, match="method = reward needs a scorer"):
        config(**{**REWARD, "scorer": ""})
    with pytest.raises(StudioError, match="cannot start from own"):
        config(**{**REWARD, "start": "own"})
    with pytest.raises(StudioError, match="gradient_steps 7 does not fit a ddim_grid of 6"):
        config(**REWARD, ddim_grid=6, gradient_steps=7)
    with pytest.raises(StudioError, match="needs a scorer"):
        run(tmp_path, config(**REWARD))


def test_its_cost_is_sampling_and_a_backward_for_each_of_its_last_steps():
    assert row_forwards_of_step(config(**REWARD, ddim_grid=6)) == 6 + 2
    assert row_forwards_of_step(config(**REWARD, ddim_grid=6, gradient_steps=3, pool_omega=1.0)) == 2 * (6 + 3 * 2)


def test_the_bundled_judges_preference_has_a_gradient_and_the_figure_that_it_shows():
    scorer = JudgeScorer(SHAPES.judge(ASSETS), "judge-preference")
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1
    images.requires_grad_(True)
    asked = ["a red circle", "a blue ring"]
    rewards = scorer.reward(images, asked)
    rewards.sum().backward()
    assert float(images.grad.abs().sum()) > 0
    shown = scorer.judge.score(images.detach(), [scorer.judge.language.parse(text) for text in asked]).preference
    assert torch.equal(rewards.detach(), shown)
    accuracy = JudgeScorer(SHAPES.judge(ASSETS), "judge-accuracy")
    assert not accuracy.reward(images, asked).requires_grad
