"""The dose of what a training has learned, measured at its end; the definition is `core.method.dose`."""

from __future__ import annotations

import torch
from torch import Tensor

from core.families.base import take
from core.method import dose
from core.method.dose import LEVELS, SAMPLES, Dose
from core.training.draws import DOSE, generator_of
from core.training.material import Material
from core.training.objective import Predict


def measure_dose(student: Predict, base: Predict, material: Material, x_0: Tensor, seed: int) -> Dose:
    """The dose of a student.

    Args:
        student, base: the network with the offset and without.
        x_0: (points, *latent) start points; the first `SAMPLES` of them are used, with their texts.

    Cost: 3 row-forwards a sample and level, 120 in all.
    """
    rows = min(SAMPLES, len(x_0), material.count)
    device = material.schedule.alpha_t.device
    cond = {name: tensor.to(device) for name, tensor in take(material.cond, slice(rows)).items()}
    noises = [
        torch.randn((rows, *material.shape), generator=generator_of(seed, number, DOSE))
        for number in range(len(LEVELS))
    ]
    empty = material.without_prompt(cond)
    return dose.measure_dose(student, base, x_0[:rows].to(device), cond, empty, material.schedule, noises)
