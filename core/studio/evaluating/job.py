"""An evaluation as a job: started in a separate process, stopped, resumed. No torch.

    settings = EvaluationSettings.from_dict({"negative": "sd15-mini-negative", "count": 200})
    estimate_of(workspace, settings)                     row-forwards, seconds, bytes: before anything is made
    evaluation = create_evaluation(workspace, settings)  the folder; bad input is refused here
    start(evaluation)                                    a detached process; it outlives the page and the server
    state_of(evaluation)                                 status, progress, time left, figures so far, verdict, report
    stop(evaluation)                                     after the chunk it is at; what is done is kept
    start(evaluation)                                    continues: the figures are those of an uninterrupted one
    list_states(workspace)                               all evaluations, newest first

The cost is in `estimate`, the states in `state`. Everything is in the folder: a reload, another tab, another server or the
command line see the same, and an evaluation that was begun on the command line shows here too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from core.errors import StudioError
from core.files import cannot_write, read_json, write_json, write_text
from core.studio.evaluating.folder import Evaluation
from core.studio.locks import waiting_for
from core.studio.processes import identity, launched, living

ROOT = Path(__file__).resolve().parents[3]
REQUEST = "request"
"""A file that asks every process of the evaluation to stop after its chunk."""


def start(evaluation: Evaluation, *, cpu: bool = False, processes: int = 0, command: Sequence[str] = ()) -> Evaluation:
    """Starts or resumes an evaluation in a separate process, which outlives this one; one that runs is left alone.

    Args:
        processes: how many share the work; 0 for one a graphics card, or one where there is none.
        command: of the process, where the evaluation is part of something larger.

    Raises:
        StudioError: no process could be made, or the disk refuses.
    """
    with waiting_for(evaluation.folder / "start.lock"):
        if running(evaluation):
            return evaluation
        try:
            allow(evaluation)
            with (evaluation.folder / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    list(command) or command_of(evaluation, cpu=cpu, processes=processes),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    # threads that spin while they wait take the core from who needs it
                    env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                )
            _children.append(process)
            record(evaluation, psutil.Process(process.pid))
        except (OSError, psutil.Error) as error:
            raise StudioError(
                "The process of the evaluation {id} could not be started.",
                "Check that the workspace can be written and has room.",
                id=evaluation.id,
            ) from error
    return evaluation


def command_of(evaluation: Evaluation, *, cpu: bool, processes: int) -> list[str]:
    """The command of the detached process: under a launcher where there is more than one."""
    worker = ["-m", "core.studio.evaluating.worker", str(evaluation.folder), *(["--cpu"] if cpu else [])]
    return launched(worker, cpu=cpu, processes=processes)


_children: list[subprocess.Popen] = []
"""Kept so that ended children are reaped when asked, instead of staying zombies."""


def record(evaluation: Evaluation, process: psutil.Process) -> None:
    """Notes a process that works on the evaluation."""
    write_json(evaluation.folder / "processes" / f"{process.pid}.json", identity(process), indent=None)


def forget(evaluation: Evaluation, pid: int) -> None:
    """A process of the evaluation has ended."""
    with suppress(OSError):
        (evaluation.folder / "processes" / f"{pid}.json").unlink(missing_ok=True)


def running(evaluation: Evaluation) -> list[psutil.Process]:
    """The living processes that work on the evaluation on this machine."""
    _children[:] = [child for child in _children if child.poll() is None]
    processes = []
    for path in (evaluation.folder / "processes").glob("[0-9]*.json"):
        with suppress(StudioError):
            if process := living(read_json(path, dict)):
                processes.append(process)
    return processes


def stop(evaluation: Evaluation) -> None:
    """Asks every process of the evaluation to stop after the chunk it is at, also those on other machines that share the
    folder. What is done is kept.

    Raises:
        StudioError: the folder cannot be written.
    """
    write_text(evaluation.folder / REQUEST, "stop")


def allow(evaluation: Evaluation) -> None:
    """Takes back what `stop` asked for; `start` does so by itself.

    Raises:
        StudioError: the folder cannot be written.
    """
    try:
        (evaluation.folder / REQUEST).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(REQUEST, error) from error


def asked_to_stop(evaluation: Evaluation) -> bool:
    """Whether `stop` was called and `start` was not since."""
    return (evaluation.folder / REQUEST).exists()
