"""Learning from a scorer's gradient: sampling from noise, decoded and scored; see core/method/reward.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import StudioError
from core.families.base import Conditioning, FamilySpec, join, take
from core.method.reward import reward_loss, truncated_sample
from core.method.tdft import guided_denoiser
from core.training.config import TrainConfig
from core.training.draws import chosen_rows, generator_of
from core.training.material import Material
from core.training.objective import Predict
from core.training.start_points import StartPoints

Reward = Callable[[Tensor, Sequence[str]], Tensor]
"""(images (batch, 3, height, width) in [-1, 1], their prompts) -> (batch,) rewards with a gradient, higher is better."""
Rewarded = Callable[[Tensor, Sequence[str]], Tensor]
"""The same of latents: decoded, and of a video the mean over its frames."""


def of_latents(reward: Reward, pipe: Any, family: FamilySpec) -> Rewarded:
    """A reward of latents. The VAE takes no gradient of its own."""
    pipe.vae.requires_grad_(False)

    def rewarded(latents: Tensor, texts: Sequence[str]) -> Tensor:
        images = family.decode_latents(pipe, latents).float()
        if images.ndim == 4:
            return reward(images.clamp(-1, 1), texts)
        frames = images.shape[1]
        each = reward(images.flatten(0, 1).clamp(-1, 1), [text for text in texts for _ in range(frames)])
        return each.reshape(-1, frames).mean(1)

    return rewarded


@dataclass(frozen=True)
class Starts:
    """Noise to sample from, with its prompts."""

    noise: Tensor
    cond: Conditioning
    texts: list[str]


@dataclass(frozen=True)
class FromReward:
    """The gradient of a reward, of one run in `processes` processes. direction = negative lowers it."""

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int
    reward: Rewarded

    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Starts:
        """The batch of a step. Cost: no row-forwards; the reference is not asked."""
        config, random = self.config, generator_of(self.config.seed, step, rank)
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise = torch.randn((config.batch_size, *self.material.shape), generator=random).to(device)
        cond = {name: tensor.to(device) for name, tensor in take(self.material.cond, chosen).items()}
        return Starts(noise, cond, [self.material.texts[row] for row in chosen.tolist()])

    def loss(self, student: Predict, batch: Starts) -> Tensor:
        """The loss on a batch, a scalar with its gradient.

        Raises:
            StudioError: the scorer has no gradient, or scores all of the batch the same, as one does that is saturated.
        """
        material, config = self.material, self.config
        empty = material.without_prompt(batch.cond)
        predict = guided_denoiser(student, batch.cond, empty, config.pool_omega, join)
        grid = material.grid.to(batch.noise.device)
        latents = truncated_sample(predict, batch.noise, grid, material.schedule, config.gradient_steps)
        rewards = self.reward(latents.float(), batch.texts)
        if not rewards.requires_grad:
            raise StudioError("This scorer has no gradient.", "Choose judge-preference, or rank samples by it instead.")
        if len(rewards) > 1 and bool((rewards == rewards[0]).all()):
            raise StudioError(
                "The scorer gave all samples of a step the same score; there is nothing to learn from.",
                "Choose another scorer.",
            )
        return reward_loss(rewards, config.direction)
