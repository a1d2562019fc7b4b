"""Grids: one setting along x, one along y, a third as pages; rendered in as few forwards as the rows allow."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.generation import limits
from core.generation.axes import parse_axis as parsed
from core.generation.comparison import Comparison
from core.generation.settings import COLUMN, DEFAULTS, FIELDS, Settings
from core.method.forms import DOSED_BY_OMEGA, beta_at
from core.method.guidance import GuidanceWeights
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Event, Saved
from core.studio.comparing.sheet import Placed, grid_picture

CELLS_LIMIT = 256
"""Pictures of a grid."""
SIGNS = {name: about.symbol for name, about in FIELDS.items() if about.symbol}


def axes() -> tuple[str, ...]:
    """The settings a grid may vary; "checkpoint" is the step of the run whose offset is the negative one."""
    names = [name for name, about in FIELDS.items() if about.axis]
    names.insert(names.index("negative") + 1, "checkpoint")
    return tuple(names)


@dataclass(frozen=True)
class Axis:
    """A setting and its values, in the order shown. An empty name is for no axis."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Cell:
    """A finished picture of a cell: the cell's place (x, y, page), the picture, the judge's preference score where the judge
    applies, and which of the cell's seeds it is."""

    place: tuple[int, int, int]
    saved: Saved
    score: float | None
    nth: int = 0


@dataclass(frozen=True)
class Sheet:
    """The whole grid as one picture a page; made when all that was rendered is there."""

    paths: tuple[Path, ...]


def parse_axis(name: str, text: str) -> Axis:
    """The values of an axis as a person writes them: separated by commas, or `0:2:0.5` for a range; prompts by lines.

    Raises:
        StudioError: an unknown setting, or values that it cannot have.
    """
    if not name or name == "none":
        return Axis("", (None,))
    if name not in axes():
        raise StudioError(
            "“{name}” is not an axis of the grid.",
            "Choose one of {choices}.",
            name=name[:40],
            choices=", ".join(axes()),
        )
    return Axis(*parsed(name, text, int if name == "checkpoint" else None))


def cells(
    values: Mapping[str, Any], x: Axis, y: Axis, pages: Axis, seeds: int = 1
) -> list[tuple[tuple[int, int, int], Settings]]:
    """Each cell's place and its settings; `seeds` are those of each cell, from its first one on.

    Raises:
        StudioError: two axes of one setting, too many cells, or a value out of range: before anything is rendered.
    """
    names = [axis.name for axis in (x, y, pages) if axis.name]
    if not names:
        raise StudioError("The grid has no axis.", "Choose what changes along x.")
    if {"checkpoint", "negative"} <= set(names):
        raise StudioError(
            "The checkpoint axis replaces the negative offset.", "Choose another setting for one of the axes."
        )
    if len(set(names)) != len(names):
        raise StudioError("Two axes change the same setting.", "Choose another for one of them.")
    count = len(x.values) * len(y.values) * len(pages.values)
    if count > CELLS_LIMIT:
        raise StudioError(
            "This grid has {count} cells; at most {limit} can be rendered.",
            "Choose fewer values.",
            count=count,
            limit=CELLS_LIMIT,
        )
    if count * seeds > CELLS_LIMIT:
        raise StudioError(
            "This grid has {count} cells of {seeds} pictures; at most {limit} pictures can be rendered.",
            "Choose fewer values.",
            count=count,
            seeds=seeds,
            limit=CELLS_LIMIT,
        )
    planned = []
    for (k, page), (j, row), (i, column) in itertools.product(*(enumerate(axis.values) for axis in (pages, y, x))):
        changed = {axis.name: value for axis, value in ((x, column), (y, row), (pages, page)) if axis.name}
        if (step := changed.pop("checkpoint", None)) is not None:
            changed["negative"] = f"{values.get('negative') or 'none'} step {step}"
        settings = Settings.from_values({**values, **held(values, changed), "images": seeds})
        Comparison.of(settings)
        planned.append(((i, j, k), settings))
    return planned


