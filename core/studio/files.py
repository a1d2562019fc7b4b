"""A lock that the operating system releases when its holder ends, however it ends. No torch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Tries to take the lock on a file, without waiting: true for the one who has it until the block ends.

    Two holders in one process exclude each other as two processes do. The file itself stays and means nothing.
    """
    with path.open("a+") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


@contextmanager
def waiting_for(path: Path, *, given_up: Callable[[], bool], on_wait: Callable[[], None]) -> Iterator[bool]:
    """Waits for the lock: true when it is held, false when `given_up` said so first. `on_wait` is called once."""
    told = False
    while not given_up():
        with holding(path) as mine:
            if mine:
                yield True
                return
        if not told:
            on_wait()
            told = True
        time.sleep(0.1)
    yield False
