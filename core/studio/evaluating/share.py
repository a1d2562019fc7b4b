"""One process's share of an evaluation, kept in the journal, up to the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil

from core.errors import StudioError
from core.studio.evaluating.events import (
    ChunkDone,
    EvaluationEvent,
    Failed,
    Finished,
    ShareDone,
    Started,
    Stopped,
    append_event,
)
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.job import asked_to_stop, forget, record
from core.studio.evaluating.report import write_report
from core.studio.evaluating.work import device_of, run_evaluation
from core.studio.workspace import Workspace


def work_through(
    workspace: Workspace,
    evaluation: Evaluation,
    *,
    shard: tuple[int, int] = (0, 1),
    cpu: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[EvaluationEvent]:
    """Does a share of an evaluation in this process, keeps the journal, and writes the report when every chunk is done.

    Args:
        shard: (this share from 0, how many shares).

    Raises:
        StudioError: as `run_evaluation` and `write_report`; it is in the journal, too.
    """

    def journaled(event: EvaluationEvent) -> EvaluationEvent:
        append_event(evaluation.folder, event)
        return event

    def asked() -> bool:
        return cancelled() or asked_to_stop(evaluation)

    record(evaluation, psutil.Process())
    try:
        device = device_of(cpu=cpu, rank=int(os.environ.get("LOCAL_RANK", "0")))
        share = f"{shard[0] + 1}/{shard[1]}"
        total = evaluation.chunks
        yield journaled(Started(done=evaluation.done(), total=total, share=share, device=device))
        for event in run_evaluation(workspace, evaluation, shard=shard, device=device, cancelled=asked):
            if not isinstance(event, ChunkDone) or event.rendering:
                append_event(evaluation.folder, event)
            yield event
        done = evaluation.done()
        if done >= total:
            figures = write_report(evaluation)
            yield journaled(Finished(report="report.html", verdict=figures["verdict"]["sentence"]))
        elif asked():
            yield journaled(Stopped(done=done, total=total))
        else:
            yield journaled(ShareDone(done=done, total=total))
    except Exception as error:
        known = error if isinstance(error, StudioError) else None
        message = known.message if known else f"The evaluation failed: {type(error).__name__}."
        with suppress(StudioError):  # the disk that is full holds the journal too
            append_event(
                evaluation.folder, Failed(message=message, remedy=known.remedy if known else "See its log.txt.")
            )
        raise
    finally:
        forget(evaluation, os.getpid())
