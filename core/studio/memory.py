"""Which true architecture a base has, and the computed table of what it takes (`assets.build.memory`). No torch."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from core.studio.library.choose import family_of_base
from core.studio.workspace import ASSETS

RESERVE = 1.5 * 2**30
"""Bytes left free of a card: its context, the libraries' workspaces, the allocator's fragments, the display."""

SAME = (
    *("_class_name", "block_out_channels", "cross_attention_dim", "num_layers", "num_attention_heads"),
    *("sample_size", "sample_height", "sample_width", "sample_frames", "patch_size_t"),
)
"""What two denoisers of one architecture and one size have in common."""


@cache
def table() -> dict[str, Any]:
    """The computed table: `rows` of trainings, `rendering` of each architecture."""
    read: dict[str, Any] = json.loads((ASSETS / "memory.json").read_text(encoding="utf-8"))
    return read


def _denoiser(folder: Path) -> tuple[Any, ...] | None:
    """What `SAME` says of a model folder's denoiser; None where it has none that can be read."""
    for part in ("unet", "transformer"):
        try:
            config = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
            return tuple(str(config.get(key)) for key in SAME)
        except (OSError, ValueError, AttributeError):
            continue
    return None


@cache
def _true_denoisers() -> dict[tuple[Any, ...] | None, str]:
    return {_denoiser(ASSETS / "configs" / row["model"]): row["model"] for row in table()["rendering"]}


def architecture(base: Path) -> str:
    """Which true architecture a base has, of those in the table; empty for any other, as the miniatures."""
    if base.is_file():
        family = family_of_base(base)
        return family if family in _true_denoisers().values() else ""
    own = _denoiser(base)
    return _true_denoisers().get(own, "") if own else ""
