"""One step of truncated diffusion fine-tuning: which rows, which noise, and the loss. Random numbers in, loss out.

Every random number of step n on process r comes from one generator seeded by (seed, n, r), drawn on the CPU. So a
resumed run repeats the uninterrupted one exactly, with no random state to keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import Conditioning, join, take
from core.method.schedule import NoiseSchedule
from core.method.tdft import guided_denoiser, renoise, rollout, tdft_loss
from core.training.config import TrainConfig
from core.training.pool import Pool


def generator_of(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator of one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


@dataclass(frozen=True)
class Batch:
    """What the student learns in one step: its input x_s at level s, told `cond`, towards x0_hat."""

    x_s: Tensor
    s: Tensor
    x0_hat: Tensor
    cond: Conditioning


@dataclass(frozen=True)
class Objective:
    """Truncated diffusion fine-tuning of one run.

    Args:
        schedule: of the model, on the training device.
        grid: (ddim_grid,) timesteps, noisiest first.
        shape: of one latent.
        pool: start points.
        cond: conditioning of the pool's prompts, one row each.
        empty: conditioning of the empty prompt, one row.
    """

    config: TrainConfig
    schedule: NoiseSchedule
    grid: Tensor
    shape: tuple[int, ...]
    pool: Pool
    cond: Conditioning
    empty: Conditioning

    @torch.no_grad()
    def batch(
        self, reference: Callable[[Tensor, Tensor, Conditioning], Tensor], step: int, rank: int, device: torch.device
    ) -> Batch:
        """The batch of a step.

        Args:
            reference: (x_t, t, conditioning) -> output of the network that rolls out.

        Cost: rollout_steps + 1 row-forwards a sample, twice that where w mixes two predictions; none for trajectories.
        """
        config, random = self.config, generator_of(self.config.seed, step, rank)
        rows = config.batch_size
        chosen = torch.randint(len(next(iter(self.cond.values()))), (rows,), generator=random)
        noise = torch.randn((2, rows, *self.shape), generator=random).to(device)
        uniform = torch.rand((3, rows), generator=random)
        cond = {name: tensor.to(device) for name, tensor in take(self.cond, chosen).items()}
        none = {name: tensor.to(device).expand(rows, *tensor.shape[1:]) for name, tensor in self.empty.items()}

        last = len(self.grid) - 1
        if config.start == "noise":
            first = torch.zeros(rows, dtype=torch.long)
            taken = (uniform[0] * (config.rollout_steps + 1)).long()  # k <= K, each as likely
        else:
            first = (uniform[0] * len(self.grid)).long()
            taken = torch.full((rows,), config.rollout_steps)
        if config.start == "trajectory":
            assert self.pool.trajectory is not None and self.pool.estimates is not None
            t = self.grid[first].to(device)
            x_t = self.pool.trajectory[chosen, first].to(device)
            x0_hat = self.pool.estimates[chosen, first].to(device)
        else:
            steps = torch.minimum(torch.arange(config.rollout_steps + 1)[:, None], taken)
            levels = self.grid[(first + steps).clamp(max=last)].to(device)
            if config.start == "noise":
                x = noise[0]
            else:
                assert self.pool.x_0 is not None
                x = self.schedule.noise(self.pool.x_0[chosen].to(device), noise[0], levels[0])
            guided = guided_denoiser(reference, cond, none, config.rollout_guidance, join)
            end = rollout(guided, x, levels, self.schedule)
            x_t, t, x0_hat = end.x_t, end.t, end.x0_hat

        # s is uniform over the allowed levels above t; where none is allowed, the level t itself
        top = self.schedule.timesteps
        low = torch.maximum(t + 1, torch.full_like(t, round(config.s_min * top)))
        high = round(config.s_max * top) - 1
        s = low + (uniform[1].to(device) * (high + 1 - low).clamp(min=0)).long()
        s = torch.where(low > high, t, s).clamp(max=top - 1)
        x_s = renoise(x_t, t, s, noise[1], self.schedule)
        dropped = (uniform[2] < config.caption_dropout).to(device)
        told = {
            name: torch.where(dropped.reshape(-1, *(1,) * (tensor.ndim - 1)), none[name], tensor)
            for name, tensor in cond.items()
        }
        return Batch(x_s, s, x0_hat, told)

    def loss(self, student: Callable[[Tensor, Tensor, Conditioning], Tensor], batch: Batch) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""
        config = self.config
        return tdft_loss(
            student(batch.x_s, batch.s, batch.cond),
            batch.x0_hat,
            batch.x_s,
            batch.s,
            self.schedule,
            kind=config.loss,  # type: ignore[arg-type]
            target=config.loss_on,  # type: ignore[arg-type]
            huber_c=config.huber_c,
            min_snr_gamma=config.min_snr_gamma or None,
        )
