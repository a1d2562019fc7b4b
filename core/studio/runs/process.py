"""How a run's process is started, queued and ended. No torch.

Whoever starts a run, page, command line or queue, comes through `start_run`, one after another; the process itself then
holds the workspace's turn as long as it lives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from core.errors import StudioError
from core.files import newest_first, read_text, write_text
from core.studio.locks import holding, waiting_for
from core.studio.processes import end_family, launched
from core.studio.runs.run import QUEUED, REQUEST, Run, create_run
from core.studio.runs.turn import STARTING, claim, holder_of, taken
from core.studio.workspace import Workspace
from core.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[3]


def command_of(run: Run, *, cpu: bool = False, processes: int | None = None) -> list[str]:
    """The command of the detached process: under `accelerate launch` when there is more than one process."""
    worker = ["-m", "core.studio.runs.worker", str(run.folder), *(["--cpu"] if cpu else [])]
    return launched(worker, cpu=cpu, processes=processes or 0, precision=run.config.precision)


def start_run(run: Run, *, cpu: bool = False, processes: int | None = None) -> Run:
    """Starts or resumes the run in a separate process, which outlives this one. A run that runs is left alone.

    Raises:
        StudioError: it has finished, another run trains in this workspace, or no process could be made.
    """
    with waiting_for(run.root / STARTING):
        holder = holder_of(run.root)
        if run.process() or (holder and holder.run == run.id):
            return run
        if holder:
            raise taken(holder)
        if run.status == "finished":
            raise StudioError("The run {id} is finished.", "Start a new run for more steps.", id=run.id)
        # threads that spin while they wait make training 50 times slower as soon as another program wants a core
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        process = None
        try:
            for mark in (REQUEST, QUEUED):
                (run.folder / mark).unlink(missing_ok=True)
            with (run.folder / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    command_of(run, cpu=cpu, processes=processes),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment,
                    start_new_session=True,
                )
            _children.append(process)
            started = psutil.Process(process.pid)
            claim(run, started)
            run.record(started)
        except (OSError, psutil.Error, StudioError) as error:
            if process:
                process.kill()  # it could not be found again
            raise StudioError(
                "The training process of {id} could not be started.",
                "Check that the workspace can be written and has room.",
                id=run.id,
            ) from error
    return run


def begin_run(workspace: Workspace, config: TrainConfig, name: str = "", *, cpu: bool = False) -> Run:
    """Creates a run and starts it; of several at the same moment one, and nothing is left of the others.

    Raises:
        StudioError: as `create_run` and `start_run`; names the run that is training already.
    """
    if holder := holder_of(workspace.root):
        raise taken(holder)
    run = create_run(workspace, config, name)
    try:
        return start_run(run, cpu=cpu)
    except StudioError:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise


def enqueue(workspace: Workspace, run: Run, *, cpu: bool = False) -> Run:
    """Starts the run now where none is running, else when those before it have ended; a finished run starts the next."""
    write_text(run.folder / QUEUED, "cpu" if cpu else "")
    start_next(workspace)
    return run


def start_next(workspace: Workspace) -> Run | None:
    """Starts the run that waits longest, unless one is running; the run started, or None."""
    with holding(workspace.root / "queue.lock") as mine:
        if not mine or holder_of(workspace.root):
            return None
        for mark in reversed(newest_first(workspace.runs.glob(f"*/{QUEUED}"))):
            run = Run(mark.parent)
            try:
                return start_run(run, cpu=read_text(mark) == "cpu")
            except StudioError:
                if holder_of(workspace.root):
                    return None  # another was quicker: this one keeps its place
                with suppress(OSError):
                    mark.unlink(missing_ok=True)  # it cannot start: the next one may
    return None


def end_run(run: Run) -> None:
    """Ends the whole process tree within five seconds, without another checkpoint."""
    process = run.process()
    if process is None:
        return
    end_family(process)


_children: list[subprocess.Popen] = []
"""Kept so that ended children are reaped when asked, instead of staying zombies."""


def reap() -> None:
    """Collects children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]
