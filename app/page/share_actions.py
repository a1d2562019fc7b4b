"""A pair to show to others: one labelled picture, an animation, and a link that opens its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.compare_actions import values_of
from app.page.html import fault
from app.page.text import sentence
from app.page.views import Cell, Pair, address
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing.poster import save_pair
from core.studio.comparing.workflow import save_workflow
from core.studio.presets.preset import preset_of
from core.studio.presets.sharing import to_link

MADE = ("shared", "shared_picture", "share_png", "share_gif", "share_mp4", "share_workflow", "share_code", "status")


def share(folder: Path, chosen: tuple[Pair, Cell] | None) -> Changes:
    """The chosen pair as files beside it, and the code of its link."""
    if chosen is None:
        return {}
    pair, cell = chosen
    settings = pair.cells[-1].settings or cell.settings
    try:
        if not all(each.file for each in pair.cells):
            raise StudioError(
                "This pair is bundled with the studio; it has no files to share.", "Render your own, then share it."
            )
        picture, animation, video = save_pair(
            folder, [each.file for each in pair.cells], [each.name for each in pair.cells], settings
        )
        code = to_link(preset_of(values_of(settings), name=str(settings.get("prompt", ""))[:60]))
    except StudioError as error:
        return {"status": fault(error)}
    alt = sentence("The pair as one picture")
    return {
        "shared": gr.update(visible=True),
        "shared_picture": f'<img src="{address(picture)}" alt="{alt}">',
        "share_png": str(picture),
        "share_gif": gr.update(value=animation and str(animation), visible=animation is not None),
        "share_mp4": gr.update(value=video and str(video), visible=video is not None),
        "share_workflow": _workflow(folder, pair.cells[-1], settings),
        "share_code": code,
    }


def _workflow(folder: Path, cell: Cell, settings: Mapping[str, Any]) -> Any:
    """The button of the ComfyUI workflow; hidden where two predictions cannot say the guidance."""
    try:
        path = save_workflow(settings, (folder / cell.file).with_suffix(".comfyui.json"))
    except StudioError:
        return gr.update(visible=False)
    return gr.update(value=str(path), visible=True)


def closed() -> dict[str, Any]:
    """The panel, put away."""
    return {"shared": gr.update(visible=False)}
