"""Grids: one setting along x, one along y, a third as pages; rendered in as few forwards as the rows allow."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.studio.comparing.compare import IMAGES_LIMIT, CompareSettings, Note, Sampling, Saved, Waiting
from core.studio.comparing.engine import Engine
from core.studio.comparing.values import DEFAULTS, checked, comparison_of

AXES = (  # "checkpoint": steps of the run whose offset is the negative one
    "omega",
    "alpha",
    "beta",
    "beta_split",
    "beta_late",
    "negative",
    "checkpoint",
    "positive",
    "steps",
    "scheduler",
    "seed",
    "prompt",
)
CELLS_LIMIT = 256
_GUIDANCE = ("omega", "alpha", "beta", "beta_split", "beta_late")


@dataclass(frozen=True)
class Axis:
    """A setting and its values, in the order shown. An empty name is no axis."""

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
        StudioError: an unknown setting, or values that are none of it.
    """
    if not name or name == "none":
        return Axis("", (None,))
    if name not in AXES:
        raise StudioError(f"“{name[:40]}” is no axis.", f"Choose one of {', '.join(AXES)}.")
    parts = [part.strip() for part in (text.splitlines() if name == "prompt" else text.split(",")) if part.strip()]
    if not parts:
        raise StudioError(f"The axis {name} has no values.", "Write for example 0, 1, 2.")
    default = 0 if name == "checkpoint" else DEFAULTS[name]
    if isinstance(default, str):
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
                values.append(float(part))
        except ValueError as error:
            raise StudioError(
                f"“{part[:40]}” is no value of {name}.", "Write for example 0, 0.5, 1 or 0:2:0.5."
            ) from error
    if isinstance(default, int):
        if any(value != int(value) for value in values):
            raise StudioError(f"{name} takes whole numbers.", "Write for example 10, 20, 30.")
        values = [int(value) for value in values]
    return Axis(name, tuple(values))


def cells(
    values: Mapping[str, Any], x: Axis, y: Axis, pages: Axis
) -> list[tuple[tuple[int, int, int], dict[str, Any]]]:
    """Each cell's place and its whole settings.

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
    found = []
    for (k, page), (j, row), (i, column) in itertools.product(*(enumerate(axis.values) for axis in (pages, y, x))):
        changed = {axis.name: value for axis, value in ((x, column), (y, row), (pages, page)) if axis.name}
        if (step := changed.pop("checkpoint", None)) is not None:
            changed["negative"] = f"{values.get('negative') or 'none'} step {step}"
        told = {**checked(values), **changed, "images": 1}
        comparison_of(told)
        found.append(((i, j, k), told))
    return found


def _weights(told: Mapping[str, Any]) -> GuidanceWeights:
    schedule = BetaSchedule(split=told["beta_split"], late=told["beta_late"])
    return GuidanceWeights(omega=told["omega"], alpha=told["alpha"], beta=told["beta"], beta_schedule=schedule)


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
) -> Iterator[Waiting | Sampling | Note | Cell | Sheet]:
    """Renders the grid; cells come as they are finished, in the order of fewest forwards. What is finished is kept.

    Cells that differ in guidance and seed alone share forwards, as columns of a comparison do.

    Raises:
        StudioError: as `cells`, or while rendering.
    """
    planned = cells(values, x, y, pages)
    groups: dict[str, list[tuple[tuple[int, int, int], dict[str, Any]]]] = {}
    for place, told in planned:
        rest = {key: value for key, value in told.items() if key not in (*_GUIDANCE, "seed")}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append((place, told))
    score = _scorer(str(values.get("base", "")))
    done: list[Cell] = []
    for members in groups.values():
        if cancelled():
            break  # no other model is loaded for what will not be rendered
        seeds = tuple(dict.fromkeys(int(told["seed"]) for _, told in members))
        columns = tuple(dict.fromkeys(_weights(told) for _, told in members))
        at = {(_weights(told), int(told["seed"])): place for place, told in members}
        fit = max(1, IMAGES_LIMIT // len(seeds))
        for start in range(0, len(columns), fit):
            part = columns[start : start + fit]
            for some in (seeds[i : i + IMAGES_LIMIT] for i in range(0, len(seeds), IMAGES_LIMIT)):
                settings = _settings(members[0][1], part, some)
                for event in engine.compare(settings, cancelled=cancelled):
                    if isinstance(event, Saved):
                        if (key := (part[event.column], event.seed)) in at:
                            done.append(Cell(at[key], event, score(event)))
                            yield done[-1]
                    else:
                        yield event
                if cancelled():
                    break
    if done:
        yield Sheet(tuple(_sheets(engine, values, x, y, pages, done)))


def _settings(told: Mapping[str, Any], columns: Sequence[GuidanceWeights], seeds: Sequence[int]) -> CompareSettings:
    import dataclasses

    return dataclasses.replace(comparison_of(told), columns=tuple(columns), seeds=tuple(seeds))


def _told(axis: Axis, value: Any) -> str:
    """As it stands in a sheet's margin, whose font has no Greek."""
    return f"{axis.name} {value:g}" if isinstance(value, float) else f"{axis.name} {value}" if axis.name else ""


def _sheets(
    engine: Engine, values: Mapping[str, Any], x: Axis, y: Axis, pages: Axis, done: Sequence[Cell]
) -> Iterator[Path]:
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
                [_told(x, value) for value in x.values],
                [_told(y, value) for value in y.values],
                _told(pages, page_value),
            )
        axes = {axis.name: list(axis.values) for axis in (x, y, pages) if axis.name}
        scores = {f"{i},{j}": cell.score for (i, j), cell in mine.items() if cell.score is not None}
        path = engine.outputs() / f"grid-{stamp}-{page}.png"
        first = next(iter(mine.values())).saved.settings
        save_png(sheet, path, {**first, "size": f"{sheet.width}x{sheet.height}", "grid": axes, "scores": scores})
        yield path
