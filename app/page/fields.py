"""The fields of Compare as one thing: read as values, filled from values. Grid and Presets use the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page.text import label, word
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.values import DEFAULTS
from core.studio.library.choose import family_of_base, find_base, list_bases, list_controls, list_offsets, samplers_of
from core.studio.library.entries import entries

_WHOLE = ("seed", "images", "steps", "height", "width", "frames", "fps")
_NAMES = ("positive", "negative", "control")
_FOLLOWING = (*_NAMES, "scheduler")
_NOTHING = ("none", "auto")

LABELS = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "omega": "ω · strength",
    "alpha": "α · positive offset in the negative",
    "beta": "β · negative offset in the negative",
    "beta_split": "β acts down to noise level",
    "beta_late": "β below that level, times",
    "seed": "First seed",
    "images": "Pairs",
    "steps": "Steps",
    "scheduler": "Scheduler",
    "height": "Height (0: the model's own)",
    "width": "Width (0: the model's own)",
    "frames": "Frames (video; 0: its own)",
    "fps": "Frames a second",
    "dynamic_guidance": "Guidance grows along the way (CogVideoX)",
    "strength": "Strength",
    "control": "Control network",
    "control_scale": "Control scale",
    "base": "Base model θ",
    "positive": "Positive offset η",
    "negative": "Negative offset δ",
}
"""What a value is called in the page."""

SYMBOLS = {"omega": "ω", "alpha": "α", "beta": "β"}


def short(name: str) -> str:
    """What a value, or an axis of the grid, is called where there is little room."""
    return SYMBOLS.get(name) or word(LABELS.get(name, name))


def options(names: Sequence[str]) -> list[tuple[Any, str]]:
    """Names as a list to choose from; "none" and "auto" in the page's language."""
    return [(label(name) if name in _NOTHING else name, name) for name in names]


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

    def read(self, given: Sequence[Any]) -> dict[str, Any]:
        """The values that the controls hold, of all of them or of the steady ones; defaults for the others."""
        of_all = len(given) == len(self.controls)
        names = [name for name in self.controls if of_all or name not in _FOLLOWING]
        values = {**dict.fromkeys(self.controls), **dict(zip(names, given, strict=True))}
        for name in _NAMES:
            values[name] = "" if values[name] in (None, "none") else values[name]
        for name, default in DEFAULTS.items():
            if values.get(name) is None:
                values[name] = default
        for name in _WHOLE:
            if isinstance(values[name], float) and values[name] == int(values[name]):
                values[name] = int(values[name])
        values["scheduler"] = "" if values["scheduler"] == "auto" else values["scheduler"]
        return values

    def fill(self, engine: Engine, values: Mapping[str, Any]) -> list[Any]:
        """Updates that set these values and leave the others; names that are not in the lists are left out."""
        updates = []
        base = str(values.get("base") or "")
        lists = choices(engine, base) if base else {}
        for name in self.controls:
            if name in lists:
                wanted = values.get(name)
                known = lists[name]
                shown = wanted or ("auto" if name == "scheduler" else "none")
                if name in values and shown in known:
                    updates.append(gr.Dropdown(choices=options(known), value=shown))
                else:
                    updates.append(gr.Dropdown(choices=options(known)))
            elif name not in values:
                updates.append(gr.skip())
            elif name in _NAMES:
                updates.append(values[name] or "none")
            elif name == "scheduler":
                updates.append(values[name] or "auto")
            else:
                updates.append(values[name])
        return updates

    def restore(self, engine: Engine, kept: str) -> list[Any]:
        """Updates from what a browser kept; whatever is not right any more is left as it is."""
        try:
            told = json.loads(kept or "null")
            assert isinstance(told, list) and len(told) == len(self.controls)
            values = self.read(told)
            family_of_base(find_base(engine.workspace, values["base"]))
        except (ValueError, AssertionError, StudioError, TypeError, KeyError):
            return [gr.skip()] * len(self.controls)
        right = {
            k: v
            for k, v in values.items()
            if isinstance(v, type(DEFAULTS[k])) or (isinstance(DEFAULTS[k], float) and isinstance(v, int))
        }
        return self.fill(engine, right)


def choices(engine: Engine, base: str) -> dict[str, list[str]]:
    """What there is to choose with a base: bases, offsets and control networks of its family, its samplers."""
    try:
        family = family_of_base(find_base(engine.workspace, base))
    except StudioError:
        family = ""
    found = entries(engine.workspace)
    offsets = ["none", *(choice.name for choice in list_offsets(engine.workspace, family, found))]
    return {
        "base": [choice.name for choice in list_bases(engine.workspace, found)],
        "positive": offsets,
        "negative": offsets,
        "control": ["none", *(choice.name for choice in list_controls(engine.workspace, family, found))],
        "scheduler": ["auto", *samplers_of(family)],
    }
