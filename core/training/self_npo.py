"""Self-NPO's step, truncated diffusion fine-tuning: which rows, which noise, and the loss (arXiv 2505.11777, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, join, take
from core.method.tdft import guided_denoiser, renoise, rollout
from core.training.config import TrainConfig
from core.training.material import Material
from core.training.objective import Predict, drop_captions, generator_of, levels_between, loss_of
from core.training.start_points import StartPoints


@dataclass(frozen=True)
class Batch:
    """What the student learns in one step: at its input x_s, level s and conditioning, towards x0_hat."""

    x_s: Tensor
    s: Tensor
    x0_hat: Tensor
    cond: Conditioning


@dataclass(frozen=True)
class SelfNpo:
    """Truncated diffusion fine-tuning of one run."""

    config: TrainConfig
    material: Material
    points: StartPoints

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Batch:
        """The batch of a step.

        Cost: rollout_steps + 1 row-forwards a sample, twice that where w mixes two predictions; none for trajectories.
        """
        config, random, schedule = self.config, generator_of(self.config.seed, step, rank), self.material.schedule
        rows = config.batch_size
        chosen = torch.randint(self.material.count, (rows,), generator=random)
        noise = torch.randn((2, rows, *self.material.shape), generator=random).to(device)
        uniform = torch.rand((3, rows), generator=random)
        cond = {name: tensor.to(device) for name, tensor in take(self.material.cond, chosen).items()}
        empty = {
            name: tensor.to(device).expand(rows, *tensor.shape[1:]) for name, tensor in self.material.empty.items()
        }

        x_t, t, x0_hat = self._rolled_out(reference, chosen, cond, empty, noise[0], uniform[0], device)
        # s is uniform over the allowed levels above t; where none is allowed, the level t itself
        s = levels_between(t + 1, config, schedule.timesteps, uniform[1].to(device))
        dropped = (uniform[2] < config.caption_dropout).to(device)
        return Batch(renoise(x_t, t, s, noise[1], schedule), s, x0_hat, drop_captions(cond, empty, dropped))

    def _rolled_out(
        self,
        reference: Predict,
        chosen: Tensor,
        cond: Conditioning,
        empty: Conditioning,
        noise: Tensor,
        uniform: Tensor,
        device: torch.device,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, t, x0_hat) at the end of the rollouts."""
        config, grid, rows = self.config, self.material.grid, len(chosen)
        if config.start == "noise":
            first = torch.zeros(rows, dtype=torch.long)
            taken = (uniform * (config.rollout_steps + 1)).long()  # k <= K, each as likely
        else:
            first = (uniform * len(grid)).long()
            taken = torch.full((rows,), config.rollout_steps)
        if config.start == "trajectory":
            assert self.points.trajectory is not None and self.points.estimates is not None
            x_t, x0_hat = (part[chosen, first].to(device) for part in (self.points.trajectory, self.points.estimates))
            return x_t, grid[first].to(device), x0_hat
        steps = torch.minimum(torch.arange(config.rollout_steps + 1)[:, None], taken)
        levels = grid[(first + steps).clamp(max=len(grid) - 1)].to(device)
        if config.start == "noise":
            x = noise
        else:
            assert self.points.x_0 is not None
            x = self.material.schedule.noise(self.points.x_0[chosen].to(device), noise, levels[0])
        guided = guided_denoiser(reference, cond, empty, config.rollout_guidance, join)
        end = rollout(guided, x, levels, self.material.schedule)
        return end.x_t, end.t, end.x0_hat

    def loss(self, student: Predict, batch: Batch) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        return loss_of(self.config)(output, batch.x0_hat, batch.x_s, batch.s, self.material.schedule)
