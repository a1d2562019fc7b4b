"""What the history does: the pairs of the workspace, searched, marked, put away and brought back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from app.page.compare_actions import pair_of
from app.page.html import fault, left_out
from app.page.text import sentence
from app.page.views import Cell, Pair, board
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing.gallery import bring_back, pictures, put_away, toggle_favourite
from core.studio.comparing.groups import grouped
from core.studio.workspace import Workspace

MOST = 240
"""Pictures looked at; more are found by a search."""


def search(workspace: Workspace, words: str, starred: bool) -> Changes:
    """The pairs whose settings hold every word, newest first; a sentence where there is none."""
    faults: list[StudioError] = []
    groups = grouped(pictures(workspace, words or "", only_favourites=starred, limit=MOST, on_fault=faults.append))
    pairs = [pair_of(group) for group in groups]
    if pairs:
        line = sentence("{count} found, newest first.", count=len(pairs))
    elif words or starred:
        line = sentence("Nothing found. Try fewer words, or all pictures instead of favourites.")
    else:
        line = sentence("No picture yet: what you render appears here.")
    return {"past": board(pairs), "listed": pairs, "summary": line + left_out(faults)}


def mark(workspace: Workspace, chosen: tuple[Pair, Cell] | None, words: str, starred: bool) -> Changes:
    """Marks the chosen picture as a favourite, or takes the mark away."""
    try:
        toggle_favourite(workspace, chosen[1].file if chosen else "")
    except StudioError as error:
        return {"status": fault(error)}
    return search(workspace, words, starred)


def delete(workspace: Workspace, chosen: tuple[Pair, Cell] | None, words: str, starred: bool) -> Changes:
    """Puts the chosen pair away."""
    gone = []
    try:
        for name in [cell.file for cell in chosen[0].cells] if chosen else [""]:
            gone.append(str(put_away(workspace, name)))
    except StudioError as error:
        return {"status": fault(error)}
    changes = search(workspace, words, starred)
    nothing = gr.update(interactive=False)
    return {
        **changes,
        "away": gone,
        "undo": gr.update(interactive=True),
        "chosen": None,
        "delete": nothing,
        "star": nothing,
    }


def undo(workspace: Workspace, gone: Sequence[str], words: str, starred: bool) -> Changes:
    """Brings back what was deleted last."""
    try:
        for folder in gone or [""]:
            bring_back(workspace, Path(folder))
    except StudioError as error:
        return {"status": fault(error)}
    return {**search(workspace, words, starred), "away": [], "undo": gr.update(interactive=False)}
