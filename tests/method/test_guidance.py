"""Guidance: what the three numbers mean, and their bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.method.guidance import (
    BetaSchedule,
    GuidanceWeights,
    along,
    beta_at,
    both_branches,
    guide,
    halves,
    in_interval,
    projected,
    rescale,
    three_terms,
    with_momentum,
    within_norm,
)


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


def predictions(count=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(count)]


@given(st.floats(0.1, 30), st.floats(0, 4), st.floats(0.1, 30))
def test_a_held_dose_is_the_same_at_every_omega(omega, beta, other):
    assert other * beta_at(other, omega * beta) == pytest.approx(omega * beta)
    assert beta_at(0.0, omega * beta) == 0.0


def test_three_terms_are_guidance_and_autoguidance():
    positive, negative, worse = predictions(3)
    assert torch.equal(three_terms(positive, negative, worse, 3.0, 0.0), guide(positive, negative, 3.0))
    torch.testing.assert_close(three_terms(positive, negative, worse, 0.0, 2.0), guide(positive, worse, 2.0))
    both = 4 * positive - 3 * negative + 2 * positive - 2 * worse
    torch.testing.assert_close(three_terms(positive, negative, worse, 3.0, 2.0), both)


def test_both_branches_of_neon_are_one_network_to_first_order_of_which_guidance_is_plain():
    assert (
        both_branches(0.3) == ((1.0, -0.3), (1.0, -0.3))
        and both_branches(0.0)[0] == GuidanceWeights(omega=1).positive_row()
    )


def test_the_interval_holds_both_its_ends():
    assert [in_interval(5.0, t, 0.2, 0.8) for t in (0.1999, 0.2, 0.5, 0.8, 0.8001)] == [0.0, 5.0, 5.0, 5.0, 0.0]


def test_the_halves_meet_at_the_split():
    noisy, late = predictions()
    assert halves(0.5, 0.5, noisy, late) is noisy and halves(0.4999, 0.5, noisy, late) is late


def test_rescaling_gives_the_deviation_of_the_positive_and_keeps_the_direction():
    positive, negative = predictions()
    guided = guide(positive, negative, 6.0)
    whole = rescale(guided, positive, 1.0)
    torch.testing.assert_close(whole.flatten(1).std(1), positive.flatten(1).std(1))
    factor = whole / guided
    assert all(torch.allclose(sample, sample.flatten()[0]) for sample in factor)
    assert torch.equal(rescale(guided, positive, 0.0), guided)
    torch.testing.assert_close(rescale(guided, positive, 0.7), 0.7 * whole + 0.3 * guided)


def test_rescaling_is_that_of_diffusers():
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    positive, negative = (torch.randn(4, 3, 5, 5) for _ in range(2))
    guided = guide(positive, negative, 6.0)
    torch.testing.assert_close(rescale(guided, positive, 0.7), rescale_noise_cfg(guided, positive, 0.7))


def test_the_part_along_and_the_part_across_recompose_and_stand_at_right_angles():
    difference, direction = predictions()
    part = along(difference, direction)
    across = difference - part
    assert float((across * direction).flatten(1).sum(1).abs().max()) < 1e-12
    torch.testing.assert_close(along(part, direction), part)
    assert float(along(across, direction).abs().max()) < 1e-12


def test_projected_guidance_with_all_kept_is_plain_guidance_and_without_adds_nothing_along_the_prediction():
    positive, negative = predictions()
    difference = positive - negative
    torch.testing.assert_close(projected(positive, difference, 6.0, 1.0), guide(positive, negative, 6.0))
    pushed = projected(positive, difference, 6.0, 0.0) - positive
    assert float((pushed * positive).flatten(1).sum(1).abs().max()) < 1e-10
    bounded = projected(positive, difference, 1.0, 1.0, radius=0.5) - positive
    torch.testing.assert_close(bounded.flatten(1).norm(dim=1), torch.full((4,), 0.5, dtype=torch.float64))
    small = difference * 1e-3
    torch.testing.assert_close(within_norm(small, 100.0), small)


def test_projected_guidance_is_that_of_diffusers():
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

    buffer, running = MomentumBuffer(-0.5), None
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        positive, negative = (torch.randn(2, 3, 5, 5, generator=generator) for _ in range(2))
        theirs = normalized_guidance(
            positive, negative, 4.0, buffer, eta=0.2, norm_threshold=4.0, use_original_formulation=True
        )
        running = with_momentum(positive - negative, running, -0.5)
        # in the paper's own formulation, which starts from the positive prediction, the scale is omega
        torch.testing.assert_close(projected(positive, running, 4.0, 0.2, radius=4.0), theirs, atol=1e-5, rtol=1e-5)


def test_pieces_compose():
    positive, negative, worse = predictions(3)
    guided = three_terms(positive, negative, worse, in_interval(4.0, 0.5, 0.2, 0.8), 1.0)
    torch.testing.assert_close(
        rescale(halves(0.5, 0.6, positive, guided), positive, 1.0).flatten(1).std(1), positive.flatten(1).std(1)
    )
