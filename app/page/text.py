"""The page's language: English in the code, Chinese in `chinese.json`. The browser's language decides.

`chinese.json` has four parts, each from English to Chinese: `labels` of the page; `sentences` that the page's server fills
in; `messages` of `core`, each under its template; `phrases` that are filled into those.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from core.errors import Sentence

_READ: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("chinese.json").read_text(encoding="utf-8"))
CHINESE, SENTENCES, MESSAGES, PHRASES = (_READ[part] for part in ("labels", "sentences", "messages", "phrases"))

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


def translate(text: str, *, chinese: bool | None = None) -> str:
    """A sentence of `core`, which speaks English alone, in that language too; one that is not in `MESSAGES` as it is.

    Args:
        chinese: whether Chinese is wanted, where the request that is answered is not one of Gradio's.
    """
    return _in_chinese(text) if (_chinese_wanted() if chinese is None else chinese) else text


def _chinese_wanted() -> bool:
    request = LocalContext.request.get(None)
    wanted = str(getattr(request, "headers", {}).get("accept-language", "")) if request is not None else ""
    return wanted.lower().startswith("zh")


def _in_chinese(text: str) -> str:
    """A sentence by its template, with its values, those that are sentences or known phrases translated too."""
    if not isinstance(text, Sentence):
        return MESSAGES.get(text) or CHINESE.get(text) or text
    chinese = next((part[text.template] for part in (MESSAGES, PHRASES, CHINESE) if text.template in part), None)
    if chinese is None or text.template == text:
        return chinese or str(text)
    try:
        return chinese.format(**{name: _value_in_chinese(value) for name, value in text.values.items()})
    except (KeyError, ValueError):  # a journal that another program wrote may name a template and bring other values
        return str(text)


def _value_in_chinese(value: object) -> object:
    if isinstance(value, Sentence):
        return _in_chinese(value)
    return PHRASES.get(value, value) if isinstance(value, str) else value
