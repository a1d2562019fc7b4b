"""The bundled judge's score of a finished picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import StudioError
from core.studio.workspace import ASSETS

if TYPE_CHECKING:
    from core.miniature.judge import Judge

Scorer = Callable[[Path, str], float | None]
"""(PNG file, prompt) -> preference, 0 to 1; None where the judge does not know what is asked for."""


@lru_cache(maxsize=1)
def _judge() -> Judge:
    from core.miniature.judge import Judge

    return Judge.load(ASSETS / "judge")


def applies(base: str) -> bool:
    """Whether the judge knows pictures of this base: those of the bundled models of shapes."""
    return base.startswith("miniature-sd")


def scorer_of(base: str) -> Scorer:
    """The judge for pictures of a base; a scorer that says None where it does not apply. Torch is imported at the first score."""
    return score if applies(base) else lambda file, prompt: None


def score(file: Path, prompt: Any) -> float | None:
    """Preference of the bundled judge for a picture of its world, 0 to 1, in thousandths.

    Raises:
        StudioError: the file is not a picture.
    """
    import numpy as np
    import torch

    from core.generation.media import open_picture
    from core.miniature.world.scene import parse

    try:
        asked = parse(str(prompt))
    except StudioError:
        return None
    pixels = torch.from_numpy(np.array(open_picture(file).convert("RGB"))).movedim(-1, 0)[None].float() / 127.5 - 1
    return round(float(_judge().score(pixels, [asked]).preference), 3)
