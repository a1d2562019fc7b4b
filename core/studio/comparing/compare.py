"""A comparison as it is asked for, and what is told while it is rendered. No torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.method.guidance import GuidanceWeights
from core.studio.library.choose import BUNDLED

if TYPE_CHECKING:
    from PIL import Image

PROMPT_LIMIT = 4000
IMAGES_LIMIT = 64


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """A picture to begin from or to follow, as a person gives it; the fields of `core.generation.inputs.InputImage`,
    but `control` is a name of the library, empty for none."""

    image: Image.Image
    mask: Image.Image | None = None
    strength: float = 0.6
    control: str = ""
    control_scale: float = 1.0

    def facts(self) -> dict[str, Any]:
        """What a file tells of it: a hash of its pixels, not the picture."""
        pixels = self.image.convert("RGB")
        told: dict[str, Any] = {
            "input_sha256": hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()
        }
        if self.control:
            return told | {"control": Path(self.control).name, "control_scale": self.control_scale}
        return told | {"strength": self.strength, "inpainted": self.mask is not None}


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """A comparison as a person sets it up: names of things instead of the things.

    `positive` and `negative` are names of offsets, empty for none; the other fields are those of
    `core.generation.compare.Comparison`. An empty scheduler is the family's usual one; fps 0 the model's own.
    """

    base: str = BUNDLED
    positive: str = ""
    negative: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    seeds: tuple[int, ...] = (0,)
    columns: tuple[GuidanceWeights, ...] = field(default_factory=lambda: (GuidanceWeights(omega=2),))
    steps: int = 25
    scheduler: str = ""
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    fps: int = 0
    dynamic_guidance: bool = False
    given: InputSettings | None = None

    @property
    def row_forwards(self) -> int:
        """Its cost: two a step for each image, one where omega is 0; image-to-image leaves out the steps before its start."""
        given = self.given
        steps = self.steps if given is None or given.control else int(self.steps * given.strength)
        return steps * len(self.seeds) * sum(2 if column.omega else 1 for column in self.columns)

    @property
    def rows(self) -> int:
        """Rows of its largest forward, if memory allows: the columns of one omega go together."""
        omegas = [column.omega for column in self.columns]
        return 2 * len(self.seeds) * max(omegas.count(omega) for omega in omegas)


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
    """A step is done; `images` are rough pictures of the columns in `columns`, seed by seed."""

    step: int
    steps: int
    columns: tuple[int, ...]
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


def describe_settings(settings: dict[str, Any]) -> str:
    """Settings as a person reads them, and as they can be pasted elsewhere."""
    return json.dumps(settings, indent=2, ensure_ascii=False)
