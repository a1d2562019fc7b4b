"""Ways to look at a pair: flicker between the two, two videos that play together, one picture beside another."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from app.page.text import sentence


def address(path: str | Path) -> str:
    """Where the page's own server shows a file of the outputs folder."""
    return f"/gradio_api/file={quote(str(path))}"


def flicker(without: str | Path, with_npo: str | Path) -> str:
    """Both pictures in one place, in turn, twice a second; it rests while the pointer is on it."""
    cells = "".join(
        f'<img class="{kind}" src="{escape(address(path))}" alt="{name}"><span class="{kind}">{name}</span>'
        for kind, name, path in (("one", sentence("without NPO"), without), ("two", sentence("with NPO"), with_npo))
    )
    return f'<div class="flicker">{cells}</div>'


_TOGETHER = "this.closest('.players').querySelectorAll('video').forEach(v => {{ if (v !== this) {what} }})"


def players(pair: list[tuple[str, str | Path]]) -> str:
    """Videos side by side: play, pause and seek act on all of them."""
    play, pause = _TOGETHER.format(what="v.play()"), _TOGETHER.format(what="v.pause()")
    seek = _TOGETHER.format(
        what="{ if (Math.abs(v.currentTime - this.currentTime) > 0.05) v.currentTime = this.currentTime }"
    )
    cells = "".join(
        f'<figure><video src="{escape(address(path))}" controls loop muted playsinline autoplay '
        f'onplay="{play}" onpause="{pause}" onseeked="{seek}"></video><figcaption>{escape(caption)}</figcaption></figure>'
        for caption, path in pair
    )
    return f'<div class="players">{cells}</div>'


CSS = """
.flicker { position: relative; height: 500px; }
.flicker img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.flicker span { position: absolute; left: 12px; top: 8px; background: #111a; color: #fff; padding: 2px 10px; border-radius: 10px; }
.flicker .two { animation: npo-flicker 1.6s steps(1) infinite; } .flicker .one { animation: npo-flicker 1.6s steps(1) -0.8s infinite; }
.flicker:hover .one, .flicker:hover .two { animation-play-state: paused; }
@keyframes npo-flicker { 0%, 49% { opacity: 1; } 50%, 100% { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .flicker .one, .flicker .two { animation-duration: 6s; } }
.players { display: flex; gap: 10px; flex-wrap: wrap; } .players figure { flex: 1 1 260px; margin: 0; }
.players video { width: 100%; background: #000; } .players figcaption { font-size: .88rem; opacity: .8; text-align: center; }
"""
