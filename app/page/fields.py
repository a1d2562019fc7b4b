"""The fields of Compare as one thing: read as values, filled from values. Grid and Presets use the same."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.text import label, word
from core.errors import StudioError
from core.generation.settings import DEFAULTS, FIELDS
from core.studio.comparing.engine import Engine
from core.studio.library.choose import family_of_base, find_base, list_bases, list_controls, list_offsets, samplers_of
from core.studio.library.entries import entries
from core.studio.runs.notes import read_notes
from core.studio.runs.run import get_run
from core.studio.workspace import Workspace

_FOLLOWING = tuple(name for name, about in FIELDS.items() if about.lists and about.lists != "base")
_NOTHING = ("none", "auto")

LABELS = {name: about.label for name, about in FIELDS.items()}
"""What a value is called in the page."""

SYMBOLS = {name: about.symbol for name, about in FIELDS.items() if about.symbol}

_IN_0_2 = (
    *("prompt", "negative_prompt", "omega", "alpha", "beta", "beta_split", "beta_late", "seed", "images", "steps"),
    *("scheduler", "height", "width", "frames", "fps", "dynamic_guidance", "strength", "control_scale", "control"),
    *("base", "positive", "negative"),
)
"""What version 0.2 kept in a browser: a list in this order, without names."""


def short(name: str) -> str:
    """What a value, or an axis of the grid, is called where there is little room."""
    return SYMBOLS.get(name) or word(LABELS.get(name, name))


def nothing(name: str) -> str:
    """What a list to choose from shows where nothing is chosen."""
    return "auto" if name == "scheduler" else "none"


def options(names: Sequence[str], workspace: Workspace | None = None) -> list[tuple[Any, str]]:
    """Names as a list to choose from; "none" and "auto" in the page's language. With a workspace, offsets of runs are shown
    apart by what the run is called, when it began and what it was trained on."""
    return [(label(name) if name in _NOTHING else _described(workspace, name), name) for name in names]


def _described(workspace: Workspace | None, name: str) -> str:
    if workspace is None or not name.startswith("run "):
        return name
    try:
        run = get_run(workspace, name.removeprefix("run "))
        title = read_notes(run).title
    except StudioError:
        return name  # its settings are damaged; the offset itself is whole
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime((run.folder / "config.json").stat().st_mtime))
    return " · ".join(part for part in (name, title, began, Path(run.config.base).name) if part)


@dataclass(frozen=True)
class Fields:
    """Name of a value to its control, in the order of the page."""

    controls: dict[str, Any]

    def all(self) -> list[Any]:
        """The controls in order."""
        return list(self.controls.values())

    def steady(self) -> list[Any]:
        """The controls whose choices do not follow the base: what may be sent while a change of it is on its way."""
        return [control for name, control in self.controls.items() if name not in _FOLLOWING]

    def read(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """The values that the controls hold, of all of them or of the steady ones; defaults for the others."""
        of_all = len(inputs) == len(self.controls)
        names = [name for name in self.controls if of_all or name not in _FOLLOWING]
        values = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
        return {**DEFAULTS, **{name: "" if _is_nothing(name, value) else value for name, value in values.items()}}

    def fill(self, engine: Engine, values: Mapping[str, Any], base: str = "") -> list[Any]:
        """Updates that set these values and leave the others; names that are not in the lists are left out.

        Args:
            base: the one that is chosen, where `values` do not choose another.
        """
        base = str(values.get("base") or base)
        lists = choices(engine, base) if base else {}
        listed = {name: options(names, engine.workspace) for name, names in lists.items()}
        return [self._update(name, values, listed.get(name)) for name in self.controls]

    def _update(self, name: str, values: Mapping[str, Any], listed: list[tuple[Any, str]] | None) -> Any:
        value = values.get(name)
        if FIELDS[name].lists:
            value = value or nothing(name)
        if listed is not None:
            known = name in values and value in [choice for _, choice in listed]
            return gr.Dropdown(choices=listed, value=value) if known else gr.Dropdown(choices=listed)
        return value if name in values else gr.skip()

    def keeping(self) -> str:
        """The script with which the browser keeps what the controls hold, by name."""
        names = json.dumps(list(self.controls))
        return (
            f"(...values) => {{ const kept = Object.fromEntries({names}.map((name, n) => [name, values[n]])); "
            "localStorage.setItem('self-npo-compare', JSON.stringify(kept)); }"
        )

    def restore(self, engine: Engine, stored: str) -> list[Any]:
        """Updates from what a browser kept; whatever is not valid any more is left as it is."""
        values = stored_values(engine, stored)
        return self.fill(engine, values) if values else [gr.skip()] * len(self.controls)


def _is_nothing(name: str, value: Any) -> bool:
    return name in FIELDS and bool(FIELDS[name].lists) and value in (None, nothing(name))


def _is_valid(name: str, value: Any) -> bool:
    if name == "seed" and value == -1:
        return True  # a random one, drawn when it is rendered
    try:
        FIELDS[name].checked(value)
    except (KeyError, StudioError):
        return False
    return True


def stored_values(engine: Engine, stored: str) -> dict[str, Any]:
    """The values that a browser kept and that are still valid; none where their base is not on this machine."""
    try:
        values = json.loads(stored or "null")
        if isinstance(values, list) and len(values) == len(_IN_0_2):
            values = dict(zip(_IN_0_2, values, strict=True))
        if not isinstance(values, dict):
            raise ValueError("nothing is kept")
        values = {name: "" if _is_nothing(name, value) else value for name, value in values.items()}
        family_of_base(find_base(engine.workspace, FIELDS["base"].checked(values.get("base"))))
    except (ValueError, RecursionError, StudioError):
        return {}
    return {name: value for name, value in values.items() if _is_valid(name, value)}


def filled(engine: Engine, fields: Fields, values: Mapping[str, Any], base: str = "") -> dict[str, Any]:
    """The form set to these values by name, the other fields left as they are; and `former`, where the base is among them.

    Args:
        base: the one that is chosen, where `values` do not choose another.
    """
    changes = dict(zip(fields.controls, fields.fill(engine, values, base), strict=True))
    return {**changes, "former": values["base"]} if values.get("base") else changes


def choices(engine: Engine, base: str) -> dict[str, list[str]]:
    """What there is to choose with a base: bases, offsets and control networks of its family, its samplers."""
    try:
        family = family_of_base(find_base(engine.workspace, base))
    except StudioError:
        family = ""
    known = entries(engine.workspace)
    offsets = ["none", *(choice.name for choice in list_offsets(engine.workspace, family, known))]
    return {
        "base": [choice.name for choice in list_bases(engine.workspace, known)],
        "positive": offsets,
        "negative": offsets,
        "control": ["none", *(choice.name for choice in list_controls(engine.workspace, family, known))],
        "scheduler": ["auto", *samplers_of(family)],
    }
