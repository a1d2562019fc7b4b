"""Forms of guidance: which predictions a step takes, with which weights of the network, and how they are put together.

Every form moves one prediction, the positive one, away from one or two others:

    eps = eps[positive] + sum_i w_i (eps[positive] - eps[other_i])

Each prediction is a row of the batch: the prompt or the negative prompt, read by theta + (eta's scale) eta + (delta's scale) delta.
A form is a line that names its rows; all of them go through one network at once. Cost: its rows in row-forwards a step.

`theta_worse` below is theta + alpha eta + beta delta, `c` the prompt, `c'` the negative or empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Row(NamedTuple):
    """One prediction: whether the network reads the prompt, or the negative one; the scales of eta and delta."""

    prompted: bool
    eta: float
    delta: float


class Rows(NamedTuple):
    """The predictions of one step: the positive one, and those that it moves away from, each with its strength."""

    positive: Row
    away: tuple[tuple[float, Row], ...]

    @property
    def used(self) -> Rows:
        """Without those of strength 0."""
        return Rows(self.positive, tuple((strength, row) for strength, row in self.away if strength))

    @property
    def forwards(self) -> int:
        """Row-forwards that the step takes."""
        return 1 + len(self.used.away)


POSITIVE, NEGATIVE = Row(True, 1.0, 0.0), Row(False, 1.0, 0.0)


# Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, eq. 6): (omega + 1) eps[theta](c) - omega eps[theta](c')
def cfg(omega: float, alpha: float, beta: float, quality: float) -> Rows:
    """Plain guidance of the positive model; alpha, beta and quality take no part. 2 rows."""
    return Rows(POSITIVE, ((omega, NEGATIVE),))


# Self-NPO (arXiv 2505.11777), eq. 3: (omega + 1) eps[theta + eta](c) - omega eps[theta_worse](c')
def npo(omega: float, alpha: float, beta: float, quality: float) -> Rows:
    """Negative preference optimisation: the negative prediction has its own weights. 2 rows."""
    return Rows(POSITIVE, ((omega, Row(False, alpha, beta)),))


# Autoguidance (Karras et al. 2024, arXiv 2406.02507), eq. 3: (omega + 1) eps[theta + eta](c) - omega eps[theta_worse](c)
def autoguidance(omega: float, alpha: float, beta: float, quality: float) -> Rows:
    """A worse model with the same prompt. 2 rows."""
    return Rows(POSITIVE, ((omega, Row(True, alpha, beta)),))


# Their sum: eq. 6 of the first with strength omega, eq. 3 of the second with strength `quality`
def three_terms(omega: float, alpha: float, beta: float, quality: float) -> Rows:
    """Plain guidance towards the prompt and, beside it, away from the worse model. 3 rows."""
    return Rows(POSITIVE, ((omega, NEGATIVE), (quality, Row(True, alpha, beta))))


# Neon (arXiv 2510.03597), eq. 3: both predictions of plain guidance from theta + eta - beta delta
def both_branches(omega: float, alpha: float, beta: float, quality: float) -> Rows:
    """The offset taken off both predictions; alpha and quality take no part. 2 rows."""
    return Rows(Row(True, 1.0, -beta), ((omega, Row(False, 1.0, -beta)),))


Form = Callable[[float, float, float, float], Rows]
"""(omega, alpha, beta, quality) -> the rows of a step."""

FORMS: Mapping[str, Form] = {
    "npo": npo,
    "three-terms": three_terms,
    "both-branches": both_branches,
    "autoguidance": autoguidance,
    "cfg": cfg,
}
"""The forms by the names that settings, presets and pictures have for them."""

SAME = "same"
"""Where a form for the late steps is named: the one of the noisy steps."""

USES: Mapping[str, tuple[str, ...]] = {
    "npo": ("omega", "alpha", "beta"),
    "three-terms": ("omega", "alpha", "beta", "quality"),
    "both-branches": ("omega", "beta"),
    "autoguidance": ("omega", "alpha", "beta"),
    "cfg": ("omega",),
}
"""The strengths that a form reads."""


DOSED_BY_OMEGA = ("npo", "autoguidance")
"""The forms whose offset is multiplied by omega: with them beta follows omega where the dose is held. With three terms the dose is
quality * beta, with both branches it is beta, to first order."""


def in_interval(omega: float, t_fraction: float, low: float, high: float) -> float:
    """omega where the noise level t / T lies in [low, high], else 0: no guidance, and one row is enough
    (Kynkäänniemi et al. 2024, arXiv 2404.07724, eq. 5)."""
    return omega if low <= t_fraction <= high else 0.0


def beta_at(omega: float, dose: float) -> float:
    """The beta that keeps the dose omega * beta at another omega; 0 without guidance.

    To first order an offset adds -omega * beta * (eps[theta + delta] - eps[theta]) to the guided prediction.
    """
    return dose / omega if omega else 0.0


PROPOSED = 1.4
"""omega * beta * dose that is proposed where nothing else is known: that of the bundled Self-NPO offset, dose 0.72, where it helped most
(omega 2, beta 1; presets/sd15/miniature-gentle.json)."""


def proposed_beta(omega: float, dose: float, most: float = 1.0) -> float:
    """The beta that is proposed for an offset of a measured dose: omega * beta * dose = `PROPOSED`, at most `most`; 0 without
    guidance. In steps of a hundredth."""
    return min(most, round(beta_at(omega, PROPOSED / dose), 2)) if dose > 0 else 0.0


def difference(positive: Tensor, away: tuple[tuple[float, Tensor], ...]) -> Tensor:
    """How far a form moves the positive prediction: sum_i w_i (positive - other_i)."""
    moved = away[0][0] * (positive - away[0][1])
    for strength, other in away[1:]:
        moved = moved + strength * (positive - other)
    return moved
