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
        raise StudioError(
            "{name} must be a number, not {value}.",
            "Choose one from {low:g} to {high:g}.",
            name=name,
            value=repr(value)[:60],
            low=low,
            high=high,
        )
    if not low <= value <= high:
        raise StudioError(
            "{name} is {value:g}, outside {low:g} to {high:g}.",
            "Choose {name} from {low:g} to {high:g}.",
            name=name,
            value=value,
            low=low,
            high=high,
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


def beta_at(omega: float, dose: float) -> float:
    """The beta that keeps the dose omega * beta at another omega; 0 without guidance.

    To first order an offset adds -omega * beta * (eps[theta + delta] - eps[theta]) to the guided prediction.
    """
    return dose / omega if omega else 0.0


def three_terms(positive: Tensor, negative: Tensor, worse: Tensor, omega: float, strength: float) -> Tensor:
    """CFG and autoguidance side by side: guide(positive, negative, omega) + strength * (positive - worse). 3 rows.

    Classifier-free guidance (Ho and Salimans 2022, eq. 6) moves towards the prompt; the last term moves away from a worse
    model that is told the same prompt (Karras et al. 2024, arXiv 2406.02507, eq. 3).

    Args:
        worse: the prediction of theta_neg with the prompt, the shape of the others.
        strength: of the second term, 0 or more; 0 is plain guidance.
    """
    return guide(positive, negative, omega) + strength * (positive - worse)


def both_branches(weight: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Scales of (eta, delta) in the positive and in the negative weights of Neon: both are theta - weight * delta
    (arXiv 2510.03597, eq. 3, where 1 + w multiplies the base and -w the tuned network). 2 rows."""
    return (1.0, -weight), (1.0, -weight)


def in_interval(omega: float, t_fraction: float, low: float, high: float) -> float:
    """omega where the noise level t / T lies in [low, high], else 0: no guidance, and one row is enough
    (Kynkäänniemi et al. 2024, arXiv 2404.07724, eq. 5)."""
    return omega if low <= t_fraction <= high else 0.0


def halves(t_fraction: float, split: float, noisy: Tensor, late: Tensor) -> Tensor:
    """One form of guidance down to a noise level, another below it: `noisy` while t / T >= split."""
    return noisy if t_fraction >= split else late


def rescale(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """The guided prediction with the standard deviation of the positive one, mixed in by `share`
    (Lin et al. 2023, arXiv 2305.08891, eq. 15 and 16).

    Args:
        guided, positive: (batch, ...); the deviation is that of each sample.
        share: their phi, 0 (unchanged) to 1.
    """
    axes = tuple(range(1, guided.ndim))
    factor = positive.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return share * (guided * factor) + (1 - share) * guided


def along(difference: Tensor, direction: Tensor) -> Tensor:
    """The part of `difference` that lies along `direction`, sample by sample: (batch, ...)
    (Sadat et al. 2024, arXiv 2410.02416, eq. 5)."""
    axes = tuple(range(1, difference.ndim))
    squared = direction.square().sum(dim=axes, keepdim=True)
    return (difference * direction).sum(dim=axes, keepdim=True) / squared.clamp(min=1e-30) * direction


def within_norm(difference: Tensor, radius: float) -> Tensor:
    """`difference` with a norm of at most `radius`, sample by sample; 0 leaves it as it is (arXiv 2410.02416, eq. 8)."""
    if radius <= 0:
        return difference
    norm = difference.square().sum(dim=tuple(range(1, difference.ndim)), keepdim=True).sqrt()
    return difference * (radius / norm.clamp(min=1e-30)).clamp(max=1.0)


def projected(positive: Tensor, difference: Tensor, omega: float, parallel: float, radius: float = 0.0) -> Tensor:
    """Adaptive projected guidance: positive + omega * (across + parallel * along), of predictions of x_0
    (arXiv 2410.02416, eq. 6 to 9). What oversaturates is the part along the positive prediction.

    Args:
        positive: (batch, ...) the prediction of x_0 with the prompt.
        difference: positive - negative, or a running average of it by `with_momentum`.
        parallel: share of the part along `positive` that is kept, their eta; 1 with radius 0 is plain guidance.
        radius: largest norm of the difference, their r; 0 is none.
    """
    difference = within_norm(difference, radius)
    part = along(difference, positive)
    return positive + omega * (difference - part + parallel * part)


def with_momentum(difference: Tensor, before: Tensor | None, momentum: float) -> Tensor:
    """The difference of this step plus `momentum` times the running one of the step before; theirs is negative, -0.5
    (arXiv 2410.02416, eq. 7). `before` is None at the first step."""
    return difference if before is None else difference + momentum * before
