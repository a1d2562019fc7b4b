"""Library: models and offsets there are; folders, the Hub, and what can be done to a weights file."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.page import library_actions as actions
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, Opening, Tab
from core.studio.comparing.engine import Engine
from core.studio.library.choose import OPENING, list_bases

LISTED = ("library_status", "table", "file", "library_left")


def build(engine: Engine) -> Tab:
    """The tab."""
    workspace = engine.workspace
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            parts["library_status"] = gr.HTML("", elem_classes="status", padding=False)
            parts["table"] = gr.Dataframe(
                **actions.table(workspace), interactive=False, wrap=True, elem_id="library", buttons=["copy"]
            )
            parts["library_left"] = gr.HTML("", padding=False, elem_classes="scale-note")
            with gr.Row(elem_classes="tight actions"):
                parts["again"] = gr.Button(label("Scan again"), size="sm")
                parts["hashes"] = gr.Button(label("Compute hashes"), size="sm")
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            parts["dropped"] = gr.File(
                label=label(
                    "Drop a LoRA, weights, or a .ckpt here: it is checked, converted and copied to your offsets"
                ),
                file_types=[".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin"],
                type="filepath",
                height=90,
                elem_classes="drop-file",
            )
            with gr.Accordion(label("Folders to scan"), open=False):
                gr.HTML(
                    label("Nothing outside the workspace and these folders is ever scanned."),
                    elem_classes="scale-note",
                    padding=False,
                )
                parts["folder"] = gr.Textbox("", label=label("Folder"), placeholder="/path/to/models")
                with gr.Row(elem_classes="tight"):
                    parts["add"] = gr.Button(label("Add"), size="sm")
                    parts["remove"] = gr.Button(label("Remove"), size="sm")
            with gr.Accordion(label("From the Hugging Face Hub"), open=False):
                parts["repository"] = gr.Textbox("", label=label("Repository"), placeholder="owner/name")
                parts["revision"] = gr.Textbox("", label=label("Revision (empty: the newest; it is pinned by commit)"))
                parts["fetch"] = gr.Button(label("Download (safetensors only)"), size="sm")
            with gr.Accordion(label("A weights file"), open=True):
                parts["file"] = gr.Dropdown(actions.files(workspace), label=label("File"), value=None)
                parts["library_base"] = gr.Dropdown(
                    [c.name for c in list_bases(workspace)], value=OPENING, label=label("Its base model")
                )
                with gr.Row(elem_classes="tight"):
                    parts["info"] = gr.Button(label("What is it?"), size="sm", min_width=100)
                    parts["kohya"] = gr.Button(label("Write as kohya"), size="sm", min_width=110)
                with gr.Row(elem_classes="beside"):
                    parts["library_rank"] = gr.Number(32, label=label("Rank"), precision=0, minimum=1, min_width=90)
                    parts["extract"] = gr.Button(label("Extract a low-rank offset"), size="sm", min_width=150)
                with gr.Row(elem_classes="beside"):
                    parts["scale"] = gr.Number(-0.3, label=label("Scale"), min_width=90)
                    parts["merge"] = gr.Button(label("Merge into the base"), size="sm", min_width=150)
                gr.HTML(
                    label(
                        "A low-rank form of whole weights is an approximation; its error is shown. Whole weights can be "
                        "used as an offset as they are: exact, at twice the memory."
                    ),
                    elem_classes="scale-note",
                    padding=False,
                )
    tab = Tab(parts, Opening(lambda: actions.refresh(workspace), (), LISTED))
    _wire(tab, engine)
    return tab


def _wire(tab: Tab, engine: Engine) -> None:
    parts, workspace = tab.parts, engine.workspace

    def fetch(repository: str, revision: str) -> Iterator[Changes]:
        yield from actions.fetch(workspace, repository, revision)

    tab.on(parts["again"].click, lambda: actions.refresh(workspace), (), LISTED, **QUICK)
    tab.on(parts["hashes"].click, lambda: actions.refresh(workspace, hashed=True), (), LISTED, **QUEUED)
    tab.on(parts["dropped"].upload, lambda path: actions.bring(workspace, path), ["dropped"], LISTED, **QUEUED)
    for name, added in (("add", True), ("remove", False)):
        tab.on(parts[name].click, _folders(engine, added=added), ["folder"], LISTED, **QUICK)
    tab.on(parts["fetch"].click, fetch, ["repository", "revision"], LISTED, **QUEUED)
    for name, action, inputs in (
        ("info", actions.tell, ["file"]),
        ("kohya", actions.to_kohya, ["file", "library_base"]),
        ("extract", actions.extract, ["file", "library_base", "library_rank"]),
        ("merge", actions.merge, ["file", "library_base", "scale"]),
    ):
        tab.on(parts[name].click, functools.partial(action, workspace), inputs, ["library_status"], **QUEUED)


def _folders(engine: Engine, *, added: bool) -> Any:
    return lambda where: actions.change_folder(engine.workspace, where, added=added)
