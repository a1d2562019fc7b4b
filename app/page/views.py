"""Ways to look at pairs: cards, a slider, flicker, videos that play together. One viewer enlarges any of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.page.text import word

SCORE = "Preference by the bundled judge, 0 to 1"


def address(path: str | Path) -> str:
    """Where the page's own server shows a file of the outputs folder."""
    return f"/gradio_api/file={quote(str(path))}"


def inline(image: Any, side: int = 0) -> str:
    """A picture as a `data:` address; with `side`, a rough preview made large enough to see."""
    if side:
        image = image.resize((side, side * image.height // image.width))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class Cell:
    """One picture of a pair.

    Args:
        source: its address; of a video that of its contact sheet.
        name: what it is, such as “with NPO”.
        video: address of the video; empty for a picture.
        score: of the bundled judge, 0 to 1, where it applies.
        settings: of the file; empty while it is drawn.
        file: its name in the outputs folder.
    """

    source: str
    name: str
    video: str = ""
    score: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True)
class Pair:
    """Pictures of one seed, plain CFG first, with a line under them and what a mouse at rest shows."""

    cells: tuple[Cell, ...]
    caption: str
    note: str = ""
    marked: bool = False


def _cell(cell: Cell, at: int, chosen: bool) -> str:
    name = escape(cell.name)
    score = (
        f'<span class="score" title="{escape(word(SCORE))}">{cell.score:.2f}</span>' if cell.score is not None else ""
    )
    shown = f'<img src="{escape(cell.source)}" alt="{name}" draggable="false"'
    if cell.video:
        shown += f' data-video="{escape(cell.video)}"'
    pressed = "true" if chosen else "false"
    return (
        f'<button type="button" class="cell" data-cell="{at}" aria-pressed="{pressed}">{shown}>'
        f'<span class="tag">{name}</span>{score}</button>'
    )


def board(pairs: Sequence[Pair], *, columns: int = 0, chosen: int = -1) -> str:
    """Pairs as cards.

    Args:
        columns: cards in a row; 0 lets the room decide.
        chosen: index of the chosen picture among all of them; -1 for none.
    """
    cards, at = [], 0
    for index, pair in enumerate(pairs):
        cells = []
        for cell in pair.cells:
            cells.append(_cell(cell, at, at == chosen))
            at += 1
        star = "★ " if pair.marked else ""
        cards.append(
            f'<figure class="pair" data-pair="{index}" style="--cells:{len(pair.cells)}" title="{escape(pair.note)}">'
            f'<div class="cells">{"".join(cells)}</div><figcaption><span>{star}{escape(pair.caption)}</span>'
            f"{_enlarge()}</figcaption></figure>"
        )
    style = f' style="--columns:{columns}"' if columns else ""
    kind = "board fixed" if columns else f"board {'one' if len(pairs) == 1 else 'many'}"
    return f'<div class="{kind}"{style}>{"".join(cards)}</div>' if cards else ""


def blank(count: int, columns: int) -> str:
    """Where pictures will be, while there are none."""
    wells = '<div class="well"></div>' * count
    return f'<div class="board fixed blank" style="--columns:{columns}" aria-hidden="true">{wells}</div>'


def _enlarge() -> str:
    name = escape(word("Enlarge"))
    return f'<button type="button" class="enlarge" aria-label="{name}" title="{name}">⤢</button>'


def slider(pair: Pair) -> str:
    """Both pictures in one place, divided by a line that a person moves."""
    without, with_npo = pair.cells[0], pair.cells[-1]
    return (
        f'<div class="stage slide" data-pair="0" style="--cut:50%">'
        f'<div class="layer"><img src="{escape(with_npo.source)}" alt="{escape(with_npo.name)}" draggable="false"></div>'
        f'<div class="layer over"><img src="{escape(without.source)}" alt="{escape(without.name)}" draggable="false"></div>'
        f'<span class="tag left">{escape(without.name)}</span><span class="tag right">{escape(with_npo.name)}</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{escape(word("Move the line"))}">{_enlarge()}</div>'
    )


def flicker(pair: Pair) -> str:
    """Both pictures in one place, in turn; it rests while the pointer is on it. Videos play side by side."""
    if any(cell.video for cell in pair.cells):
        return players(pair)
    cells = "".join(
        f'<img class="{kind}" src="{escape(cell.source)}" alt="{escape(cell.name)}" draggable="false">'
        f'<span class="tag {kind}">{escape(cell.name)}</span>'
        for kind, cell in (("one", pair.cells[0]), ("two", pair.cells[-1]))
    )
    return f'<div class="stage flicker" data-pair="0">{cells}{_enlarge()}</div>'


_TOGETHER = "this.closest('.players').querySelectorAll('video').forEach(v => {{ if (v !== this) {what} }})"


def players(pair: Pair) -> str:
    """Videos side by side: play, pause and seek act on all of them."""
    play, pause = _TOGETHER.format(what="v.play()"), _TOGETHER.format(what="v.pause()")
    seek = _TOGETHER.format(
        what="{ if (Math.abs(v.currentTime - this.currentTime) > 0.05) v.currentTime = this.currentTime }"
    )
    cells = "".join(
        f'<figure><video src="{escape(cell.video)}" controls loop muted playsinline autoplay '
        f'onplay="{play}" onpause="{pause}" onseeked="{seek}"></video><figcaption>{escape(cell.name)}</figcaption></figure>'
        for cell in pair.cells
        if cell.video
    )
    return f'<div class="players">{cells}</div>'


def viewer() -> str:
    """The enlarging viewer: empty until `npoViewer` in `viewer.js` fills it from the cards of a board."""
    buttons = (
        ("previous", "←", "Previous pair"),
        ("next", "→", "Next pair"),
        ("pairs", "◫", "Side by side"),
        ("slide", "⇔", "Slider"),
        ("flicker", "⧉", "Flicker"),
        ("closer", "+", "Zoom in"),
        ("farther", "−", "Zoom out"),
        ("fit", "⊡", "Fit"),
        ("full", "⛶", "Full screen"),
        ("close", "✕", "Close"),
    )
    bar = "".join(
        f'<button type="button" data-do="{do}" aria-label="{escape(word(name))}" title="{escape(word(name))}">{sign}</button>'
        for do, sign, name in buttons
    )
    return (
        f'<dialog id="viewer" aria-label="{escape(word("Enlarged pictures"))}"><div class="bar"><b class="title"></b>{bar}</div>'
        '<div class="room"></div><p class="under"></p></dialog>'
    )


CHOOSE = """
element.addEventListener('click', (event) => {
  const cell = event.target.closest('[data-cell]');
  if (!cell || event.target.closest('.enlarge')) return;
  element.querySelectorAll('[data-cell]').forEach((other) => other.setAttribute('aria-pressed', other === cell));
  trigger('select', { index: +cell.dataset.cell, value: '' });
});
"""
"""Of a component that shows a board: the chosen picture is marked at once, and the server is told which it is."""

SCRIPT = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
CSS = Path(__file__).with_name("views.css").read_text(encoding="utf-8")
