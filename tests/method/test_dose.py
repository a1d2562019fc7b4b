"""The dose of an offset: one definition, exact where the predictions are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.method.dose import LEVELS, Dose, measure_dose, ratio, root_mean_square
from core.method.forms import PROPOSED, proposed_beta
from core.method.schedule import NoiseSchedule


def test_the_ratio_is_of_lengths_over_all_rows():
    plain, direction = torch.zeros(2, 3), torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    assert ratio(plain + 0.5 * direction.flip(1), plain, plain + direction) == pytest.approx(0.5)
    assert ratio(plain + 1.0, plain, plain) == 0.0, "a prompt that changes nothing has no direction"


def test_the_dose_is_the_root_of_the_mean_square():
    assert root_mean_square([3.0, 4.0]) == pytest.approx(12.5**0.5) and root_mean_square([]) == 0.0
    dose = Dose((0.1, 0.2, 0.3, 0.4, 0.5))
    assert dose.mean == pytest.approx(0.33166, abs=1e-5) and dose.facts()["dose"] == "0.33166"


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_gaussian_world_has_its_dose_in_closed_form(kind):
    """p(x | c) = N(m, 1) with m = 2 told the prompt and 0 without, the offset moving every mean by -0.5: a quarter, at any level."""
    alpha_t = torch.linspace(0.999, 0.05, 1000)
    schedule = NoiseSchedule(alpha_t, (1 - alpha_t**2).sqrt(), kind)

    def world(offset):
        def predict(x, t, mean):
            root, noise = schedule.at(t, x)
            x_0 = root * x + noise**2 * (mean + offset)
            return (x - root * x_0) / noise if kind == "epsilon" else (root * x - x_0) / noise

        return predict

    x_0 = torch.randn(4, 3)
    noises = [torch.randn(4, 3) for _ in LEVELS]
    dose = measure_dose(world(-0.5), world(0.0), x_0, 2.0, 0.0, schedule, noises)
    assert dose.ratios == pytest.approx([0.25] * len(LEVELS), rel=1e-3) and dose.mean == pytest.approx(0.25, rel=1e-3)


@given(st.floats(0.5, 30), st.floats(0.05, 3))
def test_what_is_proposed_holds_the_dose_until_its_bound(omega, dose):
    beta = proposed_beta(omega, dose)
    assert beta == 1.0 or omega * beta * dose == pytest.approx(PROPOSED, abs=0.006 * omega * dose)


def test_nothing_is_proposed_without_guidance_or_without_a_dose():
    assert proposed_beta(0.0, 0.5) == 0.0 and proposed_beta(2.0, 0.0) == 0.0
    assert proposed_beta(2.0, 0.72) == pytest.approx(0.97) and proposed_beta(6.0, 0.72) == pytest.approx(0.32)
