"""How trainings and renderings are made to fit a card: from the computed table of `assets.build.memory`. No torch at
import."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.studio.library.choose import family_of_base
from core.studio.workspace import ASSETS
from core.training.config import TrainConfig

RESERVE = 1.5 * 2**30
"""Bytes left free of a card: its context, the libraries' workspaces, the allocator's fragments, the display."""

SMALL = 2**29
"""Bytes of weights below which a model fits every card."""

SAME = (
    *("_class_name", "block_out_channels", "cross_attention_dim", "num_layers", "num_attention_heads"),
    *("sample_size", "sample_height", "sample_width", "sample_frames", "patch_size_t"),
)
"""What two denoisers of one architecture and one size have in common."""

PROFILES = {"8": "8 GB card", "12": "12 GB card", "24": "24 GB card", "machine": "this machine"}


@cache
def _table() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((ASSETS / "memory.json").read_text(encoding="utf-8"))
    return told


def _denoiser(folder: Path) -> tuple[Any, ...] | None:
    """What `SAME` says of a model folder's denoiser; None where it has none that can be read."""
    for part in ("unet", "transformer"):
        try:
            told = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
            return tuple(str(told.get(key)) for key in SAME)
        except (OSError, ValueError, AttributeError):
            continue
    return None


@cache
def _true_denoisers() -> dict[tuple[Any, ...] | None, str]:
    return {_denoiser(ASSETS / "configs" / row["model"]): row["model"] for row in _table()["rendering"]}


def architecture(base: Path) -> str:
    """Which true architecture a base has, of those in the table; empty for any other, as the miniatures."""
    if base.is_file():
        family = family_of_base(base)
        return family if family in _true_denoisers().values() else ""
    own = _denoiser(base)
    return _true_denoisers().get(own, "") if own else ""


def needed(base: Path, config: TrainConfig) -> int | None:
    """Bytes that a training takes at its peak, computed; None where the table does not hold these settings.

    Height, width and frames must be the model's own, and the rank no greater than the table's.
    """
    table = _table()
    own_size = not (config.height or config.width or config.frames)
    plain = config.weights == "lora" and config.reference == "frozen" and config.precision != "no"
    if not own_size or not plain or config.rank > table["rank"]:
        return None
    asked = (architecture(base), config.batch_size, config.gradient_checkpointing)
    rows = {(row["model"], row["batch_size"], row["gradient_checkpointing"]): row["bytes"] for row in table["rows"]}
    return rows.get(asked)


@dataclass(frozen=True)
class RenderingNeeds:
    """Bytes that rendering with a true architecture takes at one size, computed in half precision.

    Args:
        fixed: the weights of all parts; `largest`: of the largest, where parts take turns on the card.
        row: of each row of a forward.
        picture: decoding one picture or video; `tiled`: the same in tiles.
    """

    fixed: int
    largest: int
    row: int
    picture: int
    tiled: int

    def rows_within(self, room: int, most: int) -> int:
        """The rows of a forward that fit in `room` bytes: an even number from 2 to `most`."""
        return max(2, min(most, (room - int(RESERVE)) // self.row // 2 * 2))

    def in_tiles(self, room: int) -> bool:
        """Whether a picture must be decoded in tiles to fit in `room` bytes."""
        return self.picture + RESERVE > room

    def total(self, rows: int, *, in_turns: bool, in_tiles: bool) -> int:
        """The peak of a rendering."""
        held = self.largest if in_turns else self.fixed
        return held + max(rows * self.row, self.tiled if in_tiles else self.picture)


def rendering(base: Path, height: int | None, width: int | None, frames: int | None) -> RenderingNeeds | None:
    """What rendering takes at a size in pixels, None for the model's own; None where the architecture is not in the table.

    Activations grow in proportion to the latent's positions: attention is computed without its matrix.
    """
    told = {row["model"]: row for row in _table()["rendering"]}.get(architecture(base))
    if told is None:
        return None
    own_frames, own_height, own_width = told["latent"]
    asked = (frames and (frames - 1) // 4 + 1, height and height // 8, width and width // 8)
    share = 1.0
    for positions, own in zip(asked, (own_frames, own_height, own_width), strict=True):
        share *= (positions or own) / own
    sized = {part: int(told[part] * share) for part in ("row", "picture", "tiled")}
    return RenderingNeeds(fixed=told["fixed"], largest=told["largest"], **sized)


def card_room() -> int:
    """Bytes of the card that are free or that torch keeps for itself."""
    import torch

    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def card_bytes() -> int:
    """Memory of this machine's first card.

    Raises:
        StudioError: it has none.
    """
    import torch

    if not torch.cuda.is_available():
        raise StudioError("This machine has no card that torch can use.", "Leave the settings as the recipe has them.")
    return int(torch.cuda.get_device_properties(0).total_memory)


def profile(base: Path, name: str) -> dict[str, Any]:
    """The settings with which a LoRA training of a true architecture fits: the largest batch, and gradient
    checkpointing only where that batch needs it. Empty for models that fit every card, as the miniatures.

    Args:
        name: of `PROFILES`.

    Raises:
        StudioError: no such profile, no card here, the model is not in the table, or it does not fit.
    """
    if name not in PROFILES:
        raise StudioError(f"There is no memory profile “{name[:40]}”.", f"Choose one of {', '.join(PROFILES)}.")
    model = architecture(base)
    room = card_bytes() if name == "machine" else int(name) * 2**30
    if not model:
        if base.is_dir() and sum(file.stat().st_size for file in base.rglob("*.safetensors")) < SMALL:
            return {}
        raise StudioError(
            f"What {base.name} takes in training is not known here: its architecture or size is not in the table.",
            "Choose precision bf16, gradient_checkpointing and a batch_size of 1, and raise the batch from there.",
        )
    fitting = [row for row in _table()["rows"] if row["model"] == model and row["bytes"] + RESERVE <= room]
    if not fitting:
        least = min(row["bytes"] for row in _table()["rows"] if row["model"] == model) + RESERVE
        raise StudioError(
            f"Training {base.name} takes {least / 2**30:.1f} GiB at least, more than {room / 2**30:.0f} GiB.",
            "Choose a larger card, or a smaller height, width or number of frames.",
        )
    best = max(fitting, key=lambda row: (row["batch_size"], not row["gradient_checkpointing"]))
    return {
        "weights": "lora",
        "reference": "frozen",
        "precision": _table()["precision"],
        "rank": _table()["rank"],
        "batch_size": best["batch_size"],
        "gradient_checkpointing": best["gradient_checkpointing"],
    }
