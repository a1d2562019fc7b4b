"""Runs: all of the workspace, also those that the command line started."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pandas as pd

from app.page.curves import loss_table, preview_pictures, status_line
from app.page.html import fault
from app.page.text import label, sentence
from app.page.wiring import QUICK
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.runs.run import Summary, get_run, list_runs


def run_choices(engine: Engine) -> list[tuple[str, str]]:
    """Each run as a line to read and its id."""

    def line(run: Summary) -> str:
        told = {"run": run.id, "status": sentence(run.status), "step": run.step, "steps": run.steps}
        loss = "" if run.loss is None else sentence(", loss {loss:.4g}", loss=run.loss)
        return sentence("{run} · {status} · step {step}/{steps}", **told) + f"{loss} · {run.base}"

    return [(line(run), run.id) for run in list_runs(engine.workspace)]


@dataclass(frozen=True)
class RunsTab:
    """What other tabs may touch."""

    run_id: gr.Radio
    use: gr.Button
    watch: gr.Button
    preset: gr.Button
    refresh: Callable[[str | None], Any]
    lists: list[Any]


def build(engine: Engine) -> RunsTab:
    """The tab."""

    with gr.Row():
        gr.HTML(
            label("Runs started from the command line stand here too."),
            elem_classes="scale-note",
            padding=False,
        )
        again = gr.Button(label("Refresh"), size="sm", min_width=90, scale=0)
    run_id = gr.Radio(run_choices(engine), label=label("Runs, newest first"), elem_id="runs-list")
    with gr.Row():
        watch = gr.Button(label("Watch in Train"), size="sm", min_width=120)
        use = gr.Button(label("Use in Compare"), size="sm", variant="primary", min_width=120)
        preset = gr.Button(label("Make a preset"), size="sm", min_width=110)
        download = gr.DownloadButton(label("Download offset"), size="sm", interactive=False, min_width=120)
    status = gr.HTML(elem_classes="status", padding=False)
    with gr.Row():
        curve = gr.LinePlot(
            x="step", y="loss", height=230, x_title="step", y_title="loss", show_label=False, min_width=320
        )
        previews = gr.Gallery(
            label=label("Newest previews"),
            columns=4,
            height=240,
            min_width=320,
            object_fit="contain",
            elem_classes="previews",
            interactive=False,
            preview=False,
        )
    beside = gr.Dropdown([], multiselect=True, label=label("Compare the losses of"))
    both = gr.LinePlot(x="step", y="loss", color="run", height=230, show_label=False, visible=False)
    with gr.Accordion(label("Settings of the run"), open=False):
        settings = gr.Code(show_label=False, show_line_numbers=False, lines=8)

    def show(chosen: str | None) -> tuple[Any, ...]:
        if not chosen:
            return sentence("No run yet: Train starts one."), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            run = get_run(engine.workspace, chosen)
            events, _ = run.events()
            offset = run.offset
            return (
                status_line(run, events),
                loss_table(events),
                preview_pictures(run, events),
                json.dumps(run.config.to_dict(), indent=2),
                gr.DownloadButton(value=str(offset) if offset else None, interactive=offset is not None),
            )
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.skip(), gr.skip()

    def overlay(chosen: list[str] | None) -> Any:
        tables = []
        for name in chosen or []:
            try:
                events, _ = get_run(engine.workspace, name).events()
            except StudioError:
                continue
            tables.append(loss_table(events).assign(run=name))
        return gr.LinePlot(value=pd.concat(tables) if tables else None, visible=bool(tables))

    def refresh(chosen: str | None) -> tuple[Any, ...]:
        """The lists as they are now, and the run that was chosen, or else the newest."""
        lines = run_choices(engine)
        names = [name for _, name in lines]
        run = chosen if chosen in names else next(iter(names), None)
        return gr.Radio(choices=lines, value=run), gr.Dropdown(choices=names), *show(run)

    outputs = [status, curve, previews, settings, download]
    run_id.input(show, run_id, outputs, **QUICK)
    again.click(refresh, run_id, [run_id, beside, *outputs], **QUICK)
    beside.change(overlay, beside, both, **QUICK)
    return RunsTab(run_id, use, watch, preset, refresh, [run_id, beside, *outputs])
