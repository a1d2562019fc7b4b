"""Grid: two settings against each other, a third as pages; all other settings come from Compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.page import grid_actions as actions
from app.page import share
from app.page.components import Slider
from app.page.fields import LABELS
from app.page.text import label
from app.page.views import CHOOSE, blank
from app.page.wiring import QUICK, RENDERING, Changes, CompareTab, Stops, Tab
from core.studio.comparing.engine import Engine
from core.studio.comparing.grid import axes

HELP = (
    "All other settings come from Compare. Values: 0, 1, 2 or a range 0:2:0.5; offsets by name; "
    "prompts one per line; checkpoint: steps of the run that is Compare's negative offset."
)
BOXES = tuple(f"{part}_{place}" for place in ("x", "y", "pages") for part in ("axis", "values"))


def _axes(parts: dict[str, Any]) -> None:
    names = [(label(LABELS.get(name, name)), name) for name in axes()]
    choices = [(label("none"), "none"), *names]
    starts = (("beta", "0, 1, 2"), ("omega", "1, 3, 6"), ("none", ""))
    titles = (label("Across"), label("Down"), label("Pages"))
    for place, title, (name, text) in zip(("x", "y", "pages"), titles, starts, strict=True):
        with gr.Row():
            parts[f"axis_{place}"] = gr.Dropdown(choices, value=name, label=title, min_width=150, scale=3)
            parts[f"values_{place}"] = gr.Textbox(
                text, label=label("Values"), min_width=150, scale=3, lines=1, max_lines=6
            )


def build(engine: Engine, compare: CompareTab) -> Tab:
    """The tab."""
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            gr.HTML(label(HELP), elem_classes="scale-note", padding=False)
            _axes(parts)
            parts["grid_seeds"] = Slider(1, 16, 1, step=1, label=label("Seeds in each cell"), elem_id="grid-seeds")
            with gr.Row(elem_classes="tight"):
                parts["render_grid"] = gr.Button(
                    label("Render the grid"), variant="primary", scale=3, elem_id="render-grid"
                )
                parts["stop_grid"] = gr.Button(label("Stop"), scale=1, min_width=80, interactive=False)
            parts["heat"] = gr.HTML("", elem_id="heat")
        with gr.Column(scale=6, min_width=320):
            parts["grid_status"] = gr.HTML(
                label("Cells appear as they are finished."), elem_classes="status", padding=False
            )
            parts["cells"] = gr.HTML(blank(9, 3), elem_id="grid-cells", padding=False, js_on_load=CHOOSE)
            with gr.Row(elem_classes="tight actions"):
                for name, text in (
                    ("to_compare", "Use the cell in Compare"),
                    ("to_presets", "Make a preset"),
                    ("share", "Share this cell"),
                ):
                    parts[name] = gr.Button(label(text), size="sm", min_width=110, interactive=False)
            share.place(parts)
            parts["sheets"] = gr.HTML("", elem_classes="sheets", padding=False)
    parts |= {"grid_records": gr.State([]), "grid_chosen": gr.State({}), "chosen": gr.State(None)}
    parts["status"] = parts["grid_status"]
    tab = Tab({**compare.fields.controls, **parts})
    _wire(tab, engine, compare)
    share.wire(tab, engine)
    return tab


def _wire(tab: Tab, engine: Engine, compare: CompareTab) -> None:
    parts, stops = tab.parts, Stops()

    def render(seeds: int, request: gr.Request, *inputs: Any) -> Iterator[Changes]:
        flag = stops.of(request)
        flag.clear()
        boxes, values = inputs[: len(BOXES)], compare.fields.read(inputs[len(BOXES) :])
        axes = [(boxes[2 * n], boxes[2 * n + 1]) for n in range(3)]
        yield from actions.render(engine, axes, values, flag.is_set, seeds)

    def pick(records: list[Any], event: gr.SelectData) -> Changes:
        return actions.choose(records, int(event.index))

    tab.on(
        parts["render_grid"].click,
        render,
        ["grid_seeds", *BOXES, *compare.fields.controls],
        actions.RENDERED,
        api_visibility="private",
        **RENDERING,
    )
    tab.on(parts["stop_grid"].click, stops.halt, **QUICK)
    chosen = ["grid_chosen", "chosen", "to_compare", "to_presets", "share"]
    tab.on(parts["cells"].select, pick, ["grid_records"], chosen, **QUICK)


CSS = """
.heat { border-collapse: collapse; font-size: .88rem; margin: 6px 0; width: 100%; } .heat caption { text-align: left; opacity: .8; padding: 2px; }
.heat td, .heat th { border: 1px solid #8884; padding: 4px 8px; text-align: center; }
.sheets { display: flex; gap: 8px; flex-wrap: wrap; } .sheets img { max-width: 100%; height: auto; border-radius: 8px; }
"""
