"""What the history does: the pairs of the workspace, searched, marked, put away and brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from core.studio.comparing.thumbs import DOWN, UP, set_thumb, thumbs
from core.studio.workspace import Workspace

MOST = 240
"""Pictures looked at; more are found by a search."""


def search(workspace: Workspace, words: str, starred: bool) -> Changes:
    """The pairs whose settings hold every word, newest first; a sentence where there is none."""
    faults: list[StudioError] = []
    groups = grouped(pictures(workspace, words or "", only_favourites=starred, limit=MOST, on_fault=faults.append))
    pairs = _with_thumbs([pair_of(group) for group in groups], thumbs(workspace))
    if pairs:
        line = sentence("{count} found, newest first.", count=len(pairs))
    elif words or starred:
        line = sentence("Nothing found. Try fewer words, or all pictures instead of favourites.")
    else:
        line = sentence("No picture yet: what you render appears here.")
    return {"past": board(pairs), "listed": pairs, "summary": line + left_out(faults)}


def _with_thumbs(pairs: Sequence[Pair], given: dict[str, int]) -> list[Pair]:
    """The pairs with the thumb of each picture in its name."""
    signs = {UP: " 👍", DOWN: " 👎"}
    return [
        replace(pair, cells=tuple(replace(c, name=c.name + signs.get(given.get(c.file, 0), "")) for c in pair.cells))
        for pair in pairs
    ]


def rate(workspace: Workspace, chosen: tuple[Pair, Cell] | None, value: int, words: str, starred: bool) -> Changes:
    """Gives the chosen picture a thumb; the same one again takes it away."""
    try:
        set_thumb(workspace, chosen[1].file if chosen else "", value)
    except StudioError as error:
        return {"status": fault(error)}
    return search(workspace, words, starred)


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
        **dict.fromkeys(("star", "thumb_up", "thumb_down", "delete"), nothing),
    }


def undo(workspace: Workspace, gone: Sequence[str], words: str, starred: bool) -> Changes:
    """Brings back what was deleted last."""
    try:
        for folder in gone or [""]:
            bring_back(workspace, Path(folder))
    except StudioError as error:
        return {"status": fault(error)}
    return {**search(workspace, words, starred), "away": [], "undo": gr.update(interactive=False)}
