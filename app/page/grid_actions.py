"""What Grid does: axes to cells, cell by cell. Plain functions of plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from app.page.compare_actions import note_of, with_seed
from app.page.fields import short
from app.page.html import fault, progress
from app.page.text import label, sentence, word
from app.page.views import Cell as Shown
from app.page.views import Pair, address, board
from app.page.wiring import Changes
from core.errors import StudioError
from core.generation.settings import FIELDS
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Sampling, Waiting, Working
from core.studio.comparing.grid import Axis, Cell, Sheet, parse_axis, render_grid

RENDERED = ("grid_status", "cells", "sheets", "grid_records", "heat", "render_grid", "stop_grid")


def heat_map(done: Sequence[Cell], x: Axis, y: Axis, page: int) -> str:
    """The judge's scores as a coloured table; empty where there are none."""
    by_place: dict[tuple[int, int], list[float]] = {}
    for one in done:
        if one.place[2] == page and one.score is not None:
            by_place.setdefault((one.place[0], one.place[1]), []).append(one.score)
    scores = {place: sum(each) / len(each) for place, each in by_place.items()}
    if not scores:
        return ""
    low, high = min(scores.values()), max(scores.values())

    def cell(i: int, j: int) -> str:
        score = scores.get((i, j))
        if score is None:
            return "<td></td>"
        share = (score - low) / (high - low) if high > low else 0.5
        return f'<td style="background:hsl({round(10 + 130 * share)} 62% 78%);color:#111">{score:.2f}</td>'

    head = "".join(f"<th>{escape(_value(value))}</th>" for value in x.values)
    rows = "".join(
        f"<tr><th>{escape(_value(value) if y.name else '')}</th>{''.join(cell(i, j) for i in range(len(x.values)))}</tr>"
        for j, value in enumerate(y.values)
    )
    title = sentence("preference by the bundled judge, 0 to 1 · across: {axis}", axis=escape(short(x.name)))
    title += sentence(" · down: {axis}", axis=escape(short(y.name))) if y.name else ""
    return f'<table class="heat"><caption>{title}</caption><tr><th></th>{head}</tr>{rows}</table>'


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) if value not in (None, "") else word("none")


def caption_of(cell: Cell, axes: Sequence[Axis]) -> str:
    """Where a cell is: the values of the axes."""
    places = zip(axes, cell.place, strict=True)
    return " · ".join(f"{short(axis.name)} {_value(axis.values[place])}" for axis, place in places if axis.name)


def pairs_of(done: Sequence[Cell], axes: Sequence[Axis]) -> list[Pair]:
    """The finished cells in reading order, page by page; of several seeds their pictures together."""
    by_place: dict[tuple[int, int, int], list[Cell]] = {}
    for cell in sorted(done, key=lambda c: (c.place[2], c.place[1], c.place[0], c.nth)):
        by_place.setdefault(cell.place, []).append(cell)
    pairs = []
    for cells in by_place.values():
        caption = caption_of(cells[0], axes)
        shown = tuple(
            _shown(cell, sentence("seed {seed}", seed=cell.saved.seed) if len(cells) > 1 else caption) for cell in cells
        )
        pairs.append(Pair(shown, caption, note_of(shown[0].settings)))
    return pairs


def _shown(cell: Cell, name: str) -> Shown:
    saved = cell.saved
    video = address(saved.path) if saved.path.suffix == ".mp4" else ""
    return Shown(address(saved.picture), name, video, cell.score, saved.settings, saved.picture.name)


def render(
    engine: Engine,
    axes: Sequence[tuple[str, str]],
    values: Mapping[str, Any],
    cancelled: Callable[[], bool],
    seeds: int = 1,
) -> Iterator[Changes]:
    """Renders the grid; cells come row by row.

    Args:
        axes: name and values, as written, of what changes across, down and from page to page.
        values: of Compare, for everything that no axis changes.
        cancelled: asked after each step; what is finished is kept.
        seeds: of each cell, from its first one on.
    """
    done: list[Cell] = []
    rest = {"render_grid": gr.update(interactive=True), "stop_grid": gr.update(interactive=False)}
    yield {
        "grid_status": progress(sentence("Preparing…"), 0),
        "render_grid": gr.update(interactive=False),
        "stop_grid": gr.update(interactive=True),
    }
    try:
        x, y, pages = (parse_axis(name or "none", text or "") for name, text in axes)
        seeds = FIELDS["images"].checked(seeds)
        total = len(x.values) * len(y.values) * len(pages.values)

        def line(share: float) -> str:
            return progress(
                sentence("{done} of {total} cells", done=len({cell.place for cell in done}), total=total), share
            )

        def shown() -> Changes:
            pairs = pairs_of(done, (x, y, pages))
            page = max((cell.place[2] for cell in done), default=0)
            return {
                "cells": board(pairs, columns=min(8, len(x.values))),
                "grid_records": pairs,
                "heat": heat_map(done, x, y, page),
            }

        for event in render_grid(
            engine, with_seed(values), x, y, pages, seeds=seeds, called=short, cancelled=cancelled
        ):
            if isinstance(event, Waiting):
                yield {"grid_status": progress(sentence(event.reason, name=event.name), 0)}
            elif isinstance(event, Sampling) and event.step % 5 == 0:
                yield {"grid_status": line(min(1.0, (len(done) / seeds + event.step / event.steps) / max(1, total)))}
            elif isinstance(event, Working):
                yield {}
            elif isinstance(event, Cell):
                done.append(event)
                if len(done) % max(1, len(x.values) * seeds) == 0:
                    yield {"grid_status": line(len(done) / seeds / total), **shown()}
            elif isinstance(event, Sheet):
                text = sentence(
                    "Done: {done} of {total} cells, kept in the outputs folder.",
                    done=len({cell.place for cell in done}),
                    total=total,
                )
                sheets = "".join(
                    f'<a href="{address(path)}" target="_blank"><img src="{address(path)}" alt="{escape(path.name)}"></a>'
                    for path in event.paths
                )
                yield {"grid_status": text, **shown(), "sheets": sheets, **rest}
    except StudioError as error:
        yield {"grid_status": fault(error), **rest}
        return
    yield rest if done else {"grid_status": label("Stopped."), **rest}


def choose(records: Sequence[Pair], index: int) -> Changes:
    """A picture of the grid; beside the one that is plain CFG at the same settings, where the grid has it."""
    listed = [(pair, cell) for pair in records for cell in pair.cells]
    if not 0 <= index < len(listed):
        return {}
    pair, cell = listed[index]
    plain = next((other for _, other in listed if _is_plain_of(other.settings, cell.settings)), None)
    cells: tuple[Shown, ...] = (cell,)
    if plain is not None:
        names = (sentence("without NPO"), sentence("with NPO"))
        cells = tuple(dataclasses.replace(one, name=name) for one, name in zip((plain, cell), names, strict=True))
    alive = gr.update(interactive=True)
    return {
        "grid_chosen": cell.settings,
        "chosen": (dataclasses.replace(pair, cells=cells), cell),
        **dict.fromkeys(("to_compare", "to_presets", "share"), alive),
    }


def _is_plain_of(other: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a picture is what plain CFG draws at the settings of another."""
    own = ("beta", "beta_split", "beta_late")
    return (
        bool(settings.get("beta"))
        and other.get("beta") == 0
        and {k: v for k, v in other.items() if k not in own} == {k: v for k, v in settings.items() if k not in own}
    )
