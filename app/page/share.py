"""The panel that opens under a chosen pair: the pair as one picture, as an animation, and its link."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import share_actions as actions
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, Tab
from core.studio.comparing.engine import Engine

LINK = "(code) => code ? location.origin + location.pathname + '?preset=' + code : ''"
"""The link of a preset's code, at the address at which this page was opened."""


def place(parts: dict[str, Any]) -> None:
    """The panel's components, hidden."""
    with gr.Column(visible=False, elem_classes="shared") as parts["shared"]:
        parts["shared_picture"] = gr.HTML("", padding=False, elem_classes="shared-picture")
        with gr.Row(elem_classes="tight"):
            parts["share_png"] = gr.DownloadButton(label("Picture (PNG)"), size="sm", min_width=110)
            parts["share_gif"] = gr.DownloadButton(label("Flicker (GIF)"), size="sm", min_width=110)
            parts["share_mp4"] = gr.DownloadButton(label("Flicker (MP4)"), size="sm", min_width=110)
            parts["share_workflow"] = gr.DownloadButton(label("ComfyUI workflow"), size="sm", min_width=110)
            parts["share_close"] = gr.Button(label("Close"), size="sm", min_width=80)
        parts["share_link"] = gr.Textbox(
            "",
            label=label("Link: opens these settings in any studio at this address"),
            buttons=["copy"],
            elem_classes="share-link",
            lines=1,
            max_lines=2,
        )
        gr.HTML(
            label(
                "For ComfyUI: put the offset's file into models/loras and the base, as one file, into models/checkpoints; open the workflow "
                "there, and press Run. Its DualModelGuider then takes the negative prediction from the model with the offset."
            ),
            elem_classes="scale-note",
            padding=False,
        )
    parts["share_code"] = gr.Textbox("", visible="hidden")


def wire(tab: Tab, engine: Engine) -> None:
    """What happens in it; the tab has `share`, a button, `chosen`, a pair and a picture of it, and `status`."""
    parts = tab.parts

    def make(chosen: Any) -> Changes:
        return actions.share(engine.outputs(), chosen)

    tab.on(parts["share"].click, make, ["chosen"], actions.MADE, **QUEUED)
    tab.on(parts["share_code"].change, None, ["share_code"], ["share_link"], js=LINK, api_visibility="private")
    tab.on(parts["share_close"].click, actions.closed, (), ["shared"], **QUICK)
