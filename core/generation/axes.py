"""Values of a setting as a person writes them: the axes of grids and of sweeps. No torch."""

from __future__ import annotations

import math
from typing import Any

from core.errors import StudioError
from core.generation.settings import FIELDS

MOST = 256
"""Values of one axis."""


def parse_axis(name: str, text: str, kind: type | None = None) -> tuple[str, tuple[Any, ...]]:
    """A setting and its values: separated by commas, or `0:2:0.5` for a range; prompts by lines.

    Args:
        kind: of the values; None for the setting's own.

    Raises:
        StudioError: an unknown setting, or values that it cannot have.
    """
    if kind is None and name not in FIELDS:
        raise StudioError(
            "There is no setting “{name}”.", "Choose one of {known}.", name=name[:40], known=", ".join(FIELDS)
        )
    kind = kind or FIELDS[name].kind
    parts = [part.strip() for part in (text.splitlines() if name == "prompt" else text.split(",")) if part.strip()]
    if not parts:
        raise StudioError("The axis {name} has no values.", "Write for example 0, 1, 2.", name=name)
    if kind is str:
        return name, tuple("" if part == "none" else part for part in parts)
    values: list[Any] = []
    for part in parts:
        try:
            if part.count(":") == 2:
                first, last, step = (float(number) for number in part.split(":"))
                if step <= 0 or last < first or (last - first) / step > MOST:
                    raise ValueError
                values += [round(first + n * step, 6) for n in range(int((last - first) / step + 1e-6) + 1)]
            else:
                values.append(int(part) if kind is int and part.isdecimal() else float(part))
        except (ValueError, OverflowError) as error:
            raise StudioError(
                "“{value}” is not a value of {name}.",
                "Write for example 0, 0.5, 1 or 0:2:0.5.",
                value=part[:40],
                name=name,
            ) from error
    if kind is int:
        if any(not math.isfinite(value) or value != int(value) for value in values):
            raise StudioError("{name} takes whole numbers.", "Write for example 10, 20, 30.", name=name)
        values = [int(value) for value in values]
    return name, tuple(values)
