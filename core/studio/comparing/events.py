"""What a rendering says while it runs, and what it costs. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Estimate:
    """What a comparison will cost. Memory in bytes: of the card where one is used, else of the machine.

    Args:
        seconds: where this size was rendered before.
        needed: the peak, computed; of true architectures alone.
        used, free: now; what the studio holds, and what is left.
    """

    row_forwards: int
    seconds: float | None
    needed: int | None
    used: int
    free: int


@dataclass(frozen=True)
class Waiting:
    """Another rendering, or the loading of the model `name`, is under way; `reason` may have {name} in it."""

    reason: str
    name: str = ""


@dataclass(frozen=True)
class Sampling:
    """A step is done; `images` are rough pictures of the columns in `columns`, seed by seed of `seeds`."""

    step: int
    steps: int
    columns: tuple[int, ...]
    seeds: tuple[int, ...]
    images: tuple[Image.Image, ...]
    rate: float = 0.0
    """Steps a second, of the steps so far."""

    @property
    def seconds_left(self) -> float:
        """At that rate."""
        return (self.steps - self.step) / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class Saved:
    """A finished image on disk, with its settings in it."""

    column: int
    seed: int
    path: Path
    settings: dict[str, Any]
    picture: Path
    """The file itself; of a video its contact sheet."""


@dataclass(frozen=True)
class Note:
    """Something was done otherwise than asked; a sentence."""

    text: str


@dataclass(frozen=True)
class Working:
    """Nothing new; the rendering continues."""


Event = Waiting | Sampling | Saved | Note | Working
"""What a rendering tells while it runs."""


def describe_settings(settings: dict[str, Any]) -> str:
    """Settings as a person reads them, and as they can be pasted elsewhere."""
    return json.dumps(settings, indent=2, ensure_ascii=False)
