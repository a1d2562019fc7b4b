"""What a training will cost, before it starts: from the newest run on the same base on this machine. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from core.errors import StudioError
from core.events import PoolProgress, PreviewDue, PreviewSaved, RunStarted, StepDone, TrainEvent
from core.studio.library.choose import find_base
from core.studio.runs.journal import following
from core.studio.runs.memory import needed
from core.studio.runs.run import Run, list_runs
from core.studio.workspace import Workspace
from core.training.config import TrainConfig
from core.training.cost import (
    own_samples,
    row_forwards_of_own_samples,
    row_forwards_of_step,
    row_forwards_per_sample,
)

ALIKE = ("height", "width", "frames", "precision", "weights")
"""What changes the time of a row-forward; of other settings the row-forwards follow."""


@dataclass(frozen=True)
class Plan:
    """What a training will cost, as far as it is known here.

    Args:
        row_forwards: of the whole run, previews apart.
        seconds: from the newest run of that size and precision on the same base on this machine; None without one.
        memory: bytes, of that run; of true architectures without one, computed.
        disk: bytes of its checkpoints, likewise.
        like: the id of that run; empty where there is none.
    """

    row_forwards: float
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    like: str = ""


def plan(workspace: Workspace, config: TrainConfig) -> Plan:
    """The cost of a training before it starts."""
    whole = row_forwards_per_sample(config) * config.batch_size * config.steps
    for summary in list_runs(workspace):
        if summary.base != Path(config.base).name or not summary.step:
            continue
        run = Run(workspace.runs / summary.id)
        events, _ = following(run.folder).events()
        seconds = seconds_like(config, run.config, events)
        if seconds is None:
            continue
        memory = next(event.memory for event in reversed(events) if isinstance(event, StepDone))
        checkpoint_bytes = sum(
            file.stat().st_size for file in (run.folder / "checkpoints").rglob("*") if file.is_file()
        )
        return Plan(whole, seconds, memory, checkpoint_bytes, run.id)
    with suppress(StudioError):
        return Plan(whole, memory=needed(find_base(workspace, config.base), config))
    return Plan(whole)


def seconds_like(config: TrainConfig, before: TrainConfig, events: Sequence[TrainEvent]) -> float | None:
    """Seconds that a training takes, from the events of another one; None where that one tells no pace, or one of
    another size or precision.

    Loading, own samples, steps and previews each at the pace they had there: a row-forward of a step carries a backward
    in larger arithmetic than one of sampling. Previews that were not drawn there are not counted.
    """
    rate = next((event.rate for event in reversed(events) if isinstance(event, StepDone)), 0.0)
    if not rate or any(getattr(config, name) != getattr(before, name) for name in ALIKE):
        return None
    loading = next((event.elapsed for event in events if isinstance(event, RunStarted)), 0.0)
    drawn, drawing = 0, 0.0
    steps: list[float] = []
    previews: list[float] = []
    base_previews: float | None = None  # of a run of version 0.2 the first previews draw the base's, too
    for last, event in pairwise(events):
        if isinstance(last, PoolProgress) and isinstance(event, PoolProgress) and event.done > last.done:
            drawn, drawing = drawn + event.done - last.done, drawing + event.elapsed - last.elapsed
        if isinstance(last, PreviewDue) and isinstance(event, PreviewSaved):
            if event.step == 0:
                base_previews = event.elapsed - last.elapsed
            else:
                previews.append(event.elapsed - last.elapsed)
        if isinstance(last, StepDone) and isinstance(event, StepDone):
            steps.append(event.elapsed - last.elapsed)
    of_step = (statistics.mean(steps) if steps else 1 / rate) / (before.batch_size * row_forwards_of_step(before))
    each = row_forwards_of_own_samples(before) / max(1, own_samples(before))
    of_own = drawing / (drawn * each) if drawn and each else of_step
    shown = -(-config.steps // config.preview_every) if config.preview_every else 0
    if base_previews is not None:
        later = statistics.median(previews) if previews else base_previews
        showing = base_previews + shown * later if shown else 0.0
    else:
        later = statistics.median(previews[1:]) if previews[1:] else sum(previews) / 2
        showing = previews[0] + (shown - 1) * later if shown and previews else 0.0
    return (
        loading
        + row_forwards_of_own_samples(config) * of_own
        + row_forwards_of_step(config) * config.batch_size * config.steps * of_step
        + showing
    )
