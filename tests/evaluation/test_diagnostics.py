"""What is measured of guidance on the way, on a tiny real pipeline."""

import pytest
import torch

from core.evaluation.diagnostics import _facts, measuring
from core.families import get
from core.generation.rendering import Comparison, render
from core.method.guidance import GuidanceWeights
from tests.builders.offsets import DELTA, ETA

FAMILY = get("sd15")


@pytest.fixture(scope="module")
def pipe():
    return FAMILY.tiny()


def measured(pipe, weights, **offsets):
    comparison = Comparison(prompt="ab", seeds=(1, 2), columns=(weights,), steps=4)
    with measuring(pipe.unet, weights.omega) as meter:
        images = render(pipe, FAMILY, comparison, **offsets)
    return meter, images


@pytest.mark.parametrize("omega", [1.0, 6.5])
def test_plain_guidance_measures_its_own_omega_and_no_dose(pipe, omega):
    meter, _ = measured(pipe, GuidanceWeights(omega=omega), negative=DELTA)
    assert len(meter.steps) == 4
    assert meter.effective_omega == pytest.approx(omega, rel=1e-3)
    assert meter.dose == pytest.approx(0, abs=1e-4)


def test_an_offset_has_a_dose_that_grows_with_beta_and_is_measured_against_the_positive_weights(pipe):
    doses = []
    for beta in (0.5, 1.0):
        meter, _ = measured(pipe, GuidanceWeights(omega=2, beta=beta), positive=ETA, negative=DELTA)
        doses.append(meter.dose)
        assert meter.effective_omega != pytest.approx(2, rel=1e-3)
    assert 0 < doses[0] < doses[1]


def test_measuring_changes_no_picture_and_leaves_nothing_behind(pipe):
    weights = GuidanceWeights(omega=2, beta=1)
    _, images = measured(pipe, weights, negative=DELTA)
    plain = render(pipe, FAMILY, Comparison(prompt="ab", seeds=(1, 2), columns=(weights,), steps=4), negative=DELTA)
    assert [a.image.tobytes() for a in images] == [b.image.tobytes() for b in plain]
    assert not pipe.unet._forward_hooks


def test_no_guidance_measures_nothing(pipe):
    meter, _ = measured(pipe, GuidanceWeights(omega=0), negative=DELTA)
    assert not meter.steps and meter.effective_omega == 0 and meter.dose == 0


def test_the_figures_are_their_formulas():
    positive, plain = torch.tensor([[3.0, 0.0, 0.0]]).double(), torch.tensor([[1.0, 0.0, 0.0]]).double()
    negative = torch.tensor([[1.0, 1.0, 0.0]]).double()
    facts = _facts(5.0, positive, negative, plain, omega=2.0)
    assert facts.effective_scale == pytest.approx(3)  # what is at right angles to the direction does not count
    assert facts.dose == pytest.approx(0.5)
    assert facts.cosine == pytest.approx(3 / (3 * 2**0.5))


def test_independent_predictions_have_the_papers_deviation_ratio():
    generator = torch.Generator().manual_seed(0)
    positive, negative = (torch.randn(4, 50_000, generator=generator).double() for _ in range(2))
    facts = _facts(1.0, positive, negative, torch.zeros_like(positive), omega=2.0)
    assert facts.deviation_ratio == pytest.approx((2 * 4 + 2 * 2 + 1) ** 0.5, rel=0.01)
