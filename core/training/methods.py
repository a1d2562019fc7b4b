"""The ways to train an offset, by the name of their setting."""

from __future__ import annotations

from collections.abc import Callable

from core.training.config import TrainConfig
from core.training.finetuning import Distillation, FineTuning
from core.training.material import Material
from core.training.objective import Objective
from core.training.preference import FromPairs
from core.training.self_npo import SelfNpo
from core.training.start_points import StartPoints

METHODS: dict[str, Callable[[TrainConfig, Material, StartPoints, int], Objective]] = {
    "self-npo": SelfNpo,
    "fine-tuning": FineTuning,
    "distillation": Distillation,
    "pairs": FromPairs,
    "ranking": FromPairs,
}


def objective_of(config: TrainConfig, material: Material, points: StartPoints, processes: int) -> Objective:
    """The objective that the settings name."""
    return METHODS[config.method](config, material.at_crops(points.crops), points, processes)
