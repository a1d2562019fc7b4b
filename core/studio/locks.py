"""Locks that the operating system releases when their holder ends, however it ends. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.files import cannot_write


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Tries to take the lock on a file, without waiting: true for the one who has it until the block ends.

    Two holders in one process exclude each other as two processes do. The file itself means nothing.

    Raises:
        StudioError: the lock's folder cannot be written.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise cannot_write(path.name, error) from error
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def waiting_for(
    path: Path, *, given_up: Callable[[], bool] = lambda: False, on_wait: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Waits for the lock: true when it is held, false when `given_up` returned true first. `on_wait` is called once.

    Raises:
        StudioError: the lock's folder cannot be written.
    """
    waited = False
    while not given_up():
        with holding(path) as mine:
            if mine:
                yield True
                return
        if not waited:
            on_wait()
            waited = True
        time.sleep(0.05)
    yield False
