"""Learning from the gradient of a reward, through the last steps of sampling. No networks here.

    x_{i-1} = DDIM(x_i, f_theta(x_i, t_i, c)) from pure noise to an estimate of x_0;   L = sign * mean R(x_0, c)

where the gradient passes through the last K predictions alone: DRaFT-K (arXiv 2309.17400, section 4), and VADER (arXiv 2407.08737)
for video. Diffusion-NPO (arXiv 2505.11245, section 4) inverts the reward for the negative offset: 1 - R in place of R.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from core.method.schedule import NoiseSchedule


def truncated_sample(
    predict: Callable[[Tensor, Tensor], Tensor], x: Tensor, timesteps: Tensor, schedule: NoiseSchedule, last: int
) -> Tensor:
    """DDIM from noise to the estimate of x_0 at the last timestep, (batch, ...), with a gradient through the last predictions.

    Args:
        predict: (x_t, t) -> network output, already guided.
        x: (batch, ...) noise at timesteps[0].
        timesteps: (steps,) noisiest first.
        last: K, predictions that the gradient passes through, 1 to steps.
    Cost: steps row-forwards a sample, and two more for each of the last K; twice that when `predict` guides.
    """
    rows = [t.expand(len(x)) for t in timesteps]
    with torch.no_grad():
        for t, t_next in zip(rows[:-last], rows[1:], strict=False):
            x = schedule.ddim_step(predict(x, t), x, t, t_next)
    for t, t_next in zip(rows[-last:-1], rows[len(rows) - last + 1 :], strict=True):
        x = schedule.ddim_step(predict(x, t), x, t, t_next)
    return schedule.x0(predict(x, rows[-1]), x, rows[-1])


def reward_loss(rewards: Tensor, direction: Literal["negative", "positive"]) -> Tensor:
    """The loss of rewards (batch,), a scalar: a negative offset lowers them, a positive one raises them."""
    return rewards.mean() if direction == "negative" else 1 - rewards.mean()
