"""Grids: one setting along x, one along y, a third as pages; rendered in as few forwards as the rows allow."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.generation import limits
from core.generation.comparison import Comparison
from core.generation.settings import COLUMN, FIELDS, Settings
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Event, Saved

CELLS_LIMIT = 256


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
    """A finished cell: its place (x, y, page), its picture, and the judge's preference score where the judge applies."""

    place: tuple[int, int, int]
    saved: Saved
    score: float | None


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
        raise StudioError(f"“{name[:40]}” is not an axis of the grid.", f"Choose one of {', '.join(axes())}.")
    parts = [part.strip() for part in (text.splitlines() if name == "prompt" else text.split(",")) if part.strip()]
    if not parts:
        raise StudioError(f"The axis {name} has no values.", "Write for example 0, 1, 2.")
    kind = int if name == "checkpoint" else FIELDS[name].kind
    if kind is str:
        return Axis(name, tuple("" if part == "none" else part for part in parts))
    values: list[Any] = []
    for part in parts:
        try:
            if part.count(":") == 2:
                first, last, step = (float(number) for number in part.split(":"))
                if step <= 0 or last < first or (last - first) / step > CELLS_LIMIT:
                    raise ValueError
                values += [round(first + n * step, 6) for n in range(int((last - first) / step + 1e-6) + 1)]
            else:
                values.append(int(part) if kind is int and part.isdecimal() else float(part))
        except (ValueError, OverflowError) as error:
            raise StudioError(
                f"“{part[:40]}” is not a value of {name}.", "Write for example 0, 0.5, 1 or 0:2:0.5."
            ) from error
    if kind is int:
        if any(not math.isfinite(value) or value != int(value) for value in values):
            raise StudioError(f"{name} takes whole numbers.", "Write for example 10, 20, 30.")
        values = [int(value) for value in values]
    return Axis(name, tuple(values))


def cells(values: Mapping[str, Any], x: Axis, y: Axis, pages: Axis) -> list[tuple[tuple[int, int, int], Settings]]:
    """Each cell's place and its settings.

    Raises:
        StudioError: two axes of one setting, too many cells, or a value out of range: before anything is rendered.
    """
    names = [axis.name for axis in (x, y, pages) if axis.name]
    if not names:
        raise StudioError("The grid has no axis.", "Choose what changes along x.")
    if {"checkpoint", "negative"} <= set(names):
        raise StudioError("A checkpoint is one of the negative offset.", "Choose another setting for one of the axes.")
    if len(set(names)) != len(names):
        raise StudioError("Two axes change the same setting.", "Choose another for one of them.")
    count = len(x.values) * len(y.values) * len(pages.values)
    if count > CELLS_LIMIT:
        raise StudioError(f"That is {count} cells; at most {CELLS_LIMIT} are rendered.", "Choose fewer values.")
    planned = []
    for (k, page), (j, row), (i, column) in itertools.product(*(enumerate(axis.values) for axis in (pages, y, x))):
        changed = {axis.name: value for axis, value in ((x, column), (y, row), (pages, page)) if axis.name}
        if (step := changed.pop("checkpoint", None)) is not None:
            changed["negative"] = f"{values.get('negative') or 'none'} step {step}"
        settings = Settings.from_values({**values, **changed, "images": 1})
        Comparison.of(settings)
        planned.append(((i, j, k), settings))
    return planned


def _scorer(base: str) -> Callable[[Saved], float | None]:
    """The bundled judge's preference for pictures of its world; None for all others."""
    if not base.startswith("miniature-sd"):
        return lambda saved: None
    import numpy as np
    import torch
    from PIL import Image

    from core.miniature.judge import Judge
    from core.miniature.world.scene import parse
    from core.studio.workspace import ASSETS

    judge = Judge.load(ASSETS / "judge")

    def score(saved: Saved) -> float | None:
        try:
            asked = parse(saved.settings["prompt"])
        except StudioError:
            return None
        with Image.open(saved.picture) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0)[None].float() / 127.5 - 1
        return round(float(judge.score(pixels, [asked]).preference), 3)

    return score


def render_grid(
    engine: Engine,
    values: Mapping[str, Any],
    x: Axis,
    y: Axis,
    pages: Axis,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Event | Cell | Sheet]:
    """Renders the grid; cells come as they are finished, in the order of fewest forwards. What is finished is kept.

    Cells that differ in guidance and seed alone share forwards, as columns of a comparison do.

    Raises:
        StudioError: as `cells`, or while rendering.
    """
    planned = cells(values, x, y, pages)
    groups: dict[str, list[tuple[tuple[int, int, int], Settings]]] = {}
    for place, settings in planned:
        shared = {key: value for key, value in settings.values().items() if key not in (*COLUMN, "seed")}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append((place, settings))
    score = _scorer(str(values.get("base", "")))
    done: list[Cell] = []
    for members in groups.values():
        if cancelled():
            break  # no other model is loaded for what will not be rendered
        seeds = tuple(dict.fromkeys(settings.seed for _, settings in members))
        columns = tuple(dict.fromkeys(settings.weights for _, settings in members))
        places = {(settings.weights, settings.seed): place for place, settings in members}
        fit = max(1, limits.IMAGES // len(seeds))
        for start in range(0, len(columns), fit):
            part = columns[start : start + fit]
            for some in (seeds[i : i + limits.IMAGES] for i in range(0, len(seeds), limits.IMAGES)):
                comparison = Comparison.of(members[0][1], columns=part, seeds=some)
                for event in engine.compare(comparison, cancelled=cancelled):
                    if isinstance(event, Saved):
                        if (key := (part[event.column], event.seed)) in places:
                            done.append(Cell(places[key], event, score(event)))
                            yield done[-1]
                    else:
                        yield event
                if cancelled():
                    break
    if done:
        yield Sheet(tuple(_sheets(engine, x, y, pages, done)))


def _margin(axis: Axis, value: Any) -> str:
    """An axis's value in the margin of a sheet, whose font has no Greek."""
    return f"{axis.name} {value:g}" if isinstance(value, float) else f"{axis.name} {value}" if axis.name else ""


def _sheets(engine: Engine, x: Axis, y: Axis, pages: Axis, done: Sequence[Cell]) -> Iterator[Path]:
    from PIL import Image

    from core.generation.media import grid_sheet, save_png

    stamp = time.strftime("%Y%m%d-%H%M%S")
    for page, page_value in enumerate(pages.values):
        mine = {(c.place[0], c.place[1]): c for c in done if c.place[2] == page}
        if not mine:
            continue
        with contextlib.ExitStack() as opened:
            pictures = {place: opened.enter_context(Image.open(cell.saved.picture)) for place, cell in mine.items()}
            sheet = grid_sheet(
                pictures,
                [_margin(x, value) for value in x.values],
                [_margin(y, value) for value in y.values],
                _margin(pages, page_value),
            )
        axes = {axis.name: list(axis.values) for axis in (x, y, pages) if axis.name}
        scores = {f"{i},{j}": cell.score for (i, j), cell in mine.items() if cell.score is not None}
        path = engine.outputs() / f"grid-{stamp}-{page}.png"
        first = next(iter(mine.values())).saved.settings
        save_png(sheet, path, {**first, "size": f"{sheet.width}x{sheet.height}", "grid": axes, "scores": scores})
        yield path
