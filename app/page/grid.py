"""Grid: two settings against each other, a third as pages; everything else as Compare has it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from app.page.compare import CompareTab, Stops
from app.page.fields import LABELS, SYMBOLS, short
from app.page.html import fault, progress
from app.page.text import label, sentence, word
from app.page.wiring import QUICK, RENDERING
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Sampling, Waiting, Working
from core.studio.comparing.grid import Axis, Cell, Sheet, axes, parse_axis, render_grid

HELP = (
    "Everything that no axis changes is as Compare has it. Values: 0, 1, 2 or a range 0:2:0.5; offsets by name; "
    "prompts one a line; checkpoint: steps of the run that is Compare's negative offset."
)


def heat_map(done: list[Cell], x: Axis, y: Axis, page: int) -> str:
    """The judge's scores as a coloured table; empty where there are none."""
    scores = {(c.place[0], c.place[1]): c.score for c in done if c.place[2] == page and c.score is not None}
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


def build(engine: Engine, compare: CompareTab) -> dict[str, Any]:
    """The tab; what other tabs may touch."""
    stops = Stops()
    names = [(SYMBOLS.get(name) or label(LABELS.get(name, name)), name) for name in axes()]
    choices = [(label("none"), "none"), *names]
    starts = (("beta", "0, 1, 2"), ("omega", "1, 3, 6"), ("none", ""))
    boxes: list[Any] = []
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.HTML(label(HELP), elem_classes="scale-note", padding=False)
            for title, (name, text) in zip((label("Across"), label("Down"), label("Pages")), starts, strict=True):
                with gr.Row():
                    boxes.append(gr.Dropdown(choices, value=name, label=title, min_width=150, scale=3))
                    boxes.append(gr.Textbox(text, label=label("Values"), min_width=150, scale=3, lines=1, max_lines=6))
            with gr.Row():
                go = gr.Button(label("Render the grid"), variant="primary", scale=3, elem_id="render-grid")
                stop = gr.Button(label("Stop"), scale=1, min_width=80)
            heat = gr.HTML("", elem_id="heat")
            with gr.Row():
                to_compare = gr.Button(label("Use the cell in Compare"), size="sm", min_width=160)
                to_presets = gr.Button(label("Make a preset"), size="sm", min_width=120)
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML(label("Cells appear as they are finished."), elem_classes="status", padding=False)
            shown = gr.Gallery(
                columns=3,
                object_fit="contain",
                show_label=False,
                elem_id="grid",
                interactive=False,
                preview=False,
            )
            sheets = gr.Gallery(
                label=label("The whole grid as one picture"),
                columns=2,
                height=260,
                object_fit="contain",
                elem_classes="previews",
                interactive=False,
                buttons=["download"],
            )
    cells, chosen = gr.State([]), gr.State({})

    def render(*given: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        flag = stops.of(request)
        flag.clear()
        done: list[Cell] = []
        keep = [gr.skip()] * 4
        try:
            x, y, pages = (parse_axis(given[2 * n] or "none", given[2 * n + 1] or "") for n in range(3))
            values = compare.fields.read(given[6:])
            total = len(x.values) * len(y.values) * len(pages.values)

            def so_far(share: float) -> str:
                return progress(sentence("{done} of {total} cells", done=len(done), total=total), share)

            def shown_now(sheets: Any) -> tuple[Any, ...]:
                order = sorted(done, key=lambda c: (c.place[2], c.place[1], c.place[0]))
                pictures = [(str(c.saved.picture), _label(c, x, y, pages)) for c in order]
                page = order[-1].place[2] if order else 0
                gallery = gr.Gallery(value=pictures, columns=min(8, len(x.values)))
                return gallery, sheets, [c.saved.settings for c in order], heat_map(done, x, y, page)

            for event in render_grid(engine, values, x, y, pages, cancelled=flag.is_set):
                if isinstance(event, Waiting):
                    yield progress(sentence(event.reason, name=event.name), 0), *keep
                elif isinstance(event, Working):
                    yield gr.skip(), *keep
                elif isinstance(event, Sampling) and event.step % 5 == 0:
                    yield so_far(min(1.0, (len(done) + event.step / event.steps) / max(1, total))), *keep
                elif isinstance(event, Cell):
                    done.append(event)
                    if len(done) % max(1, len(x.values)) == 0:
                        yield so_far(len(done) / total), *shown_now(gr.skip())
                elif isinstance(event, Sheet):
                    said = sentence(
                        "Done: {done} of {total} cells, kept in the outputs folder.", done=len(done), total=total
                    )
                    yield said, *shown_now([str(path) for path in event.paths])
        except StudioError as error:
            yield fault(error), *keep

    def pick(records: list[dict[str, Any]], event: gr.SelectData) -> dict[str, Any]:
        return records[event.index] if event.index < len(records) else {}

    go.click(
        _with_request(render),
        [*boxes, *compare.fields.all()],
        [status, shown, sheets, cells, heat],
        api_visibility="private",
        **RENDERING,
    )

    def halt(request: gr.Request) -> None:
        stops.of(request).set()

    stop.click(halt, None, None, **QUICK)
    shown.select(pick, cells, chosen, **QUICK)
    return {"to_compare": to_compare, "to_presets": to_presets, "chosen": chosen, "status": status}


def _with_request(render: Any) -> Any:
    """Gradio hands the request to a parameter of its type, which must stand before the values here."""

    def handler(request: gr.Request, *given: Any) -> Iterator[tuple[Any, ...]]:
        yield from render(*given, request=request)

    return handler


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) if value not in (None, "") else word("none")


def _label(cell: Cell, x: Axis, y: Axis, pages: Axis) -> str:
    parts = [
        f"{short(axis.name)} {_value(axis.values[place])}"
        for axis, place in zip((x, y, pages), cell.place, strict=True)
        if axis.name
    ]
    return " · ".join(parts) + (f" · {cell.score:.2f}" if cell.score is not None else "")


CSS = """
#grid .grid-wrap, #grid .grid-container { max-height: none; }
.heat { border-collapse: collapse; font-size: .88rem; margin: 6px 0; width: 100%; } .heat caption { text-align: left; opacity: .8; padding: 2px; }
.heat td, .heat th { border: 1px solid #8884; padding: 4px 8px; text-align: center; }
"""
