"""Gradio's components where the studio answers in its own words: a value that cannot be is named with its field."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gradio as gr

from app.page.text import sentence, word


def _title(component: Any) -> str:
    """What a component is called, in the language of who asks."""
    text = getattr(component.label, "key", component.label)
    return word(text) if isinstance(text, str) else ""


def _number(self: Any, payload: Any) -> Any:
    """The number as it came: the settings refuse one outside the range, in a sentence that names the field.

    Raises:
        gr.Error: it is not a number.
    """
    if payload is not None and (isinstance(payload, bool) or not isinstance(payload, int | float)):
        raise gr.Error(sentence("“{name}” takes a number.", name=_title(self)), print_exception=False)
    return payload


_NAME = re.compile(r"(?!\.)[^/\\\\~:]{1,200}")


def _choice(self: Any, payload: Any) -> Any:
    """The choice, or the choices. A plain name that is not in the list is handed on, too: lists follow the base, and this one
    may have changed since the name was sent; it is looked up, and refused, where it is used.

    Raises:
        gr.Error: it is not in the list, and not a plain name: nobody may ask for paths of this machine.
    """
    listed = [value for _, value in self.choices]
    asked = payload if isinstance(payload, list) else [payload]
    known = (value in listed or (isinstance(value, str) and _NAME.fullmatch(value)) for value in asked)
    if payload is not None and not all(known):
        text = sentence("“{value}” is not in the list “{name}”.", value=str(payload)[:80], name=_title(self))
        raise gr.Error(text, print_exception=False)
    return payload


def _like(parent: type, preprocess: Callable[[Any, Any], Any]) -> Any:
    """The component with another way to read what the browser sends. It is made past Gradio's metaclass, which would write a
    stub file for editors beside this one."""
    own = {"preprocess": preprocess, "is_template": True, "__module__": __name__}
    return type.__new__(type(parent), parent.__name__, (parent,), own)


Slider: Callable[..., gr.Slider] = _like(gr.Slider, _number)
Dropdown: Callable[..., gr.Dropdown] = _like(gr.Dropdown, _choice)
