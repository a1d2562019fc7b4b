"""The time of a training, told from the parts of another one."""

import pytest

from core.events import PoolProgress, PreviewDue, PreviewSaved, RunStarted, StepDone
from core.studio.runs.forecast import seconds_like
from core.training.config import TrainConfig

BEFORE = TrainConfig(
    steps=2,
    batch_size=4,
    start="own",
    pool_size=8,
    pool_omega=0.0,
    ddim_grid=10,
    rollout_steps=2,
    rollout_guidance=-1.0,
    preview_every=1,
)
"""A step takes 4 x (3 + 3) = 24 row-forwards, own samples 80."""


def journal(*, previews=True):
    """Loading 5 s, a row-forward of an own sample .1 s, of a step .25 s, previews 7 and 3 s."""
    facts = {
        "steps": 2,
        "device": "cpu",
        "processes": 1,
        "trainable_parameters": 1,
        "row_forwards_per_sample": 1.0,
        "resumed": False,
        "note": "",
    }
    done = {"loss": 0.1, "learning_rate": 0.1, "gradient_norm": 1.0, "rate": 1 / 6, "memory": 1}
    events = [
        RunStarted(step=0, elapsed=5.0, **facts),
        PoolProgress(step=0, elapsed=9.0, done=4, total=8),
        PoolProgress(step=0, elapsed=13.0, done=8, total=8),
        StepDone(step=1, elapsed=19.0, **done),
        PreviewDue(step=1, elapsed=20.0),
        PreviewSaved(step=1, elapsed=27.0, plain=(), guided=()),
        StepDone(step=2, elapsed=33.0, **done),
        PreviewDue(step=2, elapsed=33.0),
        PreviewSaved(step=2, elapsed=36.0, plain=(), guided=()),
    ]
    return events if previews else [event for event in events if not isinstance(event, PreviewDue | PreviewSaved)]


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 5 + 8 + 12 + 10),
        ({"steps": 20, "preview_every": 8}, 5 + 8 + 120 + 7 + 3 + 3),
        ({"pool_size": 16, "preview_every": 0}, 5 + 16 + 12),
        ({"start": "noise", "preview_every": 0}, 5 + 12),
        ({"batch_size": 8, "rollout_steps": 5, "preview_every": 0}, 5 + 8 + 12 * 2 * 1.5),
    ],
)
def test_each_part_has_the_pace_it_had_before(changes, seconds):
    """Steps alone were counted before: from a run of two steps, 150 steps with their own samples were told as 11 s."""
    config = TrainConfig.from_dict({**BEFORE.to_dict(), **changes})
    assert seconds_like(config, BEFORE, journal()) == pytest.approx(seconds)


def test_the_bases_previews_before_the_first_step_count_once():
    base = [PreviewDue(step=0, elapsed=5.0), PreviewSaved(step=0, elapsed=9.0, plain=(), guided=())]
    events = [journal()[0], *base, *journal()[1:]]
    config = TrainConfig.from_dict({**BEFORE.to_dict(), "steps": 3})
    # loading, own samples, three steps; the base's 4 s, then 5 s, the median of 7 and 3, for each of three
    assert seconds_like(config, BEFORE, events) == pytest.approx(5 + 8 + 18 + 4 + 3 * 5)


def test_what_was_not_seen_before():
    assert seconds_like(BEFORE, BEFORE, []) is None
    assert seconds_like(BEFORE, BEFORE, journal()[:3]) is None, "no step yet: no pace"
    for change in ({"height": 128, "width": 128}, {"precision": "bf16"}, {"weights": "full"}):
        assert seconds_like(TrainConfig.from_dict({**BEFORE.to_dict(), **change}), BEFORE, journal()) is None, change
    assert seconds_like(BEFORE, BEFORE, journal(previews=False)) == pytest.approx(5 + 8 + 2 * 14)
    fresh = TrainConfig.from_dict({**BEFORE.to_dict(), "start": "noise", "preview_every": 0})
    without_pool = [event for event in journal() if not isinstance(event, PoolProgress)]
    # a whole folder of pictures has no number of prompts, and draws nothing
    folder = {"start": "images", "pool_size": 0, "images_folder": "x", "preview_every": 0}
    pictures = TrainConfig.from_dict({**BEFORE.to_dict(), **folder})
    assert seconds_like(pictures, pictures, without_pool) == pytest.approx(5 + 12)
    assert seconds_like(BEFORE, fresh, without_pool) == pytest.approx(5 + 80 * 0.25 + 12 + 10)
