"""Whose turn it is to train: one process at a time in a workspace, held by the training process itself. No torch.

The lock is the operating system's, so that it ends with its holder, however that ends. Beside it lies who holds it: the
run, the process id and its start time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from core.errors import StudioError
from core.files import read_json, write_json
from core.studio.locks import waiting_for
from core.studio.processes import identity, living
from core.studio.runs.run import Run

LOCK, HOLDER = "training.lock", "training.json"
STARTING = "start.lock"
"""Held for the moment between looking who trains and claiming the turn."""


@dataclass(frozen=True)
class Holder:
    """Who trains: the run's id and the living process."""

    run: str
    process: psutil.Process


def holder_of(root: Path) -> Holder | None:
    """Who trains in the workspace of this folder, or None."""
    try:
        record = read_json(root / HOLDER, dict)
    except StudioError:
        return None
    process = living(record)
    return Holder(str(record.get("run", ""))[:80], process) if process else None


def claim(run: Run, process: psutil.Process) -> None:
    """Notes that a process of this run holds the turn, or was just started to take it; under the lock `STARTING`."""
    write_json(run.root / HOLDER, {"run": run.id, **identity(process)}, indent=None)


def taken(holder: Holder | None) -> StudioError:
    """The sentence for whoever comes second."""
    if holder is None:
        return StudioError("Another process is training in this workspace.", "Wait until it ends.")
    return StudioError(
        "The run {run} is already training in this workspace (process {pid}).",
        "Pause or stop it, wait until it ends, or use another workspace.",
        run=holder.run,
        pid=holder.process.pid,
    )


@contextmanager
def training_turn(run: Run, patience: float = 2.0) -> Iterator[None]:
    """Held by a training process as long as it lives.

    Args:
        patience: seconds that a former holder, dead by its record, may take to let go.

    Raises:
        StudioError: another process trains in this workspace; names it.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}

    def others() -> Holder | None:
        holder = holder_of(run.root)
        # the launcher that started this process was noted as the holder in its name
        return None if holder and holder.run == run.id and holder.process.pid in mine else holder

    with waiting_for(run.root / STARTING):  # not between another's look and its claim
        if holder := others():
            raise taken(holder)
        claim(run, psutil.Process())
    until = time.monotonic() + patience
    with waiting_for(run.root / LOCK, given_up=lambda: time.monotonic() > until) as held:
        if not held:
            raise taken(None)
        try:
            yield
        finally:
            with suppress(OSError):
                (run.root / HOLDER).unlink(missing_ok=True)
