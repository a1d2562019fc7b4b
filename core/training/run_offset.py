"""The offset of a run as a file: what was trained so far, with its provenance."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import StudioError
from core.method.dose import Dose
from core.offsets.writing import save_offset
from core.training.config import PATHS, TrainConfig
from core.training.student import Student

OFFSET = "offset.safetensors"
OFFSETS = "offsets"
"""Folder of a run: the offset as it was at each checkpoint, of LoRA training. Small, and never thinned out."""


class RunOffset:
    """Writes a run's offset.

    Args:
        folder: the run folder.
        family: name of the model family.
        base: fingerprint of the base's denoiser.
    """

    def __init__(self, folder: Path, config: TrainConfig, family: str, base: str, student: Student) -> None:
        self.folder, self.config, self.family, self.base, self.student = folder, config, family, base, student

    def write(self, step: int, name: str = OFFSET, dose: Dose | None = None) -> float:
        """Writes the offset after `step` steps; returns the share of the trained change that it captures, 0 to 1.

        Args:
            dose: how strong it is, where that was measured.

        Raises:
            StudioError: a weight is NaN or infinite, or the disk refuses. A file of that name stays as it was.
        """
        if not self.student.is_finite():
            raise not_finite("weights", step)
        low_rank = self.student.low_rank()
        share = self.student.captured_share(low_rank)
        settings = {key: value for key, value in self.config.to_dict().items() if key not in ("base", *PATHS)}
        provenance = {
            "base": Path(self.config.base).name,
            "base_fingerprint": self.base,
            "recipe": self.config.recipe,
            "steps": str(step),
            "seed": str(self.config.seed),
            "rank": str(self.config.rank),
            "weights": self.config.weights,
            "captured": f"{share:.4f}",
            "method": self.config.method,
            "direction": self.config.direction,
            "settings": json.dumps(settings),
            **(dose.facts() if dose else {}),
        }
        (self.folder / name).parent.mkdir(exist_ok=True)
        save_offset(self.folder / name, low_rank, family=self.family, provenance=provenance)
        return share

    def write_of_step(self, step: int) -> None:
        """Keeps the offset of a checkpoint next to it, where it is not kept yet; of LoRA training alone."""
        name = f"{OFFSETS}/step-{step}.safetensors"
        if step and self.config.weights == "lora" and not (self.folder / name).exists():
            self.write(step, name)


def not_finite(what: str, step: int) -> StudioError:
    """What to say when a number of training is none."""
    return StudioError(
        "The {what} became NaN or infinite at step {step}; earlier checkpoints are unchanged.",
        "Lower the learning rate or choose precision no, and start a new run.",
        what=what,
        step=step,
    )
