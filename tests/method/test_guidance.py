"""Guidance: what the three numbers mean, and their bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.method.forms import FORMS, USES, Row, beta_at, difference, in_interval
from core.method.guidance import BetaSchedule, GuidanceWeights, guide
from core.method.treatments import along, projected, rescale, with_momentum, within_norm


def test_alpha_one_and_beta_zero_is_plain_guidance_in_diffusers_convention():
    weights = GuidanceWeights(omega=6.5)
    positive, negative = torch.randn(2, 3), torch.randn(2, 3)
    diffusers = negative + weights.guidance_scale * (positive - negative)
    torch.testing.assert_close(guide(positive, negative, weights.omega), diffusers)
    assert weights.is_plain and weights.negative_row(0.5) == weights.positive_row(0.5) == (1.0, 0.0)


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
def test_what_is_not_a_number_is_refused(value):
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


def guided(weights, predictions, t_fraction=0.5):
    """The guided prediction of a form, from a table of predictions by their rows."""
    rows = weights.rows(t_fraction).used
    positive = predictions[rows.positive]
    away = tuple((strength, predictions[row]) for strength, row in rows.away)
    return positive + difference(positive, away) if away else positive


def test_every_form_is_its_published_equation_to_the_last_digit():
    generator = torch.Generator().manual_seed(1)
    table = {}
    for prompted in (True, False):
        for scales in ((1.0, 0.0), (0.4, 0.7), (1.0, -0.7)):
            table[Row(prompted, *scales)] = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    c, u = table[Row(True, 1.0, 0.0)], table[Row(False, 1.0, 0.0)]
    worse_c, worse_u = table[Row(True, 0.4, 0.7)], table[Row(False, 0.4, 0.7)]
    neon_c, neon_u = table[Row(True, 1.0, -0.7)], table[Row(False, 1.0, -0.7)]
    published = {
        "cfg": 4 * c - 3 * u,
        "npo": 4 * c - 3 * worse_u,
        "autoguidance": 4 * c - 3 * worse_c,
        "three-terms": 4 * c - 3 * u + 2 * (c - worse_c),
        "both-branches": 4 * neon_c - 3 * neon_u,
    }
    assert set(published) == set(FORMS) == set(USES)
    for name, expected in published.items():
        weights = GuidanceWeights(omega=3, alpha=0.4, beta=0.7, quality=2, guidance=name)
        torch.testing.assert_close(guided(weights, table), expected)
        assert weights.rows(0.5).forwards == (3 if name == "three-terms" else 2)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_form_reads_the_strengths_it_names_and_no_other(name):
    weights = GuidanceWeights(omega=3, alpha=0.4, beta=0.7, quality=2, guidance=name)
    for strength, other in (("omega", 5), ("alpha", 0.1), ("beta", -0.3), ("quality", 7)):
        changed = GuidanceWeights(
            **{"omega": 3, "alpha": 0.4, "beta": 0.7, "quality": 2, strength: other}, guidance=name
        )
        assert (changed.rows(0.5) != weights.rows(0.5)) == (strength in weights.strengths)


def test_a_strength_of_zero_costs_no_row():
    assert GuidanceWeights(omega=0, beta=1).rows(0.5).forwards == 1
    assert GuidanceWeights(omega=3, beta=1, quality=0, guidance="three-terms").rows(0.5).forwards == 2
    assert GuidanceWeights(omega=0, beta=1, guidance="three-terms").rows(0.5).forwards == 2


@pytest.mark.parametrize("name", sorted(FORMS))
def test_without_offsets_every_form_is_the_guidance_it_says(name):
    """On a Gaussian world: p(x | c) = N(m, 1), p(x) = N(0, 1). Guidance of strength omega samples N((omega + 1) m, 1), whose
    score at x_t is known; autoguidance with a model as good as the first adds nothing."""
    m, omega, alpha_t, sigma_t = 0.8, 3.0, 0.6, 0.8
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def epsilon(mean):  # alpha_t^2 + sigma_t^2 = 1: x_t has unit variance
        return sigma_t * (x - alpha_t * mean)

    table = {Row(True, 1.0, 0.0): epsilon(m), Row(False, 1.0, 0.0): epsilon(0.0)}
    weights = GuidanceWeights(omega=omega, alpha=1.0, beta=0.0, quality=2.0, guidance=name)
    expected = epsilon(m) if name == "autoguidance" else epsilon((omega + 1) * m)
    rows = weights.rows(0.5)
    zero = {row: table[Row(row.prompted, 1.0, 0.0)] for row in (rows.positive, *(row for _, row in rows.away))}
    torch.testing.assert_close(guided(weights, zero), expected)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("npo", lambda m, d, w, s, b: m + w * (m - b * d)),
        ("three-terms", lambda m, d, w, s, b: m + w * m - s * b * d),
        ("autoguidance", lambda m, d, w, s, b: m - w * b * d),
        ("both-branches", lambda m, d, w, s, b: m - b * d + w * m),
    ],
)
def test_an_offset_that_moves_every_mean_by_d_moves_the_sampled_mean_as_the_dose_says(name, mean):
    """delta shifts the model's mean by d, told the prompt or not: omega beta d, quality beta d, or beta d is what guidance takes off."""
    m, d, w, s, b, alpha_t, sigma_t = 0.8, 0.5, 3.0, 2.0, 0.3, 0.6, 0.8
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def epsilon(mean):
        return sigma_t * (x - alpha_t * mean)

    weights = GuidanceWeights(omega=w, beta=b, quality=s, guidance=name)
    rows = weights.rows(0.5).used
    table = {row: epsilon(m * row.prompted + row.delta * d) for row in (rows.positive, *(row for _, row in rows.away))}
    torch.testing.assert_close(guided(weights, table), epsilon(mean(m, d, w, s, b)))


