"""What a run's journal looks like: the line above the curve, the loss curve, the preview pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from app.page.html import duration, facts, fault, progress
from app.page.text import sentence, translate, word
from app.page.views import Cell, Pair, board, inline
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
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 240, 56, 34, 10

Points = list[tuple[float, float]]
"""Step and loss."""


@dataclass(frozen=True)
class Shown:
    """What a page shows of a run, so that each look changes only what is new.

    Args:
        run, status: of the run.
        requested: what it was asked and has not done yet: "pause", "stop" or nothing.
        position: where its journal ended, in bytes.
        drawn: (run, status, points) of the curve.
        preview: (run, step, own samples) of the pictures.
    """

    run: str = ""
    status: str = ""
    requested: str = ""
    position: int = -1
    drawn: tuple[str, str, int] = ("", "", 0)
    preview: tuple[str, int, int] = ("", -1, 0)


def shown_of(run: Run, events: list[TrainEvent], position: int, last: Shown) -> Shown:
    """What is to be shown now, after `last`."""
    status = run.status
    drawn = (run.id, status, sum(isinstance(event, StepDone) for event in events))
    if drawn[:2] == last.drawn[:2] and drawn[2] < GROWTH * last.drawn[2]:
        drawn = last.drawn
    newest = next((event.step for event in reversed(events) if isinstance(event, PreviewSaved)), -1)
    return Shown(run.id, status, run.requested, position, drawn, (run.id, newest, len(own_samples(events))))


def loss_points(events: Sequence[TrainEvent]) -> Points:
    """Step and loss, each step once, thinned to a few hundred points by averaging neighbours."""
    by_step = {event.step: event.loss for event in events if isinstance(event, StepDone)}
    points = [(float(step), loss) for step, loss in by_step.items()]
    width = max(1, -(-len(points) // POINTS))
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [
        (sum(step for step, _ in group) / len(group), sum(loss for _, loss in group) / len(group)) for group in groups
    ]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, at most a few."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def loss_chart(curves: Mapping[str, Points]) -> str:
    """Losses over the steps, a line for each run; nothing where no run has made a step."""
    drawn = {name: [p for p in points if math.isfinite(p[1])] for name, points in curves.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    steps = [step for points in drawn.values() for step, _ in points]
    losses = [loss for points in drawn.values() for _, loss in points]
    left, right = min(0.0, *steps), max(steps)
    low, high = min(losses), max(losses)
    low, high = (low - 0.04 * (high - low), high + 0.04 * (high - low)) if high > low else (low - 1e-9, high + 1e-9)

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - 12) * (step - left) / max(1e-9, right - left)

    def down(loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low)

    lines = "".join(
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - 12}" y1="{down(y):.1f}" y2="{down(y):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>'
        for y in ticks(low, high, 4)
    )
    lines += "".join(
        f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>'
        for x in ticks(left, right, 6)
    )
    paths = ""
    for n, points in enumerate(drawn.values()):
        places = " ".join(f"{across(step):.1f},{down(loss):.1f}" for step, loss in points)
        paths += f'<polyline class="curve c{n % 6}" points="{places}"/>'
        if len(points) == 1:
            paths += (
                f'<circle class="dot c{n % 6}" cx="{across(points[0][0]):.1f}" cy="{down(points[0][1]):.1f}" r="3"/>'
            )
    legend = "".join(f'<span class="c{n % 6}">{escape(name)}</span>' for n, name in enumerate(drawn))
    title, axis = escape(word("Loss by step")), escape(word("step"))
    return (
        f'<div class="chart"><div class="legend"><b>{escape(word("loss"))}</b>{legend}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{lines}{paths}'
        f'<text x="{(LEFT + WIDTH) // 2}" y="{HEIGHT - 3}" text-anchor="middle">{axis}</text></svg></div>'
    )


def _state(run: Run, done: StepDone | None, drawn: PoolProgress | None, fresh: bool) -> str:
    status, steps = run.status, run.config.steps
    step = done.step if done else 0
    if status == "running" and run.requested:
        doing = sentence("pausing") if run.requested == "pause" else sentence("stopping")
        return sentence(
            "{run}: {doing} after this step, at {step} of {steps}", run=run.id, doing=doing, step=step, steps=steps
        )
    if status == "running" and fresh and drawn:
        return sentence("{run}: drawing own samples, {done} of {total}", run=run.id, done=drawn.done, total=drawn.total)
    if status == "running" and fresh:
        return sentence("{run}: loading", run=run.id)
    return sentence(
        "{run}: {status}, step {step} of {steps}", run=run.id, status=sentence(status), step=step, steps=steps
    )


def status_line(run: Run, events: list[TrainEvent]) -> str:
    """State of the run: progress, loss, pace, time left, memory; or what went wrong.

    Pace and time left are of this process alone: after Resume they are unknown until its first step.
    """
    status, config = run.status, run.config
    began = max((n for n, event in enumerate(events) if isinstance(event, RunStarted)), default=-1)
    done = next((e for e in reversed(events) if isinstance(e, StepDone)), None)
    fresh = not any(isinstance(event, StepDone) for event in events[began + 1 :])
    drawn = next((e for e in reversed(events) if isinstance(e, PoolProgress)), None)
    step = done.step if done else 0
    share = step / config.steps if done or not drawn else drawn.done / drawn.total
    pairs: list[tuple[str, str]] = []
    if done:
        pairs = [(sentence("loss"), f"{done.loss:.4g}")]
        if not fresh:
            pairs.append((sentence("pace"), sentence("{rate:.2f} steps/s", rate=done.rate)))
        if status == "running" and done.rate and not fresh:
            pairs.append((sentence("left"), duration((config.steps - step) / done.rate)))
        pairs += [
            (sentence("memory"), f"{done.memory / 2**30:.2f} GiB"),
            (sentence("learning rate"), f"{done.learning_rate:.2g}"),
        ]
    parts = [progress(_state(run, done, drawn, fresh), share), facts(pairs)]
    failed = next((e for e in reversed(events) if isinstance(e, RunFailed)), None)
    if failed and status == "failed":
        parts.append(fault(StudioError(failed.message, failed.remedy)))
    notice = next((e for e in reversed(events) if isinstance(e, Notice)), None)
    if notice:
        parts.append(facts([(sentence("note"), translate(notice.message))]))
    return "".join(parts)


def own_samples(events: Sequence[TrainEvent]) -> tuple[str, ...]:
    """The own samples to be shown, names inside the run folder: while they are drawn, until the first step is done."""
    for event in reversed(events):
        if isinstance(event, StepDone):
            return ()
        if isinstance(event, PoolProgress):
            return event.pictures
    return ()


def preview_board(run: Run, events: Sequence[TrainEvent]) -> str:
    """The newest previews, each seed without and with the growing offset; before the first step the own samples, too."""
    own = [
        Pair((Cell(picture_of(run, name), sentence("own sample")),), sentence("own sample"))
        for name in own_samples(events)
        if (run.folder / name).is_file()
    ]
    newest = next((e for e in reversed(events) if isinstance(e, PreviewSaved)), None)
    if newest is None:
        return board(own, columns=4)
    pairs = []
    for plain, guided in zip(newest.plain, newest.guided, strict=True):
        cells = []
        for name, caption in ((plain, sentence("without")), (guided, sentence("with, step {step}", step=newest.step))):
            if (run.folder / name).is_file():
                cells.append(Cell(picture_of(run, name), caption))
        if cells:
            pairs.append(Pair(tuple(cells), sentence("step {step}", step=newest.step)))
    return board(pairs) + board(own, columns=4)


def picture_of(run: Run, name: str) -> str:
    """A preview as it can be shown: run folders are not served, so the picture itself is sent."""
    from PIL import Image

    with Image.open(run.folder / name) as image:
        return inline(image)


__all__ = ["Points", "Shown", "loss_chart", "loss_points", "preview_board", "shown_of", "status_line", "ticks"]
