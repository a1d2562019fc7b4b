"""What an evaluation says while it runs: typed events, and the journal that keeps them. No torch.

`events.jsonl` in an evaluation's folder has one event a line. Several processes may append to it at once; a line is
written in one piece, and a last line cut short by a crash is passed over.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.files import cannot_write

FILE = "events.jsonl"


@dataclass(frozen=True, kw_only=True)
class EvaluationEvent:
    """One line of the journal. `at`: when, in seconds since 1970; `pid`: of the process that says it."""

    at: float = field(default_factory=lambda: round(time.time(), 3))
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, kw_only=True)
class Started(EvaluationEvent):
    """A process begins or continues its share of the chunks, "3/16"; `done` of `total` chunks are there already."""

    done: int
    total: int
    share: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Measured(EvaluationEvent):
    """Guidance was measured; the ω of plain CFG that goes equally far, or None where there is nothing to measure."""

    effective_omega: float | None


@dataclass(frozen=True, kw_only=True)
class ChunkDone(EvaluationEvent):
    """A chunk is done, or was before.

    Args:
        done, total: chunks of the whole evaluation, all processes together.
        rendering, scoring: seconds; 0 for a chunk that was done before.
        failed: names of scorers that failed in it; it is tried again when the evaluation is resumed.
    """

    number: int
    done: int
    total: int
    rendering: float = 0.0
    scoring: float = 0.0
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stopped(EvaluationEvent):
    """A process ended because it was asked to; what is done stays, and the evaluation can be resumed."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Failed(EvaluationEvent):
    """A process ended by a fault; what is done stays."""

    message: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class ShareDone(EvaluationEvent):
    """A process has done its share; chunks of other shares are still missing."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Finished(EvaluationEvent):
    """Every chunk is done; `report` is the name of the report inside the folder, `verdict` its sentence."""

    report: str
    verdict: str


KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Started, Measured, ChunkDone, Stopped, Failed, ShareDone, Finished)
}


def append_event(folder: Path, event: EvaluationEvent) -> None:
    """Adds one event to the journal of an evaluation's folder.

    Raises:
        StudioError: the disk refuses.
    """
    line = json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}) + "\n"
    path = folder / FILE
    try:
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                file.seek(-1, 2)
                line = line if file.read(1) == b"\n" else "\n" + line
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise cannot_write(path.name, error) from error


def read_events(folder: Path, start: int = 0) -> tuple[list[EvaluationEvent], int]:
    """Events from a byte of the journal on, and the byte to go on from. Lines that cannot be read are passed over."""
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(start)
            raw = file.read()
    except FileNotFoundError:
        return [], 0
    whole = raw[: raw.rfind(b"\n") + 1]
    events = (_event(line) for line in whole.splitlines())
    return [event for event in events if event is not None], start + len(whole)


def newest(folder: Path, size: int = 2**15) -> list[EvaluationEvent]:
    """The events in the last `size` bytes of the journal, at a cost that does not grow with it."""
    try:
        start = max(0, (folder / FILE).stat().st_size - size)
    except FileNotFoundError:
        return []
    return read_events(folder, start)[0]


def _event(line: bytes) -> EvaluationEvent | None:
    try:
        data: dict[str, Any] = json.loads(line)
        kind = KINDS[data.pop("event")]
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
