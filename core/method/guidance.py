"""Guidance with a negative preference offset: the numbers a person sets and the one expression they enter.

    theta_pos = theta + eta                    theta_neg = theta + alpha * eta + beta * delta
    eps_omega = (omega + 1) * eps[theta_pos](x_t, t, c) - omega * eps[theta_neg](x_t, t, c')

Diffusion-NPO (arXiv 2505.11245), section 4; Self-NPO (arXiv 2505.11777), section 3. The papers' omega and the
`guidance_scale` of diffusers differ by one: guidance_scale = omega + 1. No torch is needed to hold the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

OMEGA_RANGE = (0.0, 30.0)
ALPHA_RANGE = (-1.0, 2.0)
BETA_RANGE = (-4.0, 4.0)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise StudioError(f"{name} must be a number, not {value!r}.", f"Choose one from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise StudioError(
            f"{name} is {value:g}, outside {low:g} to {high:g}.", f"Choose {name} from {low:g} to {high:g}."
        )


@dataclass(frozen=True, kw_only=True)
class BetaSchedule:
    """When, along the noise levels, the negative offset acts: a factor on beta.

    The factor is 1 while t / T >= split (the noisy part, where composition is decided) and `late` below it.
    The default leaves beta constant. The papers use a constant beta; the split is this studio's addition.

    Args:
        split: share of the noise levels, 0 (clean) to 1 (pure noise), down to which the factor is 1.
        late: the factor below the split, -4 to 4; 0 turns the offset off there.
    """

    split: float = 0.0
    late: float = 1.0

    def __post_init__(self) -> None:
        _check("The beta split", self.split, 0.0, 1.0)
        _check("The late beta factor", self.late, -4.0, 4.0)

    def factor(self, t_fraction: float) -> float:
        """The factor on beta at noise level t / T, 1 being the noisiest."""
        return 1.0 if t_fraction >= self.split else self.late


@dataclass(frozen=True, kw_only=True)
class GuidanceWeights:
    """One setting of guidance.

    Args:
        omega: strength of guidance, the papers' omega, 0 to 30; 0 is no guidance.
        alpha: share of the positive offset eta in the negative weights, -1 to 2; usually 0 to 1.
        beta: share of the negative offset delta in the negative weights, -4 to 4; usually 0 to 1.
        beta_schedule: when beta acts.

    alpha = 1 and beta = 0 is plain classifier-free guidance of the positive model, exactly.

    Raises:
        StudioError: a value outside its range.
    """

    omega: float
    alpha: float = 1.0
    beta: float = 0.0
    beta_schedule: BetaSchedule = field(default_factory=BetaSchedule)

    def __post_init__(self) -> None:
        _check("omega", self.omega, *OMEGA_RANGE)
        _check("alpha", self.alpha, *ALPHA_RANGE)
        _check("beta", self.beta, *BETA_RANGE)

    @property
    def guidance_scale(self) -> float:
        """The same strength in the convention of diffusers and of other programs: omega + 1."""
        return self.omega + 1.0

    @property
    def is_plain(self) -> bool:
        """Whether this is plain classifier-free guidance."""
        return self.alpha == 1.0 and self.beta == 0.0

    def plain(self) -> GuidanceWeights:
        """Plain classifier-free guidance at the same omega: what a setting is compared with."""
        return replace(self, alpha=1.0, beta=0.0, beta_schedule=BetaSchedule())

    def positive_row(self) -> tuple[float, float]:
        """Scales of (eta, delta) in the weights of the positive prediction."""
        return (1.0, 0.0)

    def negative_row(self, t_fraction: float) -> tuple[float, float]:
        """Scales of (eta, delta) in the weights of the negative prediction at noise level t / T in [0, 1]."""
        return (self.alpha, self.beta * self.beta_schedule.factor(t_fraction))

    def label(self) -> str:
        """The setting as a person reads it under a picture."""
        text = f"ω {self.omega:g}  α {self.alpha:g}  β {self.beta:g}"
        if self.beta and self.beta_schedule != BetaSchedule():
            text += f" (t ≥ {self.beta_schedule.split:g}, then ×{self.beta_schedule.late:g})"
        return text


def guide(positive: Tensor, negative: Tensor, omega: float) -> Tensor:
    """The guided prediction: (omega + 1) * positive - omega * negative, Self-NPO eq. 3.

    Args:
        positive: prediction of theta_pos with the prompt, any shape.
        negative: prediction of theta_neg with the empty or negative prompt, the same shape.
        omega: guidance strength; diffusers' guidance_scale is omega + 1.
    """
    return (omega + 1.0) * positive - omega * negative
