"""An evaluation as a job: started in a process of its own, watched, stopped, resumed. What a page needs to know. No torch.

    settings = EvaluationSettings.from_dict({"negative": "sd15-mini-negative", "count": 200})
    estimate_of(workspace, settings)                     row-forwards, seconds, bytes: before anything is made
    evaluation = create_evaluation(workspace, settings)  the folder; bad input is refused here
    start(evaluation)                                    a detached process; it outlives the page and the server
    state_of(evaluation)                                 status, progress, time left, figures so far, verdict, report
    for state in watch(evaluation): ...                  the same each time something has changed, until it ends
    stop(evaluation)                                     after the chunk it is at; what is done is kept
    start(evaluation)                                    goes on where it was: the figures are those of one go
    list_states(workspace)                               all evaluations, newest first

Everything is in the folder: a reload, another tab, another server or the command line see the same. An evaluation that was
begun on the command line shows here too. Nothing raises but what says so.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.errors import StudioError
from core.files import cannot_read, cannot_write, read_json, write_json, write_text
from core.studio.evaluating.events import (
    ChunkDone,
    EvaluationEvent,
    Failed,
    Finished,
    ShareDone,
    Started,
    Stopped,
    newest,
    read_events,
)
from core.studio.evaluating.folder import Evaluation, check_room, counted, evaluations_of, list_evaluations
from core.studio.evaluating.live import LiveRow, live_figures
from core.studio.evaluating.settings import EvaluationSettings, columns_of, row_forwards
from core.studio.evaluating.work import all_columns
from core.studio.locks import waiting_for
from core.studio.processes import end_family, identity, launched, living
from core.studio.workspace import Workspace

ROOT = Path(__file__).resolve().parents[3]
REQUEST = "request"
"""A file that asks every process of the evaluation to stop after its chunk."""


@dataclass(frozen=True)
class EvaluationState:
    """An evaluation at a glance.

    Args:
        id: name of its folder; what `get_evaluation` takes.
        status: "new", "running", "stopping", "stopped", "failed", "interrupted" (its process was killed) or "finished".
        done, total: chunks; `pairs` of `planned` pairs are in the figures.
        seconds_left: at the pace of the last chunks; None where nothing tells it.
        message, remedy: the fault of a failed one, else empty.
        rows: figures so far, by scorer and column, with intervals that shrink; see `LiveRow`.
        verdict: the sentence of the report, once it is finished; empty before.
        report: path of the HTML file, once there is one (the JSON lies beside it); None before.
        began: when its folder was made, in seconds since 1970.
    """

    id: str
    status: str
    done: int
    total: int
    pairs: int
    planned: int
    seconds_left: float | None
    message: str
    remedy: str
    rows: tuple[LiveRow, ...]
    verdict: str
    report: Path | None
    began: float


@dataclass(frozen=True)
class Estimate:
    """What an evaluation costs, before it starts.

    Args:
        row_forwards: of the denoiser, the measuring of guidance included.
        seconds: at the pace of the newest evaluation of this base and size on this machine, or at the pace that was handed
            in; None where neither is known.
        disk: bytes of the pictures and figures that are kept.
        prompts: how many there are.
        columns: how many settings each is rendered under.
        like: the id of the evaluation whose pace it is; empty where there is none.
    """

    row_forwards: int
    seconds: float | None
    disk: int
    prompts: int
    columns: int
    like: str


def estimate_of(workspace: Workspace, settings: EvaluationSettings, pace: float | None = None) -> Estimate:
    """The cost of an evaluation; nothing is made.

    Args:
        pace: seconds of one row-forward, for example of Compare's last rendering; used where no evaluation tells.

    Raises:
        StudioError: prompts that cannot be read (the line is named), or not enough room on the disk.
    """
    settings = counted(settings)
    disk = check_room(workspace, settings, (settings.height or 64) * (settings.width or 64))
    like = ""
    for evaluation in reversed(_by_age(workspace)):
        with suppress(StudioError):
            before = evaluation.settings
            alike = all(getattr(before, key) == getattr(settings, key) for key in ("base", "height", "width", "frames"))
            if alike and (known := pace_of(evaluation)) is not None:
                pace, like = known, evaluation.id
                break
    cost = row_forwards(settings)
    return Estimate(
        cost, None if pace is None else cost * pace, disk, settings.count, len(columns_of(settings, -1.0)), like
    )


def pace_of(evaluation: Evaluation) -> float | None:
    """Seconds of one row-forward, scoring included, from its journal; None where it did no chunk yet.

    Raises:
        StudioError: its settings are damaged.
    """
    chunks = [event for event in newest(evaluation.folder) if isinstance(event, ChunkDone) and event.rendering]
    if not chunks:
        return None
    seconds = sum(event.rendering + event.scoring for event in chunks) / len(chunks)
    return seconds * evaluation.chunks / max(1, row_forwards(evaluation.settings))


def start(evaluation: Evaluation, *, cpu: bool = False, processes: int = 0, command: Sequence[str] = ()) -> Evaluation:
    """Starts or resumes an evaluation in a process of its own, which outlives this one; one that runs is left alone.

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


