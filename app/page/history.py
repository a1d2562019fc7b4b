"""The history: the pictures of the workspace, searched, marked, deleted and brought back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.html import fault
from app.page.wiring import QUICK
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import describe_settings
from core.studio.comparing.gallery import bring_back, pictures, put_away, toggle_favourite


def connect(engine: Engine, parts: dict[str, Any], chosen: gr.State, away: gr.State) -> Callable[..., Any]:
    """The gallery of the workspace: search, favourites, delete with undo."""
    listed = gr.State([])

    def show(search: str, starred: bool) -> tuple[Any, Any]:
        found = pictures(engine.workspace, search or "", only_favourites=starred)
        return [(str(p.shown), p.caption) for p in found], [(p.shown.name, p.settings) for p in found]

    def pick(records: list[Any], event: gr.SelectData) -> tuple[Any, Any]:
        name, told = records[event.index] if event.index < len(records) else ("", {})
        return describe_settings(told), {**told, "_file": name}

    def star(told: dict[str, Any], search: str, starred: bool) -> tuple[Any, ...]:
        try:
            toggle_favourite(engine.workspace, told.get("_file", ""))
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip()
        return "", *show(search, starred)

    def delete(told: dict[str, Any], search: str, starred: bool) -> tuple[Any, ...]:
        try:
            gone = put_away(engine.workspace, told.get("_file", ""))
        except StudioError as error:
            return fault(error), *[gr.skip()] * 4
        return "", *show(search, starred), str(gone), gr.Button(visible=True)

    def undo(gone: str, search: str, starred: bool) -> tuple[Any, ...]:
        try:
            bring_back(engine.workspace, Path(gone))
        except StudioError as error:
            return fault(error), *[gr.skip()] * 4
        return "", *show(search, starred), "", gr.Button(visible=False)

    asked = [parts["search"], parts["starred"]]
    outputs = [parts["past"], listed]
    parts["history_tab"].select(show, asked, outputs, **QUICK)
    gr.on([parts["search"].submit, parts["starred"].change], show, asked, outputs, **QUICK)
    parts["past"].select(pick, listed, [parts["told"], chosen], **QUICK)
    told = [parts["status"], *outputs]
    parts["star"].click(star, [chosen, *asked], told, **QUICK)
    parts["delete"].click(delete, [chosen, *asked], [*told, away, parts["undo"]], **QUICK)
    parts["undo"].click(undo, [away, *asked], [*told, away, parts["undo"]], **QUICK)
    return show
