"""How strong an offset is: the change of the prediction that it makes, in proportion to the change that a prompt makes.

    ratio(s) = |eps[theta + delta](x_s, s, empty) - eps[theta](x_s, s, empty)| / |eps[theta](x_s, s, c) - eps[theta](x_s, s, empty)|

To first order guidance with the offset adds -omega beta (eps[theta + delta] - eps[theta]) to omega (eps(c) - eps(empty)):
beta times this ratio is the offset's share of the push, and omega * beta is what to hold when omega changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.families.base import take
from core.training.draws import DOSE, generator_of
from core.training.material import Material
from core.training.objective import Predict

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
SAMPLES = 8


@dataclass(frozen=True)
class Dose:
    """The ratios at the noise levels of `LEVELS` (shares of all timesteps), and the root of their mean square."""

    ratios: tuple[float, ...]

    @property
    def mean(self) -> float:
        """One figure for the offset: the root of the mean square of the ratios."""
        return (sum(ratio**2 for ratio in self.ratios) / len(self.ratios)) ** 0.5

    def facts(self) -> Mapping[str, str]:
        """As an offset's header keeps it."""
        by_level = {f"{level:g}": round(ratio, 5) for level, ratio in zip(LEVELS, self.ratios, strict=True)}
        return {"dose": f"{self.mean:.5f}", "dose_by_level": json.dumps(by_level)}


@torch.no_grad()
def measure_dose(student: Predict, base: Predict, material: Material, x_0: Tensor, seed: int) -> Dose:
    """The dose of what a student has learned.

    Args:
        student, base: the network with the offset and without.
        x_0: (points, *latent) start points; the first `SAMPLES` of them are used, with their texts.

    Cost: 3 row-forwards a sample and level, 120 in all.
    """
    rows = min(SAMPLES, len(x_0), material.count)
    device = material.schedule.alpha_t.device
    cond = {name: tensor.to(device) for name, tensor in take(material.cond, slice(rows)).items()}
    empty = material.without_prompt(cond)
    ratios = []
    for number, level in enumerate(LEVELS):
        noise = torch.randn((rows, *material.shape), generator=generator_of(seed, number, DOSE))
        s = torch.full((rows,), round(level * (material.schedule.timesteps - 1)), device=device)
        x_s = material.schedule.noise(x_0[:rows].to(device), noise.to(device), s)
        plain = material.schedule.epsilon(base(x_s, s, empty), x_s, s)
        changed = material.schedule.epsilon(student(x_s, s, empty), x_s, s)
        prompted = material.schedule.epsilon(base(x_s, s, cond), x_s, s)
        ratios.append(float((changed - plain).norm() / (prompted - plain).norm().clamp(min=1e-12)))
    return Dose(tuple(ratios))