def end(evaluation: Evaluation) -> None:
    """Ends the evaluation's processes on this machine at once; the chunk they are at is lost, what is done is kept."""
    for process in running(evaluation):
        end_family(process)


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


def state_of(evaluation: Evaluation, *, figures: bool = True) -> EvaluationState:
    """The evaluation at this moment; cheap enough to ask every second.

    Args:
        figures: add up the new chunks for `rows`; a list of evaluations does without.

    Raises:
        StudioError: its settings are damaged, or the disk refuses.
    """
    try:
        settings, recent = evaluation.settings, newest(evaluation.folder)
        done, total = evaluation.done(), evaluation.chunks
        alive = running(evaluation)
        status = _status(recent, done, total, bool(alive), asked_to_stop(evaluation))
        fault = next((e for e in reversed(recent) if isinstance(e, Failed)), None) if status == "failed" else None
        finished = next((e for e in reversed(recent) if isinstance(e, Finished)), None) if done >= total else None
        rows: list[LiveRow] = []
        if figures and done:
            roles = {column.name: column.role for column in all_columns(evaluation)}
            rows = live_figures(evaluation.folder).rows(settings.scorers, roles)
        report = evaluation.folder / "report.html"
        return EvaluationState(
            id=evaluation.id,
            status=status,
            done=done,
            total=total,
            pairs=min(settings.count, done * settings.batch) * settings.seeds,
            planned=settings.count * settings.seeds,
            seconds_left=_left(recent, total - done, len(alive)) if alive else None,
            message=fault.message if fault else "",
            remedy=fault.remedy if fault else "",
            rows=tuple(rows),
            verdict=finished.verdict if finished else "",
            report=report if report.is_file() else None,
            began=(evaluation.folder / "settings.json").stat().st_mtime,
        )
    except OSError as error:
        raise cannot_read(evaluation.id, error) from error


def _status(recent: list[EvaluationEvent], done: int, total: int, alive: bool, asked: bool) -> str:
    if alive:
        return "stopping" if asked else "running"
    for event in reversed(recent):
        if isinstance(event, Finished):
            return "finished" if done >= total else "stopped"
        if isinstance(event, Stopped | ShareDone):
            return "stopped"
        if isinstance(event, Failed):
            return "failed"
        if isinstance(event, Started | ChunkDone):
            return "interrupted"
    return "stopped" if done else "new"


def _left(recent: list[EvaluationEvent], chunks: int, processes: int) -> float | None:
    times = [event.rendering + event.scoring for event in recent if isinstance(event, ChunkDone) and event.rendering]
    times = times[-20:]
    return sum(times) / len(times) * chunks / max(1, processes) if times else None


def watch(
    evaluation: Evaluation, *, every: float = 0.5, given_up: Callable[[], bool] = lambda: False
) -> Iterator[EvaluationState]:
    """The state at once, then each time something has changed, until no process works on it any more.

    Args:
        every: seconds between two looks.
        given_up: ends the watching, not the evaluation.

    Raises:
        StudioError: as `state_of`.
    """
    shown: tuple[Any, ...] | None = None
    while True:
        state = state_of(evaluation)
        if (seen := (state.status, state.done, state.report)) != shown:
            shown = seen
            yield state
        if state.status not in ("running", "stopping") or given_up():
            return
        time.sleep(every)


def events_of(evaluation: Evaluation, start: int = 0) -> tuple[list[EvaluationEvent], int]:
    """Events of the journal from a byte on, and the byte to go on from."""
    return read_events(evaluation.folder, start)


def _by_age(workspace: Workspace) -> list[Evaluation]:
    def age(evaluation: Evaluation) -> float:
        with suppress(OSError):
            return (evaluation.folder / "settings.json").stat().st_mtime
        return 0.0

    return sorted(list_evaluations(workspace), key=age)


def list_states(
    workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None
) -> list[EvaluationState]:
    """All evaluations of the workspace, newest first, without their figures.

    Args:
        on_fault: told of each that is left out because it is damaged.
    """
    states = []
    for evaluation in reversed(_by_age(workspace)):
        try:
            states.append(state_of(evaluation, figures=False))
        except StudioError as error:
            on_fault(error)
    return states


def delete(workspace: Workspace, evaluation: Evaluation) -> Path:
    """Puts an evaluation away, out of the list; where it went.

    Raises:
        StudioError: it runs, or the disk refuses.
    """
    if running(evaluation):
        raise StudioError("The evaluation {id} is running.", "Stop it first.", id=evaluation.id)
    away = evaluations_of(workspace) / ".deleted" / f"{evaluation.id}-{time.time_ns()}"
    try:
        away.parent.mkdir(parents=True, exist_ok=True)
        evaluation.folder.rename(away)
    except OSError as error:
        raise StudioError("“{id}” could not be deleted.", "Check the workspace.", id=evaluation.id) from error
    return away
