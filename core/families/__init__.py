"""The model families the studio knows. Adding one is a file here and a line in `CARDS`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.families.libraries import load_libraries
from core.files import read_json

if TYPE_CHECKING:
    from core.families.base import FamilySpec


@dataclass(frozen=True)
class Card:
    """What is known of a family before its libraries are imported; its file in this folder has the same name."""

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
        raise StudioError(
            "There is no model family “{name}”.",
            "This studio supports {NAMES}.",
            name=name[:40],
            NAMES=", ".join(NAMES),
        )
    load_libraries()
    return import_module(f"core.families.{name}").SPEC


def detect(folder: Path) -> str:
    """Name of the family of a diffusers folder, from its `model_index.json`. Imports nothing heavy.

    Raises:
        StudioError: no model folder, or of a family this studio does not know.
    """
    try:
        kind = read_json(folder / "model_index.json", dict)["_class_name"]
    except (StudioError, KeyError) as error:
        raise StudioError(
            "“{name}” is not a model folder: it has no readable model_index.json.",
            "Choose a folder in the diffusers layout.",
            name=folder.name,
        ) from error
    for card in CARDS.values():
        if card.pipeline == kind:
            return card.name
    raise StudioError(
        "“{name}” is a {kind}, which this studio does not support.",
        "Choose a folder of one of these: {values}.",
        name=folder.name,
        kind=str(kind)[:60],
        values=", ".join(card.pipeline for card in CARDS.values()),
    )
