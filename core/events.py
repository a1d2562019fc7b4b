"""What training says while it runs: typed events, and their form as one JSON object a line.

Standard library only. A run's journal (`events.jsonl`) is a sequence of these; the page and the command
line only ever read it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.errors import Sentence, StudioError


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
    """Own samples drawn so far for the start points, before the first step; some of them as pictures, names inside the run
    folder."""

    done: int
    total: int
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepDone(TrainEvent):
    """An optimiser step. `rate` in steps per second, `memory` the peak in bytes (device, else resident); `overflows`: steps
    so far whose gradient overflowed in fp16 and changed nothing."""

    loss: float
    learning_rate: float
    gradient_norm: float
    rate: float
    memory: int
    overflows: int = 0


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
    """Stopped for now, with a checkpoint; the same command continues."""

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
    """An event as plain data: its fields, its class name under `event`, and under `templates` what its sentences are
    made of, so that a reader can say them in another language."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    templates = {
        name: _made_of(value) for name, value in fields.items() if isinstance(value, Sentence) and value.values
    }
    return {"event": type(event).__name__, **fields, **({"templates": templates} if templates else {})}


def from_json(data: Any) -> TrainEvent:
    """The event that `to_json` wrote.

    Raises:
        StudioError: the data is not an event that this version knows.
    """
    kind = EVENT_KINDS.get(str(data.get("event"))) if isinstance(data, dict) else None
    if kind is None:
        raise StudioError("The journal contains an event of an unknown kind.", "Update the studio.")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in data:
            value = data[field.name]
            values[field.name] = value = tuple(value) if isinstance(value, list) else value
            if not _fits(value, str(field.type)):
                raise StudioError("The journal contains a damaged {kind} event.", kind=kind.__name__)
    for name, parts in _dict(data.get("templates")).items():
        if isinstance(values.get(name), str):
            values[name] = _sentence(values[name], parts)
    try:
        return kind(**values)
    except TypeError as error:
        raise StudioError("The journal contains an incomplete {kind} event.", kind=kind.__name__) from error


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    wanted: type = {"int": int, "bool": bool, "str": str}[kind]
    return isinstance(value, wanted) and isinstance(value, bool) == (kind == "bool")


def _made_of(sentence: Sentence) -> dict[str, Any]:
    """A sentence's template and values, those that are sentences as theirs beside their text."""
    values = {
        name: {"text": str(value), **_made_of(value)}
        if isinstance(value, Sentence)
        else value
        if isinstance(value, int | float | str)
        else str(value)
        for name, value in sentence.values.items()
    }
    return {"template": sentence.template, "values": values}


def _sentence(text: str, parts: Any, depth: int = 4) -> Sentence:
    """What `_made_of` took apart. Nothing is formatted: a journal is only a file."""
    values = {
        str(name): _sentence(str(value.get("text", "")), value, depth - 1)
        if isinstance(value, dict) and depth
        else value
        for name, value in _dict(_dict(parts).get("values")).items()
        if isinstance(value, int | float | str | dict)
    }
    return Sentence.restored(text, str(_dict(parts).get("template", text)), values)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
