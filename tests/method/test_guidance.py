"""Guidance: what the three numbers mean, and their bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.method.guidance import BetaSchedule, GuidanceWeights, guide


def test_alpha_one_and_beta_zero_is_plain_guidance_in_diffusers_convention():
    weights = GuidanceWeights(omega=6.5)
    positive, negative = torch.randn(2, 3), torch.randn(2, 3)
    diffusers = negative + weights.guidance_scale * (positive - negative)
    torch.testing.assert_close(guide(positive, negative, weights.omega), diffusers)
    assert weights.is_plain and weights.negative_row(0.5) == weights.positive_row() == (1.0, 0.0)


def test_no_guidance_is_the_positive_prediction():
    positive = torch.randn(4)
    assert torch.equal(guide(positive, torch.randn(4), 0.0), positive)


def test_independent_predictions_blow_the_variance_up_as_the_paper_warns():
    omega = 2.0
    spread = guide(torch.randn(400_000), torch.randn(400_000), omega).var()
    assert spread == pytest.approx(2 * omega**2 + 2 * omega + 1, rel=0.02)


def test_beta_acts_down_to_the_split_and_is_scaled_below_it():
    weights = GuidanceWeights(omega=2, beta=2, beta_schedule=BetaSchedule(split=0.6, late=-0.5))
    assert weights.negative_row(1.0) == (1.0, 2.0)
    assert weights.negative_row(0.6) == (1.0, 2.0)
    assert weights.negative_row(0.59) == (1.0, -1.0)


def test_plain_keeps_omega_and_drops_the_rest():
    weights = GuidanceWeights(omega=3, alpha=0.5, beta=1, beta_schedule=BetaSchedule(split=0.5, late=0.0))
    assert weights.plain() == GuidanceWeights(omega=3)


@pytest.mark.parametrize("values", [{"omega": -1}, {"omega": 31}, {"omega": 1, "alpha": 3}, {"omega": 1, "beta": -5}])
def test_a_value_outside_its_range_is_refused_with_the_range(values):
    with pytest.raises(StudioError, match="outside"):
        GuidanceWeights(**values)


@pytest.mark.parametrize("value", [math.nan, math.inf, "2", None, True])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(StudioError, match="must be a number"):
        GuidanceWeights(omega=value)


@pytest.mark.parametrize(
    ("split", "at", "factor"),
    [(0.6, 1.0, 1.0), (0.6, 0.6, 1.0), (0.6, 0.599, -2.5), (0.0, 0.0, 1.0), (1.0, 0.999, -2.5)],
)
def test_the_factor_is_one_of_two(split, at, factor):
    assert BetaSchedule(split=split, late=-2.5).factor(at) == factor


@given(st.floats(0, 1), st.floats(-4, 4))
def test_beta_never_acts_twice_along_the_way(split, late):
    factors = [BetaSchedule(split=split, late=late).factor(t / 50) for t in range(50, -1, -1)]
    assert set(factors) <= {1.0, late} and sum(a != b for a, b in zip(factors, factors[1:], strict=False)) <= 1
