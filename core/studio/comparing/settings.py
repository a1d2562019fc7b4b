"""From plain values, as the page, the command line, a preset or a picture gives them, to a comparison. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.generation.comparison import Comparison
from core.generation.settings import DEFAULTS, Settings, cut_texts
from core.studio.library.choose import find_offset, list_bases, start_values
from core.studio.library.doses import known_dose
from core.studio.workspace import Workspace


def opening_values(workspace: Workspace, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What Compare opens with: what is wanted, then what the base brings along, then the defaults. The base is the wanted
    one, else the first there is. The dose is held where that of the negative offset was measured."""
    known = {choice.name: choice.path for choice in list_bases(workspace)}
    base = wanted.get("base") or next(iter(known), "")
    values = {**DEFAULTS, **(start_values(known[base]) if base in known else {}), "base": base, **wanted}
    return {**values, "hold_dose": wanted.get("hold_dose", dose_of(workspace, values["negative"]) is not None)}


def dose_of(workspace: Workspace, offset: str) -> float | None:
    """The measured dose of an offset by its name; None where it has none, or is not there."""
    try:
        path = find_offset(workspace, offset)
    except StudioError:
        return None
    return None if path is None else known_dose(workspace, path)


def _opened(picture: Any) -> Any:
    if not isinstance(picture, Path):
        return picture
    from core.generation.media import open_picture

    return open_picture(picture)


def comparison_of(values: Mapping[str, Any], image: Any = None, mask: Any = None) -> Comparison:
    """Without and with NPO at the same omega, in this order. A prompt that is longer than what is read is cut, which is noted.

    Args:
        image, mask: an input picture and which part of it is redrawn, as pictures or as files.

    Raises:
        StudioError: an unknown name, or a value of the wrong type or outside its range.
    """
    values, notes = cut_texts(values)
    return Comparison.of(Settings.from_values(values), image=_opened(image), mask=_opened(mask), notes=notes)
