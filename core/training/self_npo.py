"""Self-NPO's step, truncated diffusion fine-tuning: which rows, which noise, and the loss (arXiv 2505.11777, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, join, take
from core.method.tdft import guided_denoiser, renoise, rollout
from core.training.config import TrainConfig
from core.training.draws import chosen_rows, generator_of, on_device
from core.training.material import Material
from core.training.objective import Predict, drop_captions, levels_between, loss_of
from core.training.start_points import StartPoints


@dataclass(frozen=True)
class Batch:
    """What the student learns in one step: at its input x_s, level s and conditioning, towards x0_hat."""

    x_s: Tensor
    s: Tensor
    x0_hat: Tensor
    cond: Conditioning


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step of one process, on the CPU; `uniform` ones lie in [0, 1).

    Args:
        chosen: (batch,) which start points.
        noise: (batch, *latent) of the start, and `renoise` of the way up to s.
        first, s, dropout: (batch,) uniform: where on the grid, which level s, whether without its prompt.
        latent: (batch, *latent) of the encoder's distribution; None where latents are not drawn from it.
    """

    chosen: Tensor
    noise: Tensor
    renoise: Tensor
    first: Tensor
    s: Tensor
    dropout: Tensor
    latent: Tensor | None


@dataclass(frozen=True)
class SelfNpo:
    """Truncated diffusion fine-tuning of one run, in `processes` processes."""

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int = 1

    def draws(self, step: int, rank: int) -> Draws:
        """The random numbers of a step."""
        config, random, rows = self.config, generator_of(self.config.seed, step, rank), self.config.batch_size
        shape = (rows, *self.material.shape)
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise, renoise = torch.randn((2, *shape), generator=random)
        first, s, dropout = torch.rand((3, rows), generator=random)
        latent = torch.randn(shape, generator=random) if config.latents == "sample" else None
        return Draws(chosen, noise, renoise, first, s, dropout, latent)

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Batch:
        """The batch of a step.

        Cost: rollout_steps + 1 row-forwards a sample, twice that where w mixes two predictions; none for trajectories.
        """
        config, schedule, drawn = self.config, self.material.schedule, self.draws(step, rank)
        cond = {name: on_device(tensor, device) for name, tensor in take(self.material.cond, drawn.chosen).items()}
        empty = self.material.without_prompt(cond)
        x_t, t, x0_hat = self._rolled_out(reference, drawn, cond, empty, device)
        # s is uniform over the allowed levels above t; where none is allowed, the level t itself
        s = levels_between(t + 1, config, schedule.timesteps, on_device(drawn.s, device))
        dropped = on_device(drawn.dropout < config.caption_dropout, device)
        x_s = renoise(x_t, t, s, on_device(drawn.renoise, device), schedule)
        return Batch(x_s, s, x0_hat, drop_captions(cond, empty, dropped))

    def _rolled_out(
        self, reference: Predict, drawn: Draws, cond: Conditioning, empty: Conditioning, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, t, x0_hat) at the end of the rollouts."""
        config, grid, chosen = self.config, self.material.grid, drawn.chosen
        if config.start == "noise":
            first = torch.zeros(len(chosen), dtype=torch.long)
            taken = (drawn.first * (config.rollout_steps + 1)).long()  # k <= K, each as likely
        else:
            first = (drawn.first * len(grid)).long()
            taken = torch.full((len(chosen),), config.rollout_steps)
        if config.start == "trajectory":
            assert self.points.trajectory is not None and self.points.estimates is not None
            x_t, x0_hat = (
                on_device(part[chosen, first], device) for part in (self.points.trajectory, self.points.estimates)
            )
            return x_t, on_device(grid[first], device), x0_hat
        if config.rollout_end == "zero":
            grid = torch.cat([grid, torch.zeros(1, dtype=torch.long)])
        steps = torch.minimum(torch.arange(config.rollout_steps + 1)[:, None], taken)
        levels = on_device(grid[(first + steps).clamp(max=len(grid) - 1)], device)
        x = on_device(drawn.noise, device)
        if config.start != "noise":
            x = self.material.schedule.noise(on_device(self._x_0(drawn), device), x, levels[0])
        guided = guided_denoiser(reference, cond, empty, config.rollout_guidance, join)
        end = rollout(guided, x, levels, self.material.schedule)
        return end.x_t, end.t, end.x0_hat

    def _x_0(self, drawn: Draws) -> Tensor:
        """The chosen start points, drawn from the encoder's distribution where the settings ask for it."""
        assert self.points.x_0 is not None
        x_0 = self.points.x_0[drawn.chosen]
        if self.points.spread is None or drawn.latent is None:
            return x_0
        return x_0 + self.points.spread[drawn.chosen] * drawn.latent

    def loss(self, student: Predict, batch: Batch) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        return loss_of(self.config)(output, batch.x0_hat, batch.x_s, batch.s, self.material.schedule)
