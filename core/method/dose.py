"""How strong an offset is: the change of the prediction that it makes, in proportion to the change that a prompt makes.

    ratio(s) = |eps[theta + delta](x_s, s, c') - eps[theta](x_s, s, c')| / |eps[theta](x_s, s, c) - eps[theta](x_s, s, c')|
    dose     = root of the mean of ratio(s)**2 over the noise levels s

with norms over all rows at once, and x_s noised from the model's own pictures or those it was trained on. To first order guidance with the
offset adds -omega beta (eps[theta + delta] - eps[theta]) to omega (eps(c) - eps(c')): beta times the dose is the offset's share of the
push, and omega * beta is what to hold when omega changes. This is the one definition: training, the strength meter and the
diagnostics of an evaluation use these functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.method.schedule import NoiseSchedule
from core.method.tdft import Denoiser

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The noise levels it is measured at, shares of all timesteps."""
SAMPLES = 8
"""Pictures it is measured on."""


def ratio(changed: Tensor, plain: Tensor, prompted: Tensor) -> float:
    """|changed - plain| / |prompted - plain| over all rows: predictions (rows, ...) of the offset's weights and of its base without
    the prompt, and of the base with it. 0 where the prompt changes nothing."""
    length = float((prompted - plain).norm())
    return float((changed - plain).norm()) / length if length > 1e-12 else 0.0


def root_mean_square(ratios: Iterable[float]) -> float:
    """The dose of the ratios of several noise levels; 0 of none."""
    squares = [ratio**2 for ratio in ratios]
    return (sum(squares) / len(squares)) ** 0.5 if squares else 0.0


@dataclass(frozen=True)
class Dose:
    """What was measured of an offset: its ratio at each noise level of `LEVELS`."""

    ratios: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The dose, one figure for the offset."""
        return root_mean_square(self.ratios)

    def by_level(self) -> dict[float, float]:
        """Noise level to ratio."""
        return dict(zip(LEVELS, self.ratios, strict=True))

    def facts(self) -> Mapping[str, str]:
        """As an offset's header keeps it."""
        by_level = {f"{level:g}": round(ratio, 5) for level, ratio in self.by_level().items()}
        return {"dose": f"{self.mean:.5f}", "dose_by_level": json.dumps(by_level)}


@torch.no_grad()
def measure_dose(
    changed: Denoiser,
    base: Denoiser,
    x_0: Tensor,
    cond: Any,
    empty: Any,
    schedule: NoiseSchedule,
    noises: Sequence[Tensor],
) -> Dose:
    """The dose of an offset.

    Args:
        changed, base: the network with the offset and without.
        x_0: (rows, *latent) pictures; `cond`, `empty`: the conditionings of their prompts and of none, a row each.
        noises: of each level of `LEVELS`, the shape of x_0.

    Cost: 3 row-forwards a picture and level, 120 with `SAMPLES` pictures.
    """
    ratios = []
    for level, noise in zip(LEVELS, noises, strict=True):
        s = torch.full((len(x_0),), round(level * (schedule.timesteps - 1)), device=x_0.device)
        x_s = schedule.noise(x_0, noise.to(x_0), s)
        asked = ((changed, empty), (base, empty), (base, cond))
        predictions = (schedule.epsilon(predict(x_s, s, text), x_s, s).float() for predict, text in asked)
        ratios.append(ratio(*predictions))
    return Dose(tuple(ratios))
