"""What training says while it runs: typed events, and their form as one JSON object a line.

Standard library only. A run's journal (`events.jsonl`) is a sequence of these; the page and the command
line only ever read it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.errors import StudioError


@dataclass(frozen=True, kw_only=True)
class TrainEvent:
    """One line of a run's journal.

    `elapsed` is in seconds since this process began to train, from a monotonic clock; `step` counts optimiser
    steps done so far.
    """

    step: int = 0
    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunStarted(TrainEvent):
    """Training begins or resumes at `step`. `row_forwards_per_sample` is the cost of one training sample."""

    steps: int
    device: str
    processes: int
    trainable_parameters: int
    row_forwards_per_sample: float
    resumed: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PoolProgress(TrainEvent):
    """Own samples drawn so far for the start points, before the first step."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class StepDone(TrainEvent):
    """An optimiser step. `rate` in steps per second, `memory` the peak in bytes (device, else resident)."""

    loss: float
    learning_rate: float
    gradient_norm: float
    rate: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class PreviewDue(TrainEvent):
    """Previews are about to be drawn."""


@dataclass(frozen=True, kw_only=True)
class PreviewSaved(TrainEvent):
    """Preview pictures, as names inside the run folder: plain CFG and with the growing offset, same seeds."""

    plain: tuple[str, ...]
    guided: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(TrainEvent):
    """A checkpoint that was read back and found whole; `name` is its folder inside `checkpoints/`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Notice(TrainEvent):
    """Something a person should know that did not stop the run."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunPaused(TrainEvent):
    """Stopped for now, with a checkpoint; the same command goes on."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RunStopped(TrainEvent):
    """Ended early on request; `offset` is what was reached, as a name inside the run folder."""

    offset: str = ""


@dataclass(frozen=True, kw_only=True)
class RunFailed(TrainEvent):
    """Ended by a fault."""

    message: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class RunFinished(TrainEvent):
    """Done; `offset` is the name of the finished file inside the run folder."""

    offset: str
    row_forwards: float = 0.0


_ALL: tuple[type[TrainEvent], ...] = (
    RunStarted,
    PoolProgress,
    StepDone,
    PreviewDue,
    PreviewSaved,
    CheckpointSaved,
    Notice,
    RunPaused,
    RunStopped,
    RunFailed,
    RunFinished,
)

EVENT_KINDS: dict[str, type[TrainEvent]] = {kind.__name__: kind for kind in _ALL}


def to_json(event: TrainEvent) -> dict[str, Any]:
    """An event as plain data: its fields, and its class name under `event`."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_json(data: dict[str, Any]) -> TrainEvent:
    """The event that `to_json` wrote.

    Raises:
        StudioError: the data is not an event this version knows.
    """
    kind = EVENT_KINDS.get(str(data.get("event")))
    if kind is None:
        raise StudioError(f"The journal has an event of unknown kind {data.get('event')!r}.", "Update the studio.")
    known = {f.name for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise StudioError(f"The journal has an incomplete {kind.__name__} event.") from error
