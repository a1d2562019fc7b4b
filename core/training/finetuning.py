"""Plain fine-tuning: noise prediction on pictures, or on own samples drawn with a flaw and learned without its words.

What one does not want makes a negative offset, what one wants a positive one. Denoising loss: Ho et al. 2020, eq. 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, take
from core.training.config import TrainConfig
from core.training.draws import chosen_rows, generator_of
from core.training.material import Material
from core.training.objective import Predict, drop_captions, levels_between, loss_of
from core.training.start_points import StartPoints


@dataclass(frozen=True)
class Noised:
    """Rows to learn: noised to x_s at level s, told `cond`, towards x_0."""

    x_s: Tensor
    s: Tensor
    x_0: Tensor
    cond: Conditioning


@dataclass(frozen=True)
class FineTuning:
    """Fine-tuning of one run, in `processes` processes."""

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int = 1

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Noised:
        """The batch of a step. Cost: no row-forwards; the reference is not asked."""
        config, random = self.config, generator_of(self.config.seed, step, rank)
        rows, schedule = config.batch_size, self.material.schedule
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise = torch.randn((rows, *self.material.shape), generator=random)
        uniform, dropout = torch.rand((2, rows), generator=random)
        x_0 = self.points.drawn(chosen, random).to(device)
        s = levels_between(torch.zeros(rows, dtype=torch.long), config, schedule.timesteps, uniform).clamp(min=0)
        cond = {name: tensor.to(device) for name, tensor in take(self.material.cond, chosen).items()}
        dropped = (dropout < config.caption_dropout).to(device)
        conditioning = drop_captions(cond, self.material.without_prompt(cond), dropped)
        return Noised(schedule.noise(x_0, noise.to(device), s.to(device)), s.to(device), x_0, conditioning)

    def loss(self, student: Predict, batch: Noised) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        return loss_of(self.config)(output, batch.x_0, batch.x_s, batch.s, self.material.schedule)


@dataclass(frozen=True)
class Distillation:
    """A negative prompt n becomes an offset: the student with the empty prompt learns the base's prediction with n, so that

        eps[theta + delta](x_s, s, empty) = eps[theta](x_s, s, n)

    on noised own samples. Guidance with the offset then steers away from n without its words.
    """

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int = 1

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Noised:
        """The batch of a step. Cost: one row-forward a sample, the base's with the negative prompt."""
        config, random = self.config, generator_of(self.config.seed, step, rank)
        rows, schedule = config.batch_size, self.material.schedule
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise = torch.randn((rows, *self.material.shape), generator=random)
        (uniform,) = torch.rand((1, rows), generator=random)
        s = levels_between(torch.zeros(rows, dtype=torch.long), config, schedule.timesteps, uniform).clamp(min=0)
        x_s = schedule.noise(self.points.drawn(chosen, random).to(device), noise.to(device), s.to(device))
        assert self.material.flawed is not None
        flaw = {name: tensor.to(device) for name, tensor in take(self.material.flawed, chosen).items()}
        x0_hat = schedule.x0(reference(x_s, s.to(device), flaw), x_s, s.to(device))
        return Noised(x_s, s.to(device), x0_hat, self.material.without_prompt(flaw))

    def loss(self, student: Predict, batch: Noised) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        return loss_of(self.config)(output, batch.x_0, batch.x_s, batch.s, self.material.schedule)
