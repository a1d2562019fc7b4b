"""The one table of limits of a rendering: what the page, the command line, pictures, presets and links are checked against.

No torch here. A limit is checked where settings are made, before anything is built from them.
"""

from __future__ import annotations

import math

from core.errors import Sentence, StudioError

PROMPT = 4000
"""Characters of a prompt."""
NAME = 1000
"""Characters of the name of a model, an offset or a scheduler."""
STEPS = (1, 200)
SEED = (0, 2**63 - 1)
PAIRS = (1, 16)
"""Seeds that a person asks for at once."""
SIDE = (0, 8192)
"""Pixels of height or width; 0 is the model's own."""
FRAMES = (0, 1000)
FPS = (0, 120)
STRENGTH = (0.01, 1.0)
CONTROL_SCALE = (0.0, 2.0)

TIMES_OWN = 16
"""How many times the pixels of a model's own size one picture or video may have: memory grows with them."""
IMAGES = 64
"""Images of one rendering: seeds times columns."""
PIXELS = 2**24
"""Pixels of one picture, or of one frame of a video: 4096 x 4096."""
ALL_PIXELS = 2**29
"""Pixels of a whole rendering: height x width x frames x images."""


def shown(number: float) -> str:
    """A number in a sentence: whole ones with all their digits."""
    return str(number) if isinstance(number, int) else f"{number:g}"


def check_number(name: str, value: object, low: float, high: float, *, whole: bool) -> float:
    """The value as a finite number within its range.

    Raises:
        StudioError: it is text, a truth value, NaN, infinite, not whole where it must be, or out of range.
    """
    kind = Sentence("a whole number" if whole else "a number")
    choose = "Choose {name} from {low} to {high}."
    facts = {"name": name, "low": shown(low), "high": shown(high)}
    number = value
    if isinstance(number, int) and not isinstance(number, bool) and abs(number) >= 2**1000:
        number = math.inf  # larger than a float can be
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not math.isfinite(number)
        or (whole and number != int(number))
    ):
        raise StudioError("{name} must be {kind}, not {value}.", choose, kind=kind, value=_excerpt(value), **facts)
    number = int(number) if whole else float(number)
    if not low <= number <= high:
        raise StudioError("{name} is {value}, outside {low} to {high}.", choose, value=shown(number), **facts)
    return number


def check_text(name: str, value: object, longest: int) -> str:
    """The value as text.

    Raises:
        StudioError: it is not text, not valid Unicode, or too long.
    """
    if not isinstance(value, str):
        raise StudioError("{name} must be text, not {value}.", "Write it in quotes.", name=name, value=_excerpt(value))
    if len(value) > longest:
        raise StudioError(
            "{name} is {length} characters long; at most {longest} are read.",
            "Shorten it.",
            name=name,
            length=len(value),
            longest=longest,
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StudioError(
            "{name} contains a character that is not valid Unicode.", "Type it again.", name=name
        ) from error
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """The value as one of the choices.

    Raises:
        StudioError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise StudioError(
            "{name} must be one of {choices}, not {value}.",
            "Choose one of them.",
            name=name,
            choices=", ".join(choices),
            value=_excerpt(value),
        )
    return value


def check_switch(name: str, value: object) -> bool:
    """The value as true or false.

    Raises:
        StudioError: it is neither.
    """
    if not isinstance(value, bool):
        raise StudioError(
            "{name} must be true or false, not {value}.", "Choose true or false.", name=name, value=_excerpt(value)
        )
    return value


def check_size(height: int, width: int, frames: int, images: int) -> None:
    """Refuses what would keep the engine for hours. A size of 0 is the model's own: it is checked when it is known.

    Raises:
        StudioError: too many pixels in a picture, or in all of them.
    """
    if height * width > PIXELS:
        raise StudioError(
            "height {height} x width {width} is more than {most:,} pixels.",
            "Choose a smaller height or width.",
            height=height,
            width=width,
            most=PIXELS,
        )
    if (total := height * width * max(1, frames) * images) > ALL_PIXELS:
        raise StudioError(
            "{images} images of {width} x {height} pixels and {frames} frames are {total:,} pixels; at most {most:,} can be rendered at once.",
            "Choose fewer images or frames, or a smaller size.",
            images=images,
            width=width,
            height=height,
            frames=max(1, frames),
            total=total,
            most=ALL_PIXELS,
        )


def check_against_own(pixels: int, own: int) -> None:
    """Refuses a picture or video for which this model would need the memory of many.

    Args:
        pixels: height x width x frames that are asked for; `own`: those of the model's own size.

    Raises:
        StudioError: more than `TIMES_OWN` times its own.
    """
    if pixels > TIMES_OWN * own:
        raise StudioError(
            "height x width x frames is {times:.0f} times the model's own size; at most {most} times can be rendered.",
            "Choose a smaller height or width, or fewer frames.",
            times=pixels / own,
            most=TIMES_OWN,
        )


def _excerpt(value: object) -> str:
    """A value in a sentence, in ASCII and short, whatever it is."""
    if isinstance(value, int) and abs(value) >= 2**1000:
        return Sentence("an enormous number")
    return f"{value!a:.40}"
