"""Runs: all of the workspace, also those that the command line started."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import runs_actions as actions
from app.page.text import label
from app.page.wiring import QUICK, Opening, Tab
from core.studio.comparing.engine import Engine

ALL = (*actions.LOOKED_AT, *actions.BUTTONS, "save_notes", "runs", "beside", "runs_left")


def _list(parts: dict[str, Any], engine: Engine) -> None:
    parts["runs"] = gr.Radio(actions.choices(engine.workspace), label=label("Runs, newest first"), elem_id="runs-list")
    parts["runs_left"] = gr.HTML("", padding=False, elem_classes="scale-note")
    gr.HTML(label("Runs started from the command line also appear here."), elem_classes="scale-note", padding=False)
    with gr.Row(elem_classes="tight actions"):
        parts["refresh"] = gr.Button(label("Refresh"), size="sm", min_width=90, scale=0)
        parts["runs_undo"] = gr.Button(label("Undo delete"), size="sm", min_width=100, scale=0, interactive=False)


def _chosen(parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes="tight actions"):
        for name, text in (
            ("watch", "Watch in Train"),
            ("runs_use", "Use in Compare"),
            ("evaluate_run", "Evaluate this run"),
            ("preset", "Make a preset"),
            ("duplicate", "Duplicate with changes"),
            ("delete_run", "Delete"),
        ):
            kind = "primary" if name == "runs_use" else "secondary"
            parts[name] = gr.Button(label(text), size="sm", variant=kind, min_width=110, interactive=False)
        parts["download"] = gr.DownloadButton(label("Download offset"), size="sm", interactive=False, min_width=120)
    parts["runs_status"] = gr.HTML(elem_classes="status tall", padding=False)
    parts["runs_curve"] = gr.HTML("", padding=False, elem_classes="chart-box")
    parts["runs_previews"] = gr.HTML("", padding=False)
    with gr.Accordion(label("Title and notes"), open=False):
        parts["title"] = gr.Textbox("", label=label("Title"), max_length=120)
        parts["notes"] = gr.Textbox("", label=label("Notes"), lines=3, max_length=4000)
        parts["save_notes"] = gr.Button(label("Save title and notes"), size="sm", interactive=False)
    with gr.Accordion(label("Settings of the run"), open=False):
        parts["runs_settings"] = gr.Code(show_label=False, show_line_numbers=False, lines=8)


def _compared(parts: dict[str, Any]) -> None:
    parts["beside"] = gr.Dropdown([], multiselect=True, label=label("Compare the losses and settings of"))
    parts["runs_chart"] = gr.HTML("", padding=False, elem_classes="chart-box")
    parts["runs_table"] = gr.HTML("", padding=False)


def build(engine: Engine) -> Tab:
    """The tab."""
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            _list(parts, engine)
        with gr.Column(scale=6, min_width=320):
            _chosen(parts)
            _compared(parts)
    parts |= {"runs_timer": gr.Timer(2.0, active=False), "runs_away": gr.State("")}
    workspace = engine.workspace
    tab = Tab(parts, Opening(lambda run: actions.refresh(workspace, run), ("runs",), ALL))
    compared = ["runs_chart", "runs_table"]
    tab.on(parts["runs"].input, lambda run: actions.look(workspace, run), ["runs"], ALL, **QUICK)
    tab.on(parts["runs_timer"].tick, lambda run: actions.follow(workspace, run), ["runs"], ALL, **QUICK)
    tab.on(parts["refresh"].click, lambda run: actions.refresh(workspace, run), ["runs"], ALL, **QUICK)
    tab.on(
        [parts["beside"].change, parts["beside"].input],
        lambda chosen: actions.overlay(workspace, chosen),
        ["beside"],
        compared,
        trigger_mode="always_last",
        **QUICK,
    )
    tab.on(
        parts["save_notes"].click,
        lambda run, title, text: actions.keep_notes(workspace, run, title, text),
        ["runs", "title", "notes"],
        ["runs", "beside", "runs_status"],
        **QUICK,
    )
    tab.on(
        parts["delete_run"].click,
        lambda run, beside: actions.delete(workspace, run, beside),
        ["runs", "beside"],
        [*ALL, *compared, "runs_away", "runs_undo"],
        **QUICK,
    )
    tab.on(
        parts["runs_undo"].click,
        lambda gone: actions.undo(workspace, gone),
        ["runs_away"],
        [*ALL, "runs_away", "runs_undo"],
        **QUICK,
    )
    return tab
