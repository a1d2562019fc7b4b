"""Guidance with a negative preference offset: the numbers a person sets and the one expression they enter.

    theta_pos = theta + eta                    theta_neg = theta + alpha * eta + beta * delta
    eps_omega = (omega + 1) * eps[theta_pos](x_t, t, c) - omega * eps[theta_neg](x_t, t, c')

Diffusion-NPO (arXiv 2505.11245), section 4; Self-NPO (arXiv 2505.11777), section 3. The papers' omega and the
`guidance_scale` of diffusers differ by one: guidance_scale = omega + 1. No torch is needed to hold the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.method.forms import FORMS, SAME, USES, Row, Rows, cfg, in_interval

if TYPE_CHECKING:
    from torch import Tensor

OMEGA_RANGE = (0.0, 30.0)
ALPHA_RANGE = (-1.0, 2.0)
BETA_RANGE = (-4.0, 4.0)
QUALITY_RANGE = (0.0, 30.0)
SHARE = (0.0, 1.0)
LATE_RANGE = (0.0, 4.0)
NORM_RANGE = (0.0, 1000.0)
MOMENTUM_RANGE = (-1.0, 1.0)


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
        omega: strength of guidance, the papers' omega, 0 to 30; 0 means no guidance.
        alpha: share of the positive offset eta in the worse model's weights, -1 to 2; usually 0 to 1.
        beta: share of the negative offset delta in the worse model's weights, -4 to 4; usually 0 to 1.
        beta_schedule: when beta acts.
        guidance: which form, one of `FORMS`; the default is the papers'.
        quality: strength of the third term, away from the worse model that reads the same prompt, 0 to 30.
        late_guidance: the form below the noise level `late_from` (t / T); "same" for one form all the way.
        late_strength: a factor on omega and quality of the late form, 0 to 4.
        interval_low, interval_high: the noise levels between which there is guidance at all, 0 to 1.
        cfg_rescale: share of the guided prediction that gets the positive one's deviation, 0 to 1.
        apg_parallel, apg_norm, apg_momentum: of `treatments.projected` and `with_momentum`; 1, 0 and 0 leave guidance as it is.

    alpha = 1 and beta = 0 is plain classifier-free guidance of the positive model, exactly.

    Raises:
        StudioError: a value outside its range.
    """

    omega: float
    alpha: float = 1.0
    beta: float = 0.0
    beta_schedule: BetaSchedule = field(default_factory=BetaSchedule)
    guidance: str = "npo"
    quality: float = 1.0
    late_guidance: str = SAME
    late_from: float = 0.5
    late_strength: float = 1.0
    interval_low: float = 0.0
    interval_high: float = 1.0
    cfg_rescale: float = 0.0
    apg_parallel: float = 1.0
    apg_norm: float = 0.0
    apg_momentum: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check(name, getattr(self, name), low, high)
        for name, value, known in (
            ("guidance", self.guidance, tuple(FORMS)),
            ("late_guidance", self.late_guidance, (SAME, *FORMS)),
        ):
            if value not in known:
                raise StudioError(
                    "“{value}” is not a form of guidance.",
                    "Choose {name} from {choices}.",
                    value=str(value)[:40],
                    name=name,
                    choices=", ".join(known),
                )
        if self.interval_low > self.interval_high:
            raise StudioError(
                "The guidance interval ends at {high:g}, below its beginning at {low:g}.",
                "Choose interval_low below interval_high.",
                high=self.interval_high,
                low=self.interval_low,
            )

    @property
    def guidance_scale(self) -> float:
        """The same strength in the convention of diffusers and of other programs: omega + 1."""
        return self.omega + 1.0

    @property
    def is_plain(self) -> bool:
        """Whether this is plain classifier-free guidance."""
        plain = cfg(self.omega, 1.0, 0.0, 0.0)
        return self.is_two_rows and self.rows(1.0) == self.rows(0.0) == plain

    @property
    def is_two_rows(self) -> bool:
        """Whether a stock pipeline's own sum of two rows is this setting; what it cannot say takes its own sum."""
        late = self.guidance if self.late_guidance == SAME else self.late_guidance
        factor = 1.0 if self.late_guidance == SAME else self.late_strength
        untouched = (factor, self.interval_low, self.interval_high) == (1.0, 0.0, 1.0)
        return {self.guidance, late} <= _TWO_ROWS and untouched and not self.is_treated

    @property
    def is_constant(self) -> bool:
        """Whether its rows are the same at all noise levels."""
        always = (self.interval_low, self.interval_high, self.beta_schedule.late) == (0.0, 1.0, 1.0)
        return always and self.late_guidance == SAME

    @property
    def is_treated(self) -> bool:
        """Whether the guided prediction is projected or rescaled."""
        return self.is_projected or self.cfg_rescale != 0.0

    @property
    def is_projected(self) -> bool:
        """Whether guidance is adaptive projected guidance."""
        return (self.apg_parallel, self.apg_norm, self.apg_momentum) != (1.0, 0.0, 0.0)

    @property
    def strengths(self) -> tuple[str, ...]:
        """The strengths that its forms read: of omega, alpha, beta and quality."""
        late = () if self.late_guidance == SAME else USES[self.late_guidance]
        return tuple(name for name in USES["three-terms"] if name in (*USES[self.guidance], *late))

    @property
    def most_rows(self) -> int:
        """Rows of its largest step for one image."""
        levels = (0.0, 1.0, self.interval_low, self.interval_high, self.late_from)
        return max(self.rows(level).forwards for level in levels)

    def row_forwards(self, steps: int, *, made: int | None = None) -> int:
        """Row-forwards of one image. The levels are those of evenly spaced steps from 1 down: another spacing may move the
        end of an interval by a step.

        Args:
            made: how many of the steps are made, the last ones; None for all.
        """
        first = 0 if made is None else steps - made
        return sum(self.rows((steps - step) / steps).forwards for step in range(first, steps))

    def plain(self) -> GuidanceWeights:
        """Plain classifier-free guidance at the same omega: what a setting is compared with."""
        return GuidanceWeights(omega=self.omega)

    def rows(self, t_fraction: float) -> Rows:
        """The predictions of the step at noise level t / T in [0, 1]."""
        # one form in the noisy steps, another after them (arXiv 2603.20584)
        late = self.late_guidance != SAME and t_fraction < self.late_from
        form = FORMS[self.late_guidance if late else self.guidance]
        factor = self.late_strength if late else 1.0
        omega, quality = (
            factor * in_interval(strength, t_fraction, self.interval_low, self.interval_high)
            for strength in (self.omega, self.quality)
        )
        return form(omega, self.alpha, self.beta * self.beta_schedule.factor(t_fraction), quality)

    def positive_row(self, t_fraction: float) -> tuple[float, float]:
        """Scales of (eta, delta) in the weights of the positive prediction."""
        return _scales(self.rows(t_fraction).positive)

    def negative_row(self, t_fraction: float) -> tuple[float, float]:
        """Scales of (eta, delta) in the weights of the negative prediction at noise level t / T in [0, 1], of two rows."""
        return _scales(self.rows(t_fraction).away[0][1])

    def label(self) -> str:
        """The setting as a person reads it under a picture."""
        parts = [f"{_SYMBOLS[name]} {getattr(self, name):g}" for name in self.strengths]
        if self.guidance != "npo":
            parts.insert(0, self.guidance)
        text = "  ".join(parts)
        if self.beta and "beta" in self.strengths and self.beta_schedule != BetaSchedule():
            text += f" (t ≥ {self.beta_schedule.split:g}, then ×{self.beta_schedule.late:g})"
        if self.late_guidance != SAME:
            text += f"  t < {self.late_from:g}: {self.late_guidance} ×{self.late_strength:g}"
        if (self.interval_low, self.interval_high) != (0.0, 1.0):
            text += f"  t {self.interval_low:g}–{self.interval_high:g}"
        if self.cfg_rescale:
            text += f"  rescale {self.cfg_rescale:g}"
        if self.is_projected:
            text += f"  APG {self.apg_parallel:g}/{self.apg_norm:g}/{self.apg_momentum:g}"
        return text


_TWO_ROWS = {"npo", "both-branches", "cfg"}
_SYMBOLS = {"omega": "ω", "alpha": "α", "beta": "β", "quality": "s"}
_RANGES = {
    "omega": OMEGA_RANGE,
    "alpha": ALPHA_RANGE,
    "beta": BETA_RANGE,
    "quality": QUALITY_RANGE,
    "late_from": SHARE,
    "late_strength": LATE_RANGE,
    "interval_low": SHARE,
    "interval_high": SHARE,
    "cfg_rescale": SHARE,
    "apg_parallel": SHARE,
    "apg_norm": NORM_RANGE,
    "apg_momentum": MOMENTUM_RANGE,
}


def _scales(row: Row) -> tuple[float, float]:
    return row.eta, row.delta


def guide(positive: Tensor, negative: Tensor, omega: float) -> Tensor:
    """The guided prediction: (omega + 1) * positive - omega * negative, Self-NPO eq. 3.

    Args:
        positive: prediction of theta_pos with the prompt, any shape.
        negative: prediction of theta_neg with the empty or negative prompt, the same shape.
        omega: guidance strength; diffusers' guidance_scale is omega + 1.
    """
    return (omega + 1.0) * positive - omega * negative
