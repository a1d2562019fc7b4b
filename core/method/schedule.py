"""The noise schedule x_t = alpha_t * x_0 + sigma_t * epsilon, and the three ways a network may state its prediction.

    epsilon:  output = epsilon
    v:        output = alpha_t * epsilon - sigma_t * x_0            (Salimans and Ho 2022)
    flow:     output = epsilon - x_0  with alpha_t = 1 - sigma_t    (Lipman et al. 2023; Esser et al. 2024)

The first two are variance preserving: alpha_t**2 + sigma_t**2 = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from core.errors import StudioError


class Prediction(StrEnum):
    """What the network's output means."""

    EPSILON = "epsilon"
    V = "v_prediction"
    FLOW = "flow"


@dataclass(frozen=True)
class NoiseSchedule:
    """Signal and noise levels of every training timestep.

    Args:
        alpha_t: (timesteps,) float, signal level, 1 at no noise.
        sigma_t: (timesteps,) float, noise level.
        prediction: what the network's output means.
    """

    alpha_t: Tensor
    sigma_t: Tensor
    prediction: Prediction = Prediction.EPSILON

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> NoiseSchedule:
        """The schedule of a diffusers scheduler: by its `alphas_cumprod` (zero terminal SNR and SNR shift included), or
        the straight line of flow matching, whose network gets t = T sigma.

        Raises:
            StudioError: the scheduler has no such schedule, or predicts something unknown.
        """
        if type(scheduler).__name__.startswith("FlowMatch"):
            sigma = torch.arange(scheduler.config.num_train_timesteps) / scheduler.config.num_train_timesteps
            return cls(1 - sigma, sigma, Prediction.FLOW)
        kind = scheduler.config.get("prediction_type", "epsilon")
        if not hasattr(scheduler, "alphas_cumprod") or kind not in (Prediction.EPSILON, Prediction.V):
            raise StudioError(
                "The noise schedule of the scheduler {scheduler} with prediction type {kind} is not supported.",
                "Use a model that predicts epsilon or v.",
                scheduler=type(scheduler).__name__,
                kind=repr(kind),
            )
        signal_power = scheduler.alphas_cumprod.detach().double().cpu()
        return cls(signal_power.sqrt().float(), (1.0 - signal_power).clamp(min=0).sqrt().float(), Prediction(kind))

    @property
    def timesteps(self) -> int:
        """Number of training timesteps T."""
        return len(self.alpha_t)

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """The same schedule on another device."""
        return NoiseSchedule(self.alpha_t.to(device), self.sigma_t.to(device), self.prediction)

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) of timesteps t: (batch,), shaped to broadcast against `like`: (batch, ...)."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        t = t.to(self.alpha_t.device)
        return (
            self.alpha_t[t].reshape(shape).to(like.device, like.dtype),
            self.sigma_t[t].reshape(shape).to(like.device, like.dtype),
        )

    def noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t noise. Shapes (batch, ...), t: (batch,)."""
        alpha_t, sigma_t = self.at(t, x_0)
        return alpha_t * x_0 + sigma_t * noise

    def x0(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Tweedie: the estimate of x_0 that a network output at (x_t, t) states. Infinite where alpha_t = 0 and
        the output is epsilon."""
        alpha_t, sigma_t = self.at(t, x_t)
        if self.prediction is Prediction.EPSILON:
            return (x_t - sigma_t * output) / alpha_t
        if self.prediction is Prediction.V:
            return alpha_t * x_t - sigma_t * output
        return x_t - sigma_t * output

    def epsilon(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that a network output at (x_t, t) states."""
        alpha_t, sigma_t = self.at(t, x_t)
        if self.prediction is Prediction.EPSILON:
            return output
        if self.prediction is Prediction.V:
            return sigma_t * x_t + alpha_t * output
        return x_t + alpha_t * output

    def v(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The velocity that a network output at (x_t, t) states: alpha_t epsilon - sigma_t x_0, or for flow epsilon - x_0."""
        if self.prediction is not Prediction.EPSILON:
            return output
        alpha_t, sigma_t = self.at(t, x_t)
        return (output - sigma_t * x_t) / alpha_t

    def noise_between(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that makes x_t of x_0: (x_t - alpha_t x_0) / sigma_t."""
        alpha_t, sigma_t = self.at(t, x_t)
        return (x_t - alpha_t * x_0) / sigma_t

    def velocity(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The velocity of x_0 and noise: alpha_t noise - sigma_t x_0, or for flow noise - x_0."""
        if self.prediction is Prediction.FLOW:
            return noise - x_0
        alpha_t, sigma_t = self.at(t, x_0)
        return alpha_t * noise - sigma_t * x_0

    def target(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What a perfect network puts out at x_t = alpha_t x_0 + sigma_t noise."""
        return noise if self.prediction is Prediction.EPSILON else self.velocity(x_0, noise, t)

    def ddim_step(self, output: Tensor, x_t: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        """One deterministic DDIM step (Song et al. 2021, eq. 12 with eta = 0) from t to t_next.

        Args:
            output: network output at (x_t, t), (batch, ...).
            t: (batch,) current timesteps.
            t_next: (batch,) timesteps to arrive at; -1 means no noise at all.
        """
        x_0 = self.x0(output, x_t, t)
        arrived = self.noise(x_0, self.epsilon(output, x_t, t), t_next.clamp(min=0))
        done = (t_next < 0).reshape((-1,) + (1,) * (x_t.ndim - 1)).to(x_t.device)
        return torch.where(done, x_0, arrived)

    def signal_to_noise(self, t: Tensor) -> Tensor:
        """alpha_t**2 / sigma_t**2 of timesteps t, the same shape as t."""
        t = t.to(self.alpha_t.device)
        return (self.alpha_t[t] / self.sigma_t[t]) ** 2


def ddim_grid(timesteps: int, steps: int, *, spacing: str = "leading") -> Tensor:
    """The timesteps of a DDIM grid, noisiest first: (steps,) long.

    Args:
        timesteps: training timesteps T.
        steps: grid points, 1 to T.
        spacing: "leading" (SD1.5, SDXL; with their steps_offset of 1) or "trailing" (zero terminal SNR, CogVideoX).
    """
    if not 1 <= steps <= timesteps:
        raise StudioError(
            "A grid of {steps} steps does not fit into {timesteps} timesteps.",
            "Choose 1 to {timesteps}.",
            steps=steps,
            timesteps=timesteps,
        )
    if spacing == "trailing":
        grid = torch.linspace(timesteps, timesteps / steps, steps).round().long() - 1
    else:
        grid = (torch.arange(steps) * (timesteps // steps)).flip(0) + (1 if steps < timesteps else 0)
    return grid.clamp(0, timesteps - 1)
