"""The state of an evaluation: progress, time left, figures so far, verdict; read from its folder. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import StudioError
from core.files import cannot_read
from core.studio.evaluating.events import (
    ChunkDone,
    EvaluationEvent,
    Failed,
    Finished,
    ShareDone,
    Started,
    Stopped,
    newest,
)
from core.studio.evaluating.folder import Evaluation, newest_first
from core.studio.evaluating.job import asked_to_stop, running
from core.studio.evaluating.live import LiveRow, live_figures
from core.studio.evaluating.work import all_columns
from core.studio.workspace import Workspace


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
        report: path of the HTML file, once there is one (the JSON is next to it); None before.
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


def list_states(
    workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None
) -> list[EvaluationState]:
    """All evaluations of the workspace, newest first, without their figures.

    Args:
        on_fault: called for each that is left out because it is damaged.
    """
    states = []
    for evaluation in newest_first(workspace):
        try:
            states.append(state_of(evaluation, figures=False))
        except StudioError as error:
            on_fault(error)
    return states
