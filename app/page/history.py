"""The history beside Compare's views: its components, and what happens in them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import history_actions as actions
from app.page.compare_actions import choose
from app.page.text import label
from app.page.views import CHOOSE
from app.page.wiring import QUICK, Changes, CompareTab
from core.studio.comparing.engine import Engine
from core.studio.comparing.thumbs import DOWN, UP

THUMBS = "Thumbs become pairs: Train has “My votes and thumbs”."
SHOWN = ("past", "listed", "summary")


ON_CHOSEN = ("star", "thumb_up", "thumb_down", "delete")
"""Buttons that do something to the chosen picture."""


def place(parts: dict[str, Any]) -> None:
    """The history's components. Undo is far from Delete: a second click must not take back the first."""
    with gr.Row(elem_classes="tight"):
        parts["search"] = gr.Textbox(
            "",
            show_label=False,
            placeholder=label("Search prompts, seeds, offsets"),
            scale=3,
            container=False,
            elem_id="history-search",
        )
        parts["starred"] = gr.Checkbox(False, label=label("Favourites only"), container=False, min_width=120)
        parts["undo"] = gr.Button(label("Undo delete"), size="sm", min_width=100, interactive=False, scale=0)
    parts["summary"] = gr.HTML("", elem_classes="scale-note", padding=False)
    parts["past"] = gr.HTML("", elem_id="history", padding=False, js_on_load=CHOOSE)
    with gr.Row(elem_classes="tight actions"):
        parts["star"] = gr.Button(label("Favourite"), size="sm", min_width=90, interactive=False)
        parts["thumb_up"] = gr.Button(label("👍 Better"), size="sm", min_width=90, interactive=False)
        parts["thumb_down"] = gr.Button(label("👎 Worse"), size="sm", min_width=90, interactive=False)
        parts["delete"] = gr.Button(label("Delete"), size="sm", min_width=90, interactive=False)
    gr.HTML(label(THUMBS), elem_classes="scale-note", padding=False)
    parts["listed"], parts["away"] = gr.State([]), gr.State([])


def wire(tab: CompareTab, engine: Engine) -> None:
    """What happens in it."""
    parts, workspace = tab.parts, engine.workspace
    asked = ["search", "starred"]

    def search(words: str, starred: bool) -> Changes:
        return actions.search(workspace, words, starred)

    def pick(listed: list[Any], event: gr.SelectData) -> Changes:
        changes = choose(listed, int(event.index))
        alive = gr.update(interactive=True)
        return {**changes, **dict.fromkeys(ON_CHOSEN, alive)} if changes else {}

    def mark(chosen: Any, words: str, starred: bool) -> Changes:
        return actions.mark(workspace, chosen, words, starred)

    def delete(chosen: Any, words: str, starred: bool) -> Changes:
        return actions.delete(workspace, chosen, words, starred)

    def undo(away: list[str], words: str, starred: bool) -> Changes:
        return actions.undo(workspace, away, words, starred)

    tab.on(
        [parts["history_tab"].select, parts["search"].change, parts["starred"].change],
        search,
        asked,
        SHOWN,
        trigger_mode="always_last",
        **QUICK,
    )
    chosen = ["chosen", "facts", "slide", "flicker", "reuse", "share", *ON_CHOSEN]
    tab.on(parts["past"].select, pick, ["listed"], chosen, **QUICK)
    tab.on(parts["star"].click, mark, ["chosen", *asked], [*SHOWN, "status"], **QUICK)
    for button, value in (("thumb_up", UP), ("thumb_down", DOWN)):

        def rate(chosen: Any, words: str, starred: bool, value: int = value) -> Changes:
            return actions.rate(workspace, chosen, value, words, starred)

        tab.on(parts[button].click, rate, ["chosen", *asked], [*SHOWN, "status"], **QUICK)
    after = [*SHOWN, "status", "away", "undo", "chosen", *ON_CHOSEN]
    tab.on(parts["delete"].click, delete, ["chosen", *asked], after, **QUICK)
    tab.on(parts["undo"].click, undo, ["away", *asked], after, **QUICK)
