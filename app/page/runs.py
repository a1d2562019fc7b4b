"""Runs: all of the workspace, also those that the command line started."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page.curves import loss_table, preview_pictures, status_line
from app.page.train import summary_rows
from app.page.words import fault
from core.errors import StudioError
from core.studio.engine import Engine
from core.studio.runs import get_run

COLUMNS = ["run", "status", "step", "loss", "recipe", "base"]


@dataclass(frozen=True)
class RunsTab:
    """What other tabs may touch."""

    table: gr.Dataframe
    run_id: gr.Textbox
    use: gr.Button
    watch: gr.Button
    refresh: Callable[[], list[list[Any]]]


def build(engine: Engine) -> RunsTab:
    """The tab."""

    def refresh() -> list[list[Any]]:
        return summary_rows(engine)

    with gr.Row():
        gr.HTML("Choose a run to see it. Runs started from the command line stand here too.", elem_classes="scale-note")
        again = gr.Button("Refresh", size="sm", min_width=90, scale=0)
    table = gr.Dataframe(
        refresh(),
        headers=COLUMNS,
        datatype="str",
        interactive=False,
        type="array",
        max_height=260,
        wrap=True,
        show_label=False,
    )
    run_id = gr.Textbox("", label="Chosen run", interactive=False)
    with gr.Row():
        watch = gr.Button("Watch in Train", size="sm", min_width=120)
        use = gr.Button("Use in Compare", size="sm", variant="primary", min_width=120)
        download = gr.DownloadButton("Download offset", size="sm", interactive=False, min_width=120)
    status = gr.HTML(elem_classes="status")
    with gr.Row():
        curve = gr.LinePlot(x="step", y="loss", height=230, x_title="step", y_title="loss", show_label=False)
        previews = gr.Gallery(
            label="Newest previews",
            columns=4,
            height=240,
            object_fit="contain",
            elem_classes="previews",
            interactive=False,
            preview=False,
        )
    with gr.Accordion("Settings of the run", open=False):
        settings = gr.Code(language="json", show_label=False, lines=8)

    def show(rows: Any, event: gr.SelectData) -> tuple[Any, ...]:
        try:
            run = get_run(engine.workspace, str(rows[event.index[0]][0]))
            events, _ = run.events()
            offset = run.offset
            return (
                run.id,
                status_line(run, events),
                loss_table(events),
                preview_pictures(run, events),
                json.dumps(run.config.to_dict(), indent=2),
                gr.DownloadButton(value=str(offset) if offset else None, interactive=offset is not None),
            )
        except (StudioError, IndexError, TypeError) as error:
            shown = error if isinstance(error, StudioError) else StudioError("The list is out of date.", "Refresh it.")
            return gr.skip(), fault(shown), gr.skip(), gr.skip(), gr.skip(), gr.skip()

    outputs = [run_id, status, curve, previews, settings, download]
    table.select(show, table, outputs, api_visibility="private")
    again.click(refresh, None, table, api_visibility="private")
    return RunsTab(table, run_id, use, watch, refresh)
