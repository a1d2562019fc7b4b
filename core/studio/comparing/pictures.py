"""What a rendering leaves behind: a picture or a video with the settings that made it. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import __version__
from core.generation.comparison import Comparison
from core.generation.media import contact_sheet, save_mp4, save_png
from core.studio.comparing.events import Saved

if TYPE_CHECKING:
    from core.families.base import FamilyDefaults, FamilySpec
    from core.generation.watch import RenderedImage


def facts_of(
    image: RenderedImage,
    comparison: Comparison,
    family: FamilySpec,
    standard: FamilyDefaults,
    inversions: Mapping[str, Path],
) -> dict[str, Any]:
    """What a file says of how it was made: the settings that took part, and what follows from them."""
    scheduler = comparison.scheduler or standard.scheduler
    facts = comparison.facts(image.column, image.seed, video=bool(standard.fps))
    facts |= {
        "model": facts.pop("base"),
        "scheduler": scheduler,
        "sampler": family.samplers[scheduler][1],
        "guidance_scale": image.weights.guidance_scale,
        "size": f"{image.image.width}x{image.image.height}",
        "version": f"self-npo-studio {__version__}",
    }
    if inversions:
        names = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in inversions.items()}
        facts["textual_inversions"] = ", ".join(f"{name}: {digest}" for name, digest in names.items())
    if comparison.image is not None:
        pixels = comparison.image.convert("RGB")  # a hash of the input picture, not the picture
        facts["input_sha256"] = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()
        if not comparison.control:
            facts["inpainted"] = comparison.mask is not None
    if standard.fps:
        facts |= {"frames": len(image.frames), "fps": comparison.fps or standard.fps}
    return facts


def save(image: RenderedImage, facts: dict[str, Any], stem: Path) -> Saved:
    """Keeps a picture, or a video with its contact sheet, as `<stem>-<column>-<seed>`.

    Raises:
        StudioError: the disk refuses.
    """
    picture = stem.with_name(f"{stem.name}-{image.column}-{image.seed}.png")
    if "fps" not in facts:
        save_png(image.image, picture, facts)
        return Saved(image.column, image.seed, picture, facts, picture)
    save_png(contact_sheet(image.frames), picture, facts)
    save_mp4(image.frames, picture.with_suffix(".mp4"), facts, fps=facts["fps"])
    return Saved(image.column, image.seed, picture.with_suffix(".mp4"), facts, picture)
