"""Truncated diffusion fine-tuning (TDFT): how Self-NPO makes a worse model out of the model alone.

1. `rollout`  from a start point, k <= K DDIM steps of the reference down to x_t, and its Tweedie estimate there.
2. `renoise`  x_t forward to a random s > t. Never the estimate itself: x_s must keep the diffusion marginal.
3. `Loss`     the student at (x_s, s, c) towards the reference's estimate.

Self-NPO, arXiv 2505.11777, section 3.2. Full simulation, the paper's dearer baseline, is K = the whole grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.method.schedule import NoiseSchedule

Denoiser = Callable[[Tensor, Tensor, Any], Tensor]
"""(x_t: (batch, ...), t: (batch,), conditioning) -> network output, the shape of x_t."""

LossKind = Literal["mse", "pseudo_huber"]
LossSpace = Literal["x0", "epsilon", "v"]


@dataclass(frozen=True)
class Rollout:
    """Where a rollout ended.

    Args:
        x_t: (batch, ...) latents at the end.
        t: (batch,) timesteps of x_t.
        x0_hat: (batch, ...) the reference's Tweedie estimate of x_0 given x_t.
    """

    x_t: Tensor
    t: Tensor
    x0_hat: Tensor


def guided_denoiser(
    denoiser: Denoiser, cond: Any, negative_cond: Any, guidance: float, join: Callable[[Any, Any], Any]
) -> Callable[[Tensor, Tensor], Tensor]:
    """The rollout's prediction: pred = cond + guidance * (cond - uncond), the `w` of the official rollout.

    guidance = -1 is exactly the unconditional prediction and 0 exactly the conditional one; then only that one
    is computed: one row-forward where others take two.

    Args:
        denoiser: the reference network.
        cond, negative_cond: conditioning of the prompt, and of the empty prompt.
        guidance: the official code's w; this studio's omega has the same meaning.
        join: joins two conditionings along the batch.
    """
    if guidance == -1.0:
        return lambda x_t, t: denoiser(x_t, t, negative_cond)
    if guidance == 0.0:
        return lambda x_t, t: denoiser(x_t, t, cond)
    both = join(negative_cond, cond)

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        negative, positive = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return positive + guidance * (positive - negative)

    return predict


@torch.no_grad()
def rollout(
    predict: Callable[[Tensor, Tensor], Tensor], x: Tensor, timesteps: Tensor, schedule: NoiseSchedule
) -> Rollout:
    """DDIM steps of the reference along `timesteps`, then its estimate of x_0 at the last of them.

    Args:
        predict: (x_t, t) -> network output, already guided.
        x: (batch, ...) start points at timesteps[0].
        timesteps: (steps + 1, batch) falling along the first axis; `steps` may be 0. Where a row repeats a
            timestep it stays put, so rows may take fewer steps than others.
    Cost: steps + 1 row-forwards a sample, twice that when `predict` guides.
    """
    for t, t_next in zip(timesteps[:-1], timesteps[1:], strict=True):
        x = schedule.ddim_step(predict(x, t), x, t, t_next)
    t = timesteps[-1]
    return Rollout(x, t, schedule.x0(predict(x, t), x, t))


def renoise(x_t: Tensor, t: Tensor, s: Tensor, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_s from x_t for s >= t, with the exact transition of the forward process (Self-NPO, eq. 9):

    x_s = (alpha_s / alpha_t) x_t + sqrt(sigma_s**2 - sigma_t**2 alpha_s**2 / alpha_t**2) noise

    Args:
        x_t, noise: (batch, ...).
        t, s: (batch,) timesteps with s >= t and alpha_t > 0.
    """
    alpha_t, sigma_t = schedule.at(t, x_t)
    alpha_s, sigma_s = schedule.at(s, x_t)
    ratio = alpha_s / alpha_t
    return ratio * x_t + (sigma_s**2 - (sigma_t * ratio) ** 2).clamp(min=0).sqrt() * noise


@dataclass(frozen=True)
class Loss:
    """Distance of a network's prediction at (x_s, s) from an estimate of x_0.

    The estimate is a constant here (stop-gradient). On epsilon and v the target is what the estimate implies at x_s, so
    the three differ in their weight over noise levels alone:
    epsilon = (alpha_s / sigma_s)**2 and v = 1 + (alpha_s / sigma_s)**2 times x_0, for squared errors.

    Args:
        kind: "mse", or "pseudo_huber": sqrt(d**2 + c**2) - c element by element, as the official code has it.
        on: the space in which the distance is taken.
        huber_c: c of pseudo-Huber, > 0; the official code has 0.001.
        min_snr_gamma: weights each sample by min(SNR, gamma) / SNR (Hang et al. 2023, in the form they give for
            epsilon); None is off.
    """

    kind: LossKind = "pseudo_huber"
    on: LossSpace = "x0"
    huber_c: float = 0.001
    min_snr_gamma: float | None = None

    def difference(self, output: Tensor, x_0: Tensor, x_s: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The prediction minus the target in the chosen space, the shape of x_s."""
        x_0 = x_0.detach()
        if self.on == "x0":
            return schedule.x0(output, x_s, s) - x_0
        noise = schedule.noise_between(x_0, x_s, s)
        if self.on == "epsilon":
            return schedule.epsilon(output, x_s, s) - noise
        return schedule.v(output, x_s, s) - schedule.velocity(x_0, noise, s)

    def each(self, output: Tensor, x_0: Tensor, x_s: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The distance of every sample: (batch,) float32.

        Args:
            output: (batch, ...) the network's output at (x_s, s).
            x_0: (batch, ...) the estimate.
            s: (batch,) timesteps.
        """
        difference = self.difference(output, x_0, x_s, s, schedule).float()
        if self.kind == "mse":
            distance = difference**2
        else:
            distance = torch.sqrt(difference**2 + self.huber_c**2) - self.huber_c
        per_sample = distance.flatten(1).mean(1)
        if self.min_snr_gamma is not None:
            snr = schedule.signal_to_noise(s).to(per_sample)
            per_sample = per_sample * (snr.clamp(max=self.min_snr_gamma) / snr)
        return per_sample

    def __call__(self, output: Tensor, x_0: Tensor, x_s: Tensor, s: Tensor, schedule: NoiseSchedule) -> Tensor:
        """The mean distance over the batch, a scalar."""
        return self.each(output, x_0, x_s, s, schedule).mean()
