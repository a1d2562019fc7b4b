"""Plain fine-tuning: noise prediction on pictures, or on own samples drawn with a flaw and learned without its words.

What one does not want makes a negative offset, what one wants a positive one. Denoising loss: Ho et al. 2020, eq. 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, take
from core.training.config import TrainConfig
from core.training.draws import chosen_rows, generator_of, on_device
from core.training.material import Material
from core.training.objective import Predict, drop_captions, levels_between, loss_of
from core.training.start_points import StartPoints


@dataclass(frozen=True)
class Noised:
    """Rows to learn: noised to x_s at level s, conditioned on `cond`, towards x_0."""

    x_s: Tensor
    s: Tensor
    x_0: Tensor
    cond: Conditioning


@dataclass(frozen=True)
class Drawn:
    """What a batch is drawn from: the chosen rows, their start points noised to x_s at level s, and further uniform draws."""

    chosen: Tensor
    x_0: Tensor
    x_s: Tensor
    s: Tensor
    uniform: Tensor


@dataclass(frozen=True)
class OnNoisedPoints:
    """An objective of one run on its noised start points, in `processes` processes."""

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int = 1

    def _draw(self, step: int, rank: int, device: torch.device, uniforms: int) -> Drawn:
        config, random = self.config, generator_of(self.config.seed, step, rank)
        rows, schedule = config.batch_size, self.material.schedule
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise = torch.randn((rows, *self.material.shape), generator=random)
        levels, *others = torch.rand((1 + uniforms, rows), generator=random)
        x_0 = on_device(self.points.drawn(chosen, random), device)
        s = levels_between(torch.zeros(rows, dtype=torch.long), config, schedule.timesteps, levels).clamp(min=0)
        x_s = schedule.noise(x_0, on_device(noise, device), on_device(s, device))
        return Drawn(
            chosen, x_0, x_s, on_device(s, device), torch.stack(others) if others else levels.new_empty(0, rows)
        )

    def loss(self, student: Predict, batch: Noised) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        return loss_of(self.config)(output, batch.x_0, batch.x_s, batch.s, self.material.schedule)


class FineTuning(OnNoisedPoints):
    """The student learns to predict the start points themselves."""

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Noised:
        """The batch of a step. Cost: no row-forwards; the reference is not asked."""
        drawn = self._draw(step, rank, device, uniforms=1)
        cond = {name: on_device(tensor, device) for name, tensor in take(self.material.cond, drawn.chosen).items()}
        dropped = on_device(drawn.uniform[0] < self.config.caption_dropout, device)
        conditioning = drop_captions(cond, self.material.without_prompt(cond), dropped)
        return Noised(drawn.x_s, drawn.s, drawn.x_0, conditioning)


class Distillation(OnNoisedPoints):
    """A negative prompt n becomes an offset: the student with the empty prompt learns the base's prediction with n, so that

        eps[theta + delta](x_s, s, empty) = eps[theta](x_s, s, n)

    on noised own samples. Guidance with the offset then steers away from n without its words.
    """

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Noised:
        """The batch of a step. Cost: one row-forward a sample, the base's with the negative prompt."""
        drawn = self._draw(step, rank, device, uniforms=0)
        assert self.material.flawed is not None
        flaw = {name: on_device(tensor, device) for name, tensor in take(self.material.flawed, drawn.chosen).items()}
        x0_hat = self.material.schedule.x0(reference(drawn.x_s, drawn.s, flaw), drawn.x_s, drawn.s)
        return Noised(drawn.x_s, drawn.s, x0_hat, self.material.without_prompt(flaw))
