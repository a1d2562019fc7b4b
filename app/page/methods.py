"""At the top of Train: what do you have? One method is proposed; its time and memory are below Start."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import methods_actions as actions
from app.page.methods_actions import ASKED, HAVE, WHY
from app.page.text import label
from app.page.train_actions import CONTROLS
from app.page.wiring import QUEUED, QUICK, Tab
from core.studio.comparing.engine import Engine

FILLED = ("recipe", *CONTROLS, "profile", "meaning", "former_rank", "have_value", "have_note")


def place(parts: dict[str, Any]) -> None:
    """Its components."""
    parts["have"] = gr.Radio(
        [(label(text), name) for name, text in HAVE.items()], value="nothing", label=label("What do you have?")
    )
    parts["have_note"] = gr.HTML(label(WHY["nothing"]), elem_classes="scale-note", padding=False)
    parts["have_value"] = gr.Textbox("", visible=False, label=label("Folder of these pictures"))


def wire(tab: Tab, engine: Engine) -> None:
    """What happens in it; the tab has the form of Train."""
    parts = tab.parts
    tab.on(parts["have"].input, lambda have: actions.propose(engine.workspace, have), ["have"], FILLED, **QUEUED)
    targets = [target for target, _ in ASKED.values()]
    tab.on(
        parts["have_value"].input,
        actions.asked_setting,
        ["have", "have_value"],
        targets,
        trigger_mode="always_last",
        **QUICK,
    )
