"""Statistics of paired comparisons: differences and win rates with bootstrap intervals, the sign test, Fréchet distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """mean: (features,), covariance: (features, features), both float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """The Gaussian of features (samples, features)."""
        features = features.double()
        return cls(features.mean(0), torch.cov(features.T))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|mean_a - mean_b|**2 + tr(A + B - 2 (A B)**(1/2)), as FID has it (Heusel et al. 2017)."""
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return float(distance)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"


def bootstrap(statistic: Callable[[Tensor], float], samples: int, *, draws: int = 1000, seed: int = 0) -> Interval:
    """95 % percentile interval of a statistic of paired samples.

    Args:
        statistic: takes indices (samples,) into the pairs and gives the figure; the same indices are used for both
            sides of a pair, so that what the pairs share cancels.
        samples: number of pairs, at least 2.
    """
    if samples < 2:
        raise ValueError("a bootstrap needs two pairs at least")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.tensor(
        [statistic(torch.randint(0, samples, (samples,), generator=generator)) for _ in range(draws)]
    ).double()
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(statistic(torch.arange(samples)), low, high)


def mean_interval(values: Tensor, *, draws: int = 1000, seed: int = 0) -> Interval:
    """Mean of values (samples,) with its 95 % percentile bootstrap interval; a single value has no width.

    The same as `bootstrap` with the mean, many times faster: the draws are made in blocks.
    """
    values = values.double()
    count = len(values)
    if not count:
        raise ValueError("a mean needs one value at least")
    generator = torch.Generator().manual_seed(seed)
    block = max(1, 2**22 // count)
    means = [
        values[torch.randint(0, count, (min(block, draws - start), count), generator=generator)].mean(1)
        for start in range(0, draws, block)
    ]
    low, high = torch.quantile(torch.cat(means), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.mean()), low, high)


def mean_difference(after: Tensor, before: Tensor, *, draws: int = 1000) -> Interval:
    """Mean of after - before over pairs (samples,), with its interval."""
    return mean_interval(after.double() - before.double(), draws=draws)


def win_rate(after: Tensor, before: Tensor, *, draws: int = 1000) -> Interval:
    """Share of pairs in which `after` is higher; a tie counts one half."""
    return mean_interval((after > before).double() + 0.5 * (after == before).double(), draws=draws)


def sign_test(after: Tensor, before: Tensor) -> float:
    """Two-sided p of the sign test: how often at least so uneven a split of the decided pairs would come by chance.

    Ties are left out; 1 where every pair is a tie. Exact up to 1,000 decided pairs, then the normal approximation with
    the correction for continuity.
    """
    wins, losses = int((after > before).sum()), int((after < before).sum())
    decided, fewer = wins + losses, min(wins, losses)
    if not decided:
        return 1.0
    if decided <= 1000:
        tail = sum(math.comb(decided, count) for count in range(fewer + 1)) / 2**decided
        return min(1.0, 2 * tail)
    distance = (abs(wins - losses) - 1) / math.sqrt(decided)
    return math.erfc(max(0.0, distance) / math.sqrt(2))


def frechet_difference(after: Tensor, before: Tensor, reference: Gaussian, *, draws: int = 200) -> Interval:
    """Fréchet distance of `after` minus that of `before`, features (samples, features), resampled in pairs."""

    def statistic(index: Tensor) -> float:
        return frechet_distance(Gaussian.of(after[index]), reference) - frechet_distance(
            Gaussian.of(before[index]), reference
        )

    return bootstrap(statistic, len(after), draws=draws)
