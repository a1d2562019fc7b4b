"""The controls of Compare, generated from the declaration of its settings: made here, placed by the tab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.page.components import Dropdown, Slider
from app.page.fields import Fields, choices, nothing, options
from app.page.text import label
from core.generation.settings import FIELDS, Setting
from core.studio.comparing.engine import Engine


def make_control(about: Setting, value: Any, names: list[tuple[Any, str]]) -> Any:
    """The control of a setting, as its declaration says; not placed yet.

    Args:
        names: what it is chosen from, where it is chosen from a list.
    """
    shared: dict[str, Any] = {
        "label": label(about.label),
        "info": label(about.help) if about.explained else None,
        "elem_id": f"set-{about.name}",
        "render": False,
    }
    if about.lists:
        empty = None if about.lists == "base" else nothing(about.name)
        return Dropdown(names, value=value or empty, min_width=140, **shared)
    if about.options:
        titles = [(label(title), option) for option, title in about.options.items()]
        return Dropdown(titles, value=value, min_width=140, **shared)
    if about.kind is bool:
        return gr.Checkbox(value, **shared)
    if about.kind is str and about.name == "prompt":
        return gr.Textbox(value, lines=2, max_lines=4, **shared)
    if about.kind is str:
        return gr.Textbox(value, lines=1, placeholder=label("empty"), **shared)
    if about.step:
        return Slider(*about.range, value, step=about.step, min_width=140, **shared)
    # no bounds here: a number outside the range is refused in a sentence that names the setting
    return gr.Number(value, precision=0 if about.kind is int else None, min_width=110, **shared)


def make_controls(engine: Engine, values: Mapping[str, Any]) -> Fields:
    """A control for each setting, filled in, not placed yet."""
    lists = choices(engine, values["base"])
    listed = {name: options(names, engine.workspace) for name, names in lists.items()}
    return Fields({name: make_control(about, values[name], listed.get(name, [])) for name, about in FIELDS.items()})


def rows(group: str) -> list[list[str]]:
    """The settings of a group in rows: the wide ones alone, two of the others beside each other."""
    placed: list[list[str]] = []
    for name, about in FIELDS.items():
        if about.group == group:
            beside = not about.wide and placed and len(placed[-1]) == 1 and not FIELDS[placed[-1][0]].wide
            placed = [*placed[:-1], [*placed[-1], name]] if beside else [*placed, [name]]
    return placed
