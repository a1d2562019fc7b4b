"""Statistics against closed forms."""

import pytest
import torch

from core.evaluation.statistics import (
    Gaussian,
    Interval,
    bootstrap,
    frechet_difference,
    frechet_distance,
    mean_difference,
    mean_interval,
    sign_test,
    win_rate,
)


def test_the_frechet_distance_of_gaussians_with_one_basis_is_the_closed_form():
    a = Gaussian(torch.tensor([0.0, 1.0]).double(), torch.diag(torch.tensor([4.0, 1.0])).double())
    b = Gaussian(torch.tensor([3.0, 1.0]).double(), torch.diag(torch.tensor([1.0, 9.0])).double())
    assert frechet_distance(a, b) == pytest.approx(9 + (2 - 1) ** 2 + (1 - 3) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_a_bootstrap_interval_of_a_mean_is_its_standard_error():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    interval = bootstrap(lambda index: float(values[index].mean()), 2000, draws=800)
    assert interval.low < interval.value < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.15)


def test_pairs_cancel_what_they_share():
    shared = 10 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    interval = mean_difference(shared + 0.1, shared)
    assert interval.low == pytest.approx(0.1, abs=1e-5) and interval.high == pytest.approx(0.1, abs=1e-5)


def test_ties_count_one_half():
    assert win_rate(torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])).value == 0.625


def test_a_worse_sample_has_a_greater_distance_clear_of_zero():
    generator = torch.Generator().manual_seed(0)
    reference = Gaussian.of(torch.randn(5000, 4, generator=generator))
    before = torch.randn(800, 4, generator=generator)
    after = before + 0.5
    assert frechet_difference(after, before, reference, draws=60).low > 0.5


def test_the_fast_interval_of_a_mean_is_the_plain_bootstraps():
    values = torch.randn(300, generator=torch.Generator().manual_seed(1)).double() + 2
    fast = mean_interval(values, draws=4000)
    plain = bootstrap(lambda index: float(values[index].mean()), 300, draws=4000)
    assert fast.value == pytest.approx(plain.value)
    width = plain.high - plain.low
    assert fast.low == pytest.approx(plain.low, abs=width / 20) and fast.high == pytest.approx(
        plain.high, abs=width / 20
    )


def test_a_single_pair_has_no_width_and_none_has_no_mean():
    assert mean_interval(torch.tensor([3.0])) == Interval(3.0, 3.0, 3.0)
    with pytest.raises(ValueError, match="one value"):
        mean_interval(torch.tensor([]))


def test_the_sign_test_is_the_binomial_tail_without_ties():
    before = torch.zeros(12)
    assert sign_test(torch.tensor([1.0] * 9 + [-1.0] + [0.0] * 2), before) == pytest.approx(2 * 11 / 1024)
    assert sign_test(before, before) == 1
    assert sign_test(torch.tensor([1.0, -1.0]), torch.zeros(2)) == 1


def test_the_sign_test_of_many_pairs_meets_the_exact_one():
    def split(wins, losses):
        return sign_test(torch.tensor([1.0] * wins + [-1.0] * losses), torch.zeros(wins + losses))

    assert split(521, 480) == pytest.approx(split(521, 479), rel=0.06)
    assert split(3000, 2000) < 1e-10
