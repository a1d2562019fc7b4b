"""What a run's journal looks like: the line above the curve, the loss curve, the preview pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from app.page.html import duration, facts, fault, progress
from app.page.text import sentence, translate
from core.errors import StudioError
from core.events import (
    Notice,
    PoolProgress,
    PreviewSaved,
    RunFailed,
    RunStarted,
    StepDone,
    TrainEvent,
)
from core.studio.runs.run import Run

POINTS = 400
GROWTH = 1.02
"""A curve is drawn anew when it has this many times the points it was drawn with."""


@dataclass(frozen=True)
class Shown:
    """What a page shows of a run, so that each look changes only what is new.

    Args:
        run, status: of the run.
        position: where its journal ended, in bytes.
        drawn: (run, status, points) of the curve.
        preview: (run, step) of the pictures.
    """

    run: str = ""
    status: str = ""
    position: int = -1
    drawn: tuple[str, str, int] = ("", "", 0)
    preview: tuple[str, int] = ("", -1)


def shown_of(run: Run, events: list[TrainEvent], position: int, last: Shown) -> Shown:
    """What is to be shown now, after `last`."""
    status = run.status
    drawn = (run.id, status, sum(isinstance(event, StepDone) for event in events))
    if drawn[:2] == last.drawn[:2] and drawn[2] < GROWTH * last.drawn[2]:
        drawn = last.drawn
    newest = next((event.step for event in reversed(events) if isinstance(event, PreviewSaved)), -1)
    return Shown(run.id, status, position, drawn, (run.id, newest))


def loss_table(events: list[TrainEvent]) -> pd.DataFrame:
    """Step and loss, each step once, thinned to a few hundred points by averaging neighbours."""
    by_step = {event.step: event.loss for event in events if isinstance(event, StepDone)}
    table = pd.DataFrame({"step": list(by_step), "loss": list(by_step.values())})
    width = max(1, -(-len(table) // POINTS))
    return table.groupby(table.index // width).mean() if width > 1 else table


def status_line(run: Run, events: list[TrainEvent]) -> str:
    """Where the run stands: progress, loss, pace, time left, memory; or what went wrong."""
    status, config = run.status, run.config
    done = next((e for e in reversed(events) if isinstance(e, StepDone)), None)
    started = next((e for e in reversed(events) if isinstance(e, RunStarted)), None)
    drawn = next((e for e in reversed(events) if isinstance(e, PoolProgress)), None)
    step = done.step if done else 0
    text = sentence(
        "{run}: {status}, step {step} of {steps}", run=run.id, status=sentence(status), step=step, steps=config.steps
    )
    if status == "running" and not done:
        text = sentence("{run}: loading", run=run.id)
        if drawn:
            text = sentence(
                "{run}: drawing own samples, {done} of {total}", run=run.id, done=drawn.done, total=drawn.total
            )
    share = step / config.steps if done or not drawn else drawn.done / drawn.total
    pairs: list[tuple[str, str]] = []
    if done:
        pairs = [
            (sentence("loss"), f"{done.loss:.4g}"),
            (sentence("pace"), sentence("{rate:.2f} steps/s", rate=done.rate)),
        ]
        if status == "running" and done.rate:
            pairs.append((sentence("left"), duration((config.steps - step) / done.rate)))
        pairs += [
            (sentence("memory"), f"{done.memory / 2**30:.2f} GiB"),
            (sentence("learning rate"), f"{done.learning_rate:.2g}"),
        ]
    if started:
        pairs.append((sentence("row-forwards a sample"), f"{started.row_forwards_per_sample:g}"))
    parts = [progress(text, share), facts(pairs)]
    failed = next((e for e in reversed(events) if isinstance(e, RunFailed)), None)
    if failed and status == "failed":
        parts.append(fault(StudioError(failed.message, failed.remedy)))
    notice = next((e for e in reversed(events) if isinstance(e, Notice)), None)
    if notice:
        parts.append(facts([(sentence("note"), translate(notice.message))]))
    return "".join(parts)


def preview_pictures(run: Run, events: list[TrainEvent]) -> list[tuple[Any, str]]:
    """The newest previews, each seed without and with the growing offset."""
    newest = next((e for e in reversed(events) if isinstance(e, PreviewSaved)), None)
    if newest is None:
        return []
    shown = []
    for plain, guided in zip(newest.plain, newest.guided, strict=True):
        for name, caption in ((plain, sentence("without")), (guided, sentence("with, step {step}", step=newest.step))):
            if (run.folder / name).is_file():
                shown.append((str(run.folder / name), caption))
    return shown
