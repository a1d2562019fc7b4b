"""How trainings are made to fit a card: from the computed table of `assets.build.memory`. No torch at import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.studio.memory import RESERVE, architecture, table
from core.training.config import TrainConfig

SMALL = 2**29
"""Bytes of weights below which a model fits every card."""

PROFILES = {"8": "8 GB GPU", "12": "12 GB GPU", "24": "24 GB GPU", "machine": "this machine"}


def needed(base: Path, config: TrainConfig) -> int | None:
    """Bytes that a training takes at its peak, computed; None where the table does not hold these settings.

    Height, width and frames must be the model's own, and the rank no greater than the table's.
    """
    computed = table()
    own_size = not (config.height or config.width or config.frames)
    plain = config.weights == "lora" and config.reference == "frozen" and config.precision != "no"
    if not own_size or not plain or config.rank > computed["rank"]:
        return None
    asked = (architecture(base), config.batch_size, config.gradient_checkpointing)
    rows = {(row["model"], row["batch_size"], row["gradient_checkpointing"]): row["bytes"] for row in computed["rows"]}
    return rows.get(asked)


def card_bytes() -> int:
    """Memory of this machine's first card.

    Raises:
        StudioError: it has none.
    """
    import torch

    if not torch.cuda.is_available():
        raise StudioError("This machine has no GPU that torch can use.", "Keep the recipe's settings.")
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
        raise StudioError(
            "There is no memory profile “{name}”.",
            "Choose one of {PROFILES}.",
            name=name[:40],
            PROFILES=", ".join(PROFILES),
        )
    model = architecture(base)
    room = card_bytes() if name == "machine" else int(name) * 2**30
    if not model:
        if base.is_dir() and sum(file.stat().st_size for file in base.rglob("*.safetensors")) < SMALL:
            return {}
        raise StudioError(
            "The memory for training {name} is unknown: its architecture or size is not in the table.",
            "Choose precision bf16, gradient_checkpointing and a batch_size of 1, and raise the batch from there.",
            name=base.name,
        )
    fitting = [row for row in table()["rows"] if row["model"] == model and row["bytes"] + RESERVE <= room]
    if not fitting:
        least = min(row["bytes"] for row in table()["rows"] if row["model"] == model) + RESERVE
        raise StudioError(
            "Training {name} needs at least {least:.1f} GiB, more than {room:.0f} GiB.",
            "Use a larger GPU, or choose a smaller height, width or number of frames.",
            name=base.name,
            least=least / 2**30,
            room=room / 2**30,
        )
    best = max(fitting, key=lambda row: (row["batch_size"], not row["gradient_checkpointing"]))
    return {
        "weights": "lora",
        "reference": "frozen",
        "precision": table()["precision"],
        "rank": table()["rank"],
        "batch_size": best["batch_size"],
        "gradient_checkpointing": best["gradient_checkpointing"],
    }
