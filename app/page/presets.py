"""Presets: choose, see what would change, apply; save, rename, delete; share as file, link or Hub repository."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import presets_actions as actions
from app.page.fields import filled
from app.page.share import LINK
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, CompareTab, Opening, Tab
from core.studio.comparing.engine import Engine

SHOWN = (
    *("preset_status", "preset", "held", "current", "export"),
    *("apply", "link_button", "push", "rename", "delete", "presets"),
)


def _choosing(parts: dict[str, Any], engine: Engine, persistent: bool) -> None:
    parts["presets"] = gr.Radio(
        actions.names(engine.workspace),
        label=label("Presets: your own ✎, then the built-in ones"),
        elem_id="presets-list",
    )
    parts["presets_left"] = gr.HTML("", padding=False, elem_classes="scale-note")
    parts["dropped"] = gr.File(
        label=label("Drop a preset here: a JSON file, a picture or a video"),
        file_types=[".json", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4"],
        type="filepath",
        height=90,
        elem_classes="drop-file",
    )
    with gr.Accordion(label("From the Hugging Face Hub"), open=False, visible=persistent):
        parts["repository"] = gr.Textbox("", label=label("Repository"), placeholder="owner/name")
        with gr.Row(elem_classes="tight"):
            parts["pull"] = gr.Button(label("Pull"), size="sm")
            parts["push"] = gr.Button(label("Push the selected preset"), size="sm", interactive=False)


def _shown(parts: dict[str, Any], persistent: bool) -> None:
    parts["preset_status"] = gr.HTML("", elem_classes="status", padding=False)
    with gr.Row(elem_classes="tight actions"):
        parts["apply"] = gr.Button(label("Apply to Compare"), variant="primary", min_width=140, interactive=False)
        parts["link_button"] = gr.Button(label("Make a link"), min_width=110, interactive=False)
        parts["export"] = gr.DownloadButton(label("Download"), min_width=110, interactive=False)
    parts["held"] = gr.Checkbox(False, label=label("Apply these, too"), visible=False, container=False, elem_id="held")
    parts["link"] = gr.Textbox(
        "",
        label=label("Link: opens this preset in any studio at this address"),
        visible=False,
        buttons=["copy"],
        elem_id="preset-link",
    )
    parts["preset"] = gr.HTML(
        label("Choose a preset, or save the settings of Compare."), elem_id="preset", elem_classes="preset"
    )
    with gr.Group(visible=persistent):
        parts["name"] = gr.Textbox("", label=label("Name"))
        parts["about"] = gr.Textbox("", label=label("What it is good for"), lines=2)
        with gr.Row():
            parts["author"] = gr.Textbox("", label=label("Author"), min_width=120)
            parts["replace"] = gr.Checkbox(False, label=label("Replace a preset of the same name"), min_width=150)
    with gr.Row(visible=persistent, elem_classes="tight actions"):
        parts["preset_undo"] = gr.Button(label("Undo delete"), interactive=False, min_width=110, size="sm")
        parts["save"] = gr.Button(label("Save the settings of Compare"), variant="primary", min_width=200, size="sm")
        parts["rename"] = gr.Button(label("Rename the selected preset"), min_width=130, size="sm", interactive=False)
        parts["delete"] = gr.Button(label("Delete the selected preset"), min_width=130, size="sm", interactive=False)


def build(engine: Engine, compare: CompareTab, *, persistent: bool = True) -> Tab:
    """The tab.

    Args:
        persistent: presets can be saved here; off where strangers share the workspace.
    """
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            _choosing(parts, engine, persistent)
        with gr.Column(scale=6, min_width=320):
            _shown(parts, persistent)
    parts |= {"current": gr.State(None), "preset_away": gr.State(""), "code": gr.Textbox("", visible="hidden")}
    form = {name: compare.parts[name] for name in (*compare.fields.controls, "former", "status")}
    tab = Tab({**form, **parts}, Opening(lambda: actions.listed(engine.workspace), (), ("presets", "presets_left")))
    _wire(tab, engine, compare, persistent)
    return tab


def _wire(tab: Tab, engine: Engine, compare: CompareTab, persistent: bool) -> None:
    parts, fields, workspace = tab.parts, compare.fields, engine.workspace
    names = list(fields.controls)

    def choose(key: str | None, *inputs: Any) -> Changes:
        return actions.choose(workspace, key, fields.read(inputs))

    def drop(path: str | None, *inputs: Any) -> Changes:
        return actions.drop(workspace, path, fields.read(inputs))

    def save(name: str, about: str, author: str, replace: bool, *inputs: Any) -> Changes:
        return actions.save(workspace, name, about, author, replace, fields.read(inputs))

    def pull(repository: str, *inputs: Any) -> Changes:
        return actions.pull(workspace, repository, fields.read(inputs))

    tab.on(parts["presets"].input, choose, ["presets", *names], SHOWN, **QUICK)
    tab.on(parts["dropped"].upload, drop, ["dropped", *names], SHOWN, **QUICK)
    tab.on(parts["link_button"].click, actions.link, ["current"], ["preset_status", "code", "link"], **QUICK)
    tab.on(parts["code"].change, None, ["code"], ["link"], js=LINK, api_visibility="private")
    if not persistent:
        return
    tab.on(parts["save"].click, save, ["name", "about", "author", "replace", *names], SHOWN, **QUICK)
    tab.on(parts["pull"].click, pull, ["repository", *names], SHOWN, **QUEUED)
    tab.on(parts["push"].click, actions.push, ["repository", "current"], ["preset_status"], **QUEUED)
    changed = ["preset_status", "presets", "preset_away", "preset_undo", "rename", "delete"]
    tab.on(
        parts["rename"].click,
        lambda key, name: actions.rename(workspace, key, name),
        ["presets", "name"],
        changed,
        **QUICK,
    )
    tab.on(parts["delete"].click, lambda key: actions.delete(workspace, key), ["presets"], changed, **QUICK)
    tab.on(parts["preset_undo"].click, lambda gone: actions.undo(workspace, gone), ["preset_away"], changed, **QUICK)


def applied(engine: Engine, compare: CompareTab, proposal: Any, with_held: bool, base: str) -> Changes:
    """Compare as the shown preset has it; the page goes there where there is one."""
    values, line = actions.apply(proposal, with_held)
    if not values:
        return {"preset_status": line}
    return {**filled(engine, compare.fields, values, base), "status": line, "preset_status": line}
