"""The bundled judge's score of a finished picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from core.errors import StudioError
from core.miniature.worlds import World
from core.studio.library.worlds import world_of_base
from core.studio.workspace import ASSETS, Workspace

if TYPE_CHECKING:
    from PIL import Image

Scorer = Callable[["Image.Image", str], float | None]
"""(picture, prompt) -> preference, 0 to 1; None where the judge does not know what is asked for."""


def scorer_of(workspace: Workspace, base: str) -> Scorer:
    """The judge of the world that a base draws; a scorer that says None where it draws none. Torch is imported at the first score."""
    world = world_of_base(workspace, base)
    return partial(score, world) if world else lambda image, prompt: None


def score(world: World, image: Image.Image, prompt: Any) -> float | None:
    """Preference of a world's judge for a picture of it, 0 to 1, in thousandths."""
    import numpy as np
    import torch

    try:
        asked = world.parse(str(prompt))
    except StudioError:
        return None
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0)[None].float() / 127.5 - 1
    return round(float(world.judge(ASSETS).score(pixels, [asked]).preference), 3)
