"""The ways to train an offset, by the name of their setting."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import StudioError
from core.training.config import TrainConfig
from core.training.finetuning import Distillation, FineTuning
from core.training.material import Material
from core.training.objective import Objective
from core.training.preference import FromPairs
from core.training.reward import FromReward, Rewarded
from core.training.self_npo import SelfNpo
from core.training.start_points import StartPoints

METHODS: dict[str, Callable[..., Objective]] = {
    "self-npo": SelfNpo,
    "fine-tuning": FineTuning,
    "distillation": Distillation,
    "pairs": FromPairs,
    "ranking": FromPairs,
    "reward": FromReward,
}
"""Each is made of (settings, material, start points, processes), and that of a reward of the reward, too."""


def objective_of(
    config: TrainConfig, material: Material, points: StartPoints, processes: int, reward: Rewarded | None = None
) -> Objective:
    """The objective that the settings name.

    Args:
        reward: of latents, for method = reward.

    Raises:
        StudioError: method = reward without one.
    """
    if config.method == "reward" and reward is None:
        raise StudioError(
            "method = {method} needs a scorer.", "Choose one, judge-preference for instance.", method=config.method
        )
    further = (reward,) if config.method == "reward" else ()
    return METHODS[config.method](config, material.at_crops(points.crops), points, processes, *further)