def test_the_late_form_begins_below_its_level_with_its_factor():
    weights = GuidanceWeights(
        omega=6, beta=1, guidance="cfg", late_guidance="autoguidance", late_from=0.5, late_strength=1 / 3
    )
    assert weights.rows(0.5) == GuidanceWeights(omega=6).rows(0.5)
    assert weights.rows(0.4999) == GuidanceWeights(omega=2, beta=1, guidance="autoguidance").rows(0.4)
    assert weights.strengths == ("omega", "alpha", "beta")


def test_an_interval_costs_one_row_outside():
    weights = GuidanceWeights(omega=6, beta=1, guidance="three-terms", interval_low=0.2, interval_high=0.6)
    assert [weights.rows(t).forwards for t in (0.61, 0.6, 0.2, 0.19)] == [1, 3, 3, 1]
    assert weights.most_rows == 3 and weights.row_forwards(10) == 5 * 3 + 5 * 1


@pytest.mark.parametrize(
    ("changes", "two"),
    [
        ({}, True),
        ({"guidance": "both-branches"}, True),
        ({"guidance": "cfg", "late_guidance": "npo"}, True),
        ({"guidance": "three-terms"}, False),
        ({"guidance": "autoguidance"}, False),
        ({"late_strength": 0.5}, True),
        ({"late_strength": 0.5, "late_guidance": "npo"}, False),
        ({"interval_low": 0.1}, False),
        ({"cfg_rescale": 0.5}, False),
        ({"apg_parallel": 0.5}, False),
    ],
)
def test_which_settings_a_stock_pipelines_own_sum_can_say(changes, two):
    assert GuidanceWeights(omega=2, beta=1, **changes).is_two_rows == two


@pytest.mark.parametrize(
    ("changes", "plain"),
    [
        ({"beta": 0.0}, True),
        ({"beta": 1.0, "guidance": "cfg"}, True),
        ({"beta": 1.0}, False),
        ({"beta": 0.0, "cfg_rescale": 0.7}, False),
        ({"beta": 0.0, "guidance": "autoguidance"}, False),
        ({"beta": 1.0, "guidance": "cfg", "late_guidance": "npo"}, False),
    ],
)
def test_what_is_plain_guidance(changes, plain):
    assert GuidanceWeights(omega=2, **changes).is_plain == plain


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"guidance": "best"}, "“best” is not a form of guidance"),
        ({"late_guidance": "none"}, "“none” is not a form"),
        ({"interval_low": 0.7, "interval_high": 0.3}, "ends at 0.3, below its beginning at 0.7"),
    ],
)
def test_a_form_that_does_not_exist_and_an_empty_interval_are_refused(values, sentence):
    with pytest.raises(StudioError, match=sentence):
        GuidanceWeights(omega=2, **values)


def test_the_interval_holds_both_its_ends():
    assert [in_interval(5.0, t, 0.2, 0.8) for t in (0.1999, 0.2, 0.5, 0.8, 0.8001)] == [0.0, 5.0, 5.0, 5.0, 0.0]


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


def test_the_parallel_and_orthogonal_parts_recompose_and_are_orthogonal():
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
