"""The values of a comparison as flat names and JSON values: what a picture, the page and the command line share. No torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.studio.comparing.compare import CompareSettings, InputSettings
from core.studio.library.choose import BUNDLED, list_bases, start_values
from core.studio.workspace import Workspace

DEFAULTS: dict[str, Any] = {
    "base": BUNDLED,
    "positive": "",
    "negative": "",
    "prompt": "",
    "negative_prompt": "",
    "omega": 2.0,
    "alpha": 1.0,
    "beta": 1.0,
    "beta_split": 0.0,
    "beta_late": 1.0,
    "seed": 0,
    "images": 2,
    "steps": 25,
    "scheduler": "",
    "height": 0,
    "width": 0,
    "frames": 0,
    "fps": 0,
    "dynamic_guidance": False,
    "strength": 0.6,
    "control": "",
    "control_scale": 1.0,
}
"""Every value with what it is where nothing is said. 0 and an empty scheduler are the model's own."""


def opening_values(workspace: Workspace, given: Mapping[str, Any]) -> dict[str, Any]:
    """What Compare opens with: what is given, then what the base brings along, then the defaults. The base is the given
    one, else the first there is."""
    known = {choice.name: choice.path for choice in list_bases(workspace)}
    base = given.get("base") or next(iter(known), "")
    return {**DEFAULTS, **(start_values(known[base]) if base in known else {}), "base": base, **given}


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise StudioError(f"{name} must be a whole number, not {value!r:.40}.", "Choose a whole number.")
    return int(value)


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with defaults for what is missing.

    Raises:
        StudioError: an unknown name (the nearest known one is named), or a value of the wrong kind.
    """
    for name, value in values.items():
        if name not in DEFAULTS:
            near = difflib.get_close_matches(str(name), DEFAULTS, n=1)
            raise StudioError(
                f"There is no setting “{str(name)[:60]}”.", f"Did you mean {near[0]}?" if near else "Remove it."
            )
        if isinstance(DEFAULTS[name], str) and not isinstance(value, str):
            raise StudioError(f"{name} must be text, not {value!r:.40}.", "Write it in quotes.")
    return {**DEFAULTS, **values}


def _opened(picture: Any) -> Any:
    if not isinstance(picture, Path):
        return picture
    from core.generation.media import open_picture

    return open_picture(picture)


def comparison_of(values: Mapping[str, Any], image: Any = None, mask: Any = None) -> CompareSettings:
    """Without and with NPO at the same omega, in this order.

    Args:
        image, mask: an input picture and what of it is drawn anew, as pictures or as files.

    Raises:
        StudioError: as `checked`, or a value outside its range.
    """
    told = checked(values)
    image, mask = (_opened(given) for given in (image, mask))
    count, first = _whole("images", told["images"]), _whole("seed", told["seed"])
    if not 1 <= count <= 16:
        raise StudioError(f"{count} pairs at once cannot be rendered.", "Choose 1 to 16.")
    with_npo = GuidanceWeights(
        omega=told["omega"],
        alpha=told["alpha"],
        beta=told["beta"],
        beta_schedule=BetaSchedule(split=told["beta_split"], late=told["beta_late"]),
    )
    return CompareSettings(
        base=told["base"],
        positive=told["positive"],
        negative=told["negative"],
        prompt=told["prompt"],
        negative_prompt=told["negative_prompt"],
        seeds=tuple(range(first, first + count)),
        columns=(with_npo.plain(), with_npo),
        steps=_whole("steps", told["steps"]),
        scheduler=told["scheduler"],
        height=_whole("height", told["height"]) or None,
        width=_whole("width", told["width"]) or None,
        frames=_whole("frames", told["frames"]) or None,
        fps=_whole("fps", told["fps"]),
        dynamic_guidance=told["dynamic_guidance"] is True,
        given=InputSettings(
            image=image,
            mask=mask,
            strength=float(told["strength"]),
            control=told["control"],
            control_scale=float(told["control_scale"]),
        )
        if image is not None
        else None,
    )
