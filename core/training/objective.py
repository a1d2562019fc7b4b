"""What a step learns: an objective draws a batch and states its loss. Random numbers in, loss out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from core.families.base import Conditioning
from core.method.tdft import Loss
from core.training.settings import LossSettings

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""(x_t: (batch, ...), t: (batch,), conditioning) -> network output, the shape of x_t."""


class Objective(Protocol):
    """One way to train an offset. What `batch` gives is handed to `loss` unseen."""

    def batch(self, reference: Predict, step: int, rank: int, device: torch.device) -> Any:
        """The batch of step `step` on process `rank`; `reference` is the network before training, or its EMA."""

    def loss(self, student: Predict, batch: Any) -> Tensor:
        """The student's loss on a batch, a scalar with its gradient."""


def loss_of(settings: LossSettings) -> Loss:
    """The distance that the settings name."""
    return Loss(settings.loss, settings.loss_on, settings.huber_c, settings.min_snr_gamma or None)


def drop_captions(cond: Conditioning, empty: Conditioning, dropped: Tensor) -> Conditioning:
    """`cond` with the empty prompt's rows where `dropped` (batch,) is true. Both have a row for each sample."""
    return {
        name: torch.where(dropped.reshape(-1, *(1,) * (tensor.ndim - 1)), empty[name], tensor)
        for name, tensor in cond.items()
    }


def levels_between(low: Tensor, settings: LossSettings, timesteps: int, uniform: Tensor) -> Tensor:
    """A noise level for each sample, uniform over [s_min, s_max] of all timesteps and not below `low`.

    Args:
        low: (batch,) the least timestep allowed.
        uniform: (batch,) in [0, 1).

    Returns:
        (batch,) timesteps; low - 1 where none is allowed.
    """
    least = torch.maximum(low, torch.full_like(low, round(settings.s_min * timesteps)))
    most = round(settings.s_max * timesteps) - 1
    s = least + (uniform * (most + 1 - least).clamp(min=0)).long()
    return torch.where(least > most, low - 1, s).clamp(max=timesteps - 1)
