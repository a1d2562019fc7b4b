"""The page's language: English as it stands in the code, Chinese in `chinese.json`. The browser's language decides.

`chinese.json` has four parts, each from English to Chinese: `texts` of the page; `said`, sentences that the page's server
fills in; `told`, sentences of `core`, each under its template; `parts`, phrases that are filled into those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from core.errors import Sentence

_READ: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("chinese.json").read_text(encoding="utf-8"))
CHINESE, SENTENCES, MESSAGES, PHRASES = (_READ[part] for part in ("texts", "said", "told", "parts"))

TRANSLATIONS = gr.I18n(en={text: text for text in CHINESE}, zh=CHINESE)


def label(text: str) -> Any:
    """The text as a component takes it, shown in the browser's language.

    Raises:
        KeyError: it has no translation; a test opens every tab.
    """
    if text not in CHINESE:
        raise KeyError(f"no translation of {text!r}")
    return TRANSLATIONS(text)


def sentence(text: str, **values: Any) -> str:
    """A sentence of `SENTENCES` with its values, in the language of the browser whose request is being answered.

    Raises:
        KeyError: it has no translation.
    """
    return (SENTENCES[text] if _chinese_wanted() else text).format(**values)


def word(text: str) -> str:
    """A text of `CHINESE` inside what the server makes, in the language of the browser whose request is answered.

    Raises:
        KeyError: it has no translation.
    """
    chinese = CHINESE[text]
    return chinese if _chinese_wanted() else text


def translate(text: str) -> str:
    """A sentence of `core`, which speaks English alone, in that language too; one that is not in `MESSAGES` as it is."""
    return _in_chinese(text) if _chinese_wanted() else text


def _chinese_wanted() -> bool:
    request = LocalContext.request.get(None)
    wanted = str(getattr(request, "headers", {}).get("accept-language", "")) if request is not None else ""
    return wanted.lower().startswith("zh")


def _in_chinese(text: str) -> str:
    """A sentence by its template, with its values, those that are sentences or known phrases translated too."""
    if not isinstance(text, Sentence):
        return MESSAGES.get(text) or CHINESE.get(text) or _by_pattern(text)
    chinese = next((part[text.template] for part in (MESSAGES, PHRASES, CHINESE) if text.template in part), None)
    if chinese is None or text.template == text:
        return chinese or _by_pattern(str(text))
    try:
        return chinese.format(**{name: _value_in_chinese(value) for name, value in text.values.items()})
    except (KeyError, ValueError):  # a journal that another program wrote may name a template and bring other values
        return str(text)


def _value_in_chinese(value: object) -> object:
    if isinstance(value, Sentence):
        return _in_chinese(value)
    return PHRASES.get(value, value) if isinstance(value, str) else value


@lru_cache(maxsize=512)
def _by_pattern(text: str) -> str:
    """Sentences whose room does not keep templates yet, found by their words."""
    for end in re.finditer(r"(?<=\.) ", text):  # a message and its remedy
        first, second = _found(text[: end.start()], "told"), _found(text[end.end() :], "told")
        if first and second:
            return first + second
    return _found(text, "told") or text


def _found(text: str, part: str) -> str | None:
    for pattern, chinese in _patterns(part):
        if match := pattern.fullmatch(text):
            return chinese.format(*(_found(value, "parts") or value for value in match.groups()))
    return None


@cache
def _patterns(part: str) -> list[tuple[re.Pattern[str], str]]:
    """Those with the most words of their own first: they say most surely what a sentence is."""
    table: Mapping[str, str] = {**_READ[part], **(CHINESE if part == "told" else {})}
    return [
        (re.compile("(.*?)".join(re.escape(piece) for piece in english.split("{}")), re.DOTALL), table[english])
        for english in sorted(table, key=len, reverse=True)
    ]
