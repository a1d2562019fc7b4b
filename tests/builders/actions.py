"""What several tests of actions do: a rendering to its end, a run with a journal."""

from app.page import compare_actions
from core.events import RunStarted, StepDone
from core.studio.runs.journal import Journal
from core.studio.runs.run import create_run
from core.training.config import TrainConfig


def rendered(engine, values, *, betas="", mode="fixed", cancelled=lambda: False):
    """Every change that a rendering yields, and all of them together."""
    steps = list(compare_actions.render(engine, values, betas, mode, None, cancelled))
    final = {}
    for step in steps:
        final |= step
    return steps, final


STARTED = RunStarted(steps=100, device="cpu", processes=1, trainable_parameters=1, row_forwards_per_sample=8)


def run_with(workspace, *events, **settings):
    """A run whose journal has these events."""
    run = create_run(workspace, TrainConfig.from_dict({"steps": 100, **settings}), "r")
    journal = Journal(run.folder)
    for event in events:
        journal.append(event)
    journal.close()
    return run


def done(step, rate=2.0):
    """A step of training, 2 of them a second."""
    return StepDone(step=step, loss=1 / step, learning_rate=1e-3, gradient_norm=1, rate=rate, memory=2**30)
