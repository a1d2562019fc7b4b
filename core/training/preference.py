"""Learning from pairs of pictures: Diffusion-DPO for a positive offset, reversed for a negative one (core/method/dpo.py)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, join, take
from core.method.dpo import dpo_loss
from core.training.config import TrainConfig
from core.training.draws import chosen_rows, generator_of, on_device
from core.training.material import Material
from core.training.objective import Predict, drop_captions, levels_between, loss_of
from core.training.start_points import StartPoints


@dataclass(frozen=True)
class PairBatch:
    """Pairs at one noise level and one noise each: the rows to learn, then those to leave, and the reference's errors."""

    x_s: Tensor
    s: Tensor
    x_0: Tensor
    cond: Conditioning
    errors: Tensor


@dataclass(frozen=True)
class FromPairs:
    """Diffusion-DPO of one run, in `processes` processes. direction = negative learns what people rejected."""

    config: TrainConfig
    material: Material
    points: StartPoints
    processes: int = 1

    @torch.no_grad()
    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> PairBatch:
        """The batch of a step, `batch_size` pairs. Cost: two row-forwards a pair, the reference's errors."""
        config, random = self.config, generator_of(self.config.seed, step, rank)
        rows, schedule = config.batch_size, self.material.schedule
        chosen = chosen_rows(config, step * self.processes + rank, self.material.count, random)
        noise = torch.randn((rows, *self.material.shape), generator=random)
        uniform, dropout = torch.rand((2, rows), generator=random)
        assert self.points.x_0 is not None and self.points.rejected is not None
        preferred, rejected = self.points.x_0[chosen], self.points.rejected[chosen]
        both = (rejected, preferred) if config.direction == "negative" else (preferred, rejected)
        x_0, twice = on_device(torch.cat(both), device), on_device(torch.cat([noise, noise]), device)
        s = levels_between(torch.zeros(rows, dtype=torch.long), config, schedule.timesteps, uniform).clamp(min=0)
        s = on_device(torch.cat([s, s]), device)
        texts = chosen if self.points.rows is None else self.points.rows[chosen]
        cond = {name: on_device(tensor, device) for name, tensor in take(self.material.cond, texts).items()}
        cond = drop_captions(
            cond, self.material.without_prompt(cond), on_device(dropout < config.caption_dropout, device)
        )
        cond = join(cond, cond)
        x_s = schedule.noise(x_0, twice, s)
        errors = loss_of(config).each(reference(x_s, s, cond), x_0, x_s, s, schedule)
        return PairBatch(x_s, s, x_0, cond, errors)

    def loss(self, student: Predict, batch: PairBatch) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        output = student(batch.x_s, batch.s, batch.cond)
        errors = loss_of(self.config).each(output, batch.x_0, batch.x_s, batch.s, self.material.schedule)
        (learn, leave), (learn_before, leave_before) = errors.chunk(2), batch.errors.chunk(2)
        return dpo_loss(learn, leave, learn_before, leave_before, self.config.beta_dpo)
