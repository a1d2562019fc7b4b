"""The model families the studio knows. Adding one is a file here and a line in `CARDS`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.families.libraries import load_libraries

if TYPE_CHECKING:
    from core.families.base import FamilySpec


@dataclass(frozen=True)
class Card:
    """What can be told of a family before its libraries are imported; its file in this folder has the same name."""

    name: str
    title: str
    pipeline: str
    samplers: tuple[str, ...]
    video: bool = False


_UNET = ("dpmsolver++", "ddim", "euler", "unipc")
CARDS = {
    card.name: card
    for card in (
        Card("sd15", "Stable Diffusion 1.5", "StableDiffusionPipeline", _UNET),
        Card("sdxl", "Stable Diffusion XL", "StableDiffusionXLPipeline", _UNET),
        Card("cogvideox", "CogVideoX", "CogVideoXPipeline", ("ddim", "dpm"), video=True),
        Card("sd3", "Stable Diffusion 3", "StableDiffusion3Pipeline", ("flow-euler",)),
    )
}

NAMES = tuple(CARDS)


def get(name: str) -> FamilySpec:
    """The family of that name; its libraries are imported now.

    Raises:
        StudioError: there is no such family.
    """
    if name not in CARDS:
        raise StudioError(f"There is no model family “{name[:40]}”.", f"This studio knows {', '.join(NAMES)}.")
    load_libraries()
    return import_module(f"core.families.{name}").SPEC


def detect(folder: Path) -> str:
    """Name of the family of a diffusers folder, from its `model_index.json`. Imports nothing heavy.

    Raises:
        StudioError: no model folder, or of a family this studio does not know.
    """
    try:
        kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"“{folder.name}” is not a model folder: it has no readable model_index.json.",
            "Choose a folder in the diffusers layout.",
        ) from error
    for card in CARDS.values():
        if card.pipeline == kind:
            return card.name
    raise StudioError(
        f"“{folder.name}” is a {str(kind)[:60]}, which this studio does not know.",
        f"Choose a folder of {', '.join(card.pipeline for card in CARDS.values())}.",
    )
