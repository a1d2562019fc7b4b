"""A run's journal: one event a line, appended and flushed; a last line cut short by a crash is passed over. No torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from core.errors import StudioError
from core.events import TrainEvent, from_json, to_json

FILE = "events.jsonl"


class Journal:
    """Appends events to a run folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        # a line that a crash cut short must not swallow the next one
        if path.exists() and path.stat().st_size:
            with path.open("rb+") as file:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        self._file = path.open("a", encoding="utf-8")

    def append(self, event: TrainEvent) -> None:
        """Writes one event, at once readable by others."""
        self._file.write(json.dumps(to_json(event)) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_events(folder: Path, offset: int = 0) -> tuple[list[TrainEvent], int]:
    """Events from a byte offset on, and the offset to go on from. Unreadable lines are passed over."""
    try:
        with (folder / FILE).open("rb") as file:
            file.seek(offset)
            raw = file.read()
    except FileNotFoundError:
        return [], 0
    whole = raw[: raw.rfind(b"\n") + 1]
    return list(_parse(whole)), offset + len(whole)


class Follower:
    """All events of a journal that grows; each look parses only what is new. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._events: list[TrainEvent] = []
        self._position = 0

    def events(self) -> tuple[list[TrainEvent], int]:
        """The events so far, and the byte they end at; read again where the journal was replaced by a shorter one."""
        with self._lock:
            path = self._folder / FILE
            if not path.exists() or path.stat().st_size < self._position:
                self._events, self._position = [], 0
            new, self._position = read_events(self._folder, self._position)
            self._events += new
            return list(self._events), self._position


@lru_cache(maxsize=8)
def following(folder: Path) -> Follower:
    """The follower of a run folder, one for all who look at it."""
    return Follower(folder)


def read_newest(folder: Path, size: int = 2**16) -> list[TrainEvent]:
    """The events in the last `size` bytes of the journal: enough for a run's state, at a cost that does not grow."""
    path = folder / FILE
    try:
        start = max(0, path.stat().st_size - size)
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read()
    except FileNotFoundError:
        return []
    first = raw.find(b"\n") + 1 if start else 0
    return list(_parse(raw[first : raw.rfind(b"\n") + 1]))


def _parse(raw: bytes) -> Iterator[TrainEvent]:
    for line in raw.splitlines():
        try:
            yield from_json(json.loads(line))
        except (ValueError, RecursionError, StudioError):
            continue
