"""The one dialog for settings from elsewhere: a preset's link, a dropped picture or video."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import proposal_actions as actions
from app.page.fields import filled
from app.page.text import label
from app.page.wiring import QUICK, Changes, CompareTab, by_component
from core.studio.comparing.engine import Engine

FOCUS = "() => { setTimeout(() => document.querySelector('#apply-proposal')?.focus(), 50); }"


def place(parts: dict[str, Any]) -> None:
    """The dialog's components, hidden."""
    with gr.Column(visible=False, elem_id="proposal") as parts["proposal"]:
        parts["proposal_text"] = gr.HTML("", padding=False, elem_classes="preset")
        parts["proposal_held"] = gr.Checkbox(False, label=label("Apply these, too"), visible=False, container=False)
        with gr.Row(elem_classes="tight"):
            parts["accept"] = gr.Button(label("Apply"), variant="primary", elem_id="apply-proposal")
            parts["dismiss"] = gr.Button(label("Cancel"), elem_id="cancel-proposal")
    parts["proposed"] = gr.State(None)


def wire(tab: CompareTab, engine: Engine) -> None:
    """What happens in it."""
    parts, fields = tab.parts, tab.fields
    workspace, names = engine.workspace, list(tab.fields.controls)
    dialog = ["proposal", "proposal_text", "proposal_held", "proposed", "status"]

    def dropped(path: str | None, *inputs: Any) -> Changes:
        return actions.from_file(workspace, path, fields.read(inputs))

    def accept(proposal: Any, with_held: bool, base: str) -> Changes:
        values, line = actions.accepted(proposal, with_held)
        return {**filled(engine, fields, values, base), "status": line, **actions.hidden()}

    tab.on(parts["dropped"].upload, dropped, ["dropped", *names], [*dialog, "dropped"], **QUICK).then(
        None, None, None, js=FOCUS, api_visibility="private"
    )
    tab.on(
        parts["accept"].click,
        accept,
        ["proposed", "proposal_held", "base"],
        [*names, "former", "status", "proposal", "proposed"],
        **QUICK,
    )
    tab.on(parts["dismiss"].click, actions.hidden, (), ["proposal", "proposed"], **QUICK)


def opened(tab: CompareTab, engine: Engine) -> tuple[Any, list[Any], list[Any]]:
    """What the page's address asks for, when the page is opened: the arguments of an event."""

    def act(request: gr.Request, *inputs: Any) -> Changes:
        link = str(dict(request.query_params).get("preset", ""))
        return actions.from_address(engine.workspace, link, tab.fields.read(inputs))

    names = ("proposal", "proposal_text", "proposal_held", "proposed", "status")
    return by_component(tab.parts, act), tab.fields.all(), [tab.parts[name] for name in names]
