"""What a bundled model can draw: prompts to click, its words, and a line on words that it has never met."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from app.page.text import sentence, word
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.library.choose import find_base, prompts_of
from core.studio.library.worlds import world_of
from core.studio.workspace import ASSETS

SHOWN = 6
SHORT = 32
"""Characters of a prompt that fits a line of the form."""
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")

SCRIPT = Path(__file__).with_name("examples.js").read_text(encoding="utf-8")
CHECK = "() => { window.npoWords(); }"


def words_of(prompts: Sequence[str]) -> list[str]:
    """The words of prompts, each once, in order of the alphabet."""
    return sorted({word.lower() for prompt in prompts for word in _WORD.findall(prompt)})


def chosen_prompts(prompts: Sequence[str], count: int = SHOWN) -> list[str]:
    """Some short prompts, spread over all of them."""
    short = list(dict.fromkeys(prompt for prompt in prompts if len(prompt) <= SHORT))
    return [short[n * len(short) // count] for n in range(count)] if len(short) >= count else short


@lru_cache(maxsize=8)
def _read(base: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Examples and words: of the world that the base draws, else of the prompts that it was trained with."""
    prompts, world = prompts_of(base), world_of(base)
    examples = (world.examples if world else ()) or chosen_prompts(prompts)
    return tuple(examples), tuple(words_of(world.language.vocabulary() if world else prompts))


def line(engine: Engine, base: str) -> str:
    """Prompts and words of a bundled model; nothing of all others, whose words are not listed."""
    try:
        path = find_base(engine.workspace, base)
        if not path.is_relative_to(ASSETS):
            return ""
        prompts, words = _read(path)
    except StudioError:
        return ""
    if not words:
        return ""
    chips = "".join(f'<button type="button" class="example">{escape(prompt)}</button>' for prompt in prompts)
    listed = "".join(f'<button type="button" class="vocabulary">{escape(each)}</button>' for each in words)
    unknown = escape(sentence("This model was not trained on these words and ignores them:"))
    return (
        f'<div class="chips">{chips}</div><div class="unknown" role="status" data-sentence="{unknown}"></div>'
        f"<details><summary>{escape(word('All words of this model'))}</summary>"
        f'<div class="words">{listed}</div></details>'
    )
