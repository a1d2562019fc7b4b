"""Small trainings, and waiting for what they do."""

import time

from core.events import StepDone
from core.studio.runs.process import reap
from core.training.config import TrainConfig

SMALL = {"base": "tiny", "batch_size": 2, "rank": 2, "pool_size": 3, "ddim_grid": 4, "rollout_steps": 1}
SMALL |= {"preview_every": 0, "warmup_steps": 2, "checkpoint_every": 3}


def config(**changes):
    """Settings of a training of seconds."""
    return TrainConfig(**{**SMALL, **changes})


def wait(run, until, seconds=200):
    """Looks at a run until what is waited for is there; fails with the run's log when it never comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reap()
        if until(run):
            return
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {run.status}, {(run.folder / 'log.txt').read_text()[-2000:]}")


def ended(run):
    """Whether no process trains it."""
    return run.process() is None


def losses(run):
    """Every loss that was told, to the bit, by step."""
    by_step = {}
    for event in run.events()[0]:
        if isinstance(event, StepDone):
            by_step.setdefault(event.step, set()).add(event.loss.hex())
    return by_step