def held(values: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """What an axis changes, and the β that holds the dose where ω changes, the form is dosed by it, and that is asked for."""
    form = changed.get("guidance", values.get("guidance", DEFAULTS["guidance"]))
    follows = values.get("hold_dose") and "omega" in changed and "beta" not in changed and form in DOSED_BY_OMEGA
    if not follows:
        return dict(changed)
    dose = values.get("omega", DEFAULTS["omega"]) * values.get("beta", DEFAULTS["beta"])
    low, high = FIELDS["beta"].range
    return {**changed, "beta": min(high, max(low, round(beta_at(changed["omega"], dose), 4)))}


def render_grid(
    engine: Engine,
    values: Mapping[str, Any],
    x: Axis,
    y: Axis,
    pages: Axis,
    *,
    seeds: int = 1,
    called: Callable[[str], str] = lambda name: SIGNS.get(name, name),
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Event | Cell | Sheet]:
    """Renders the grid; cells come as they are finished, in the order of fewest forwards. What is finished is kept.

    Cells that differ in guidance and seed alone share forwards, as columns of a comparison do.

    Args:
        seeds: pictures of each cell, 1 to 16.
        called: what a setting is called in the picture of the whole grid.

    Raises:
        StudioError: as `cells`, or while rendering.
    """
    planned = cells(values, x, y, pages, seeds)
    groups: dict[str, list[tuple[tuple[int, int, int], Settings]]] = {}
    for place, settings in planned:
        shared = {key: value for key, value in settings.values().items() if key not in (*COLUMN, "seed")}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append((place, settings))
    done: list[Cell] = []
    for members in groups.values():
        if cancelled():
            break  # no other model is loaded for what will not be rendered
        wanted: dict[tuple[GuidanceWeights, int], list[tuple[tuple[int, int, int], int]]] = {}
        for place, settings in members:
            for nth in range(seeds):
                wanted.setdefault((settings.weights, settings.seed + nth), []).append((place, nth))
        numbers = tuple(dict.fromkeys(seed for _, seed in wanted))
        columns = tuple(dict.fromkeys(weights for weights, _ in wanted))
        fit = max(1, limits.IMAGES // len(numbers))
        for start in range(0, len(columns), fit):
            part = columns[start : start + fit]
            for some in (numbers[i : i + limits.IMAGES] for i in range(0, len(numbers), limits.IMAGES)):
                comparison = Comparison.of(members[0][1], columns=part, seeds=some)
                for event in engine.compare(comparison, cancelled=cancelled):
                    if isinstance(event, Saved):
                        for place, nth in wanted.get((part[event.column], event.seed), []):
                            done.append(Cell(place, event, event.settings.get("judge"), nth))
                            yield done[-1]
                    else:
                        yield event
                if cancelled():
                    break
    if done:
        yield Sheet(tuple(_sheets(engine, x, y, pages, done, called)))


def _margin(axis: Axis, value: Any, called: Callable[[str], str]) -> str:
    """An axis's value beside the cells that have it."""
    if not axis.name:
        return ""
    shown = f"{value:g}" if isinstance(value, float) else str(value) if value not in (None, "") else "–"
    return shown if axis.name == "prompt" else f"{called(axis.name)} {shown}"


def _placed(cells: Sequence[Cell]) -> Placed:
    """The pictures of one cell in the order of their seeds, and their mean score."""
    ordered = sorted(cells, key=lambda cell: cell.nth)
    scores = [cell.score for cell in ordered if cell.score is not None]
    return Placed(tuple(cell.saved.picture for cell in ordered), sum(scores) / len(scores) if scores else None)


def _sheets(
    engine: Engine, x: Axis, y: Axis, pages: Axis, done: Sequence[Cell], called: Callable[[str], str]
) -> Iterator[Path]:
    from core.generation.media import save_png

    stamp = time.strftime("%Y%m%d-%H%M%S")
    for page, page_value in enumerate(pages.values):
        mine: dict[tuple[int, int], list[Cell]] = {}
        for cell in done:
            if cell.place[2] == page:
                mine.setdefault((cell.place[0], cell.place[1]), []).append(cell)
        if not mine:
            continue
        placed = {place: _placed(some) for place, some in mine.items()}
        first = next(iter(mine.values()))[0].saved.settings
        first = {name: value for name, value in first.items() if name != "judge"}
        changing = {"negative" if axis.name == "checkpoint" else axis.name for axis in (x, y, pages)}
        sheet = grid_picture(
            placed,
            [_margin(x, value, called) for value in x.values],
            [_margin(y, value, called) for value in y.values],
            {name: value for name, value in first.items() if name not in changing},
            title=_margin(pages, page_value, called),
        )
        axes = {axis.name: list(axis.values) for axis in (x, y, pages) if axis.name}
        scores = {f"{i},{j}": round(one.score, 3) for (i, j), one in placed.items() if one.score is not None}
        path = engine.outputs() / f"grid-{stamp}-{page}.png"
        save_png(sheet, path, {**first, "size": f"{sheet.width}x{sheet.height}", "grid": axes, "scores": scores})
        yield path
