"""What people's votes say: rates with intervals, agreement between voters, strengths over more than two columns.

numpy, scipy and choix are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REGULARISED = 0.01
"""Pseudo-comparisons between all columns in Bradley–Terry: strengths stay finite where one column won every time."""


@dataclass(frozen=True)
class Vote:
    """One answer to one question about one pair.

    Args:
        voter, item: who voted, and the prompt and seed that both pictures share.
        first, second: the two columns, always in the study's order of columns.
        score: 1 where the first is better, 0 where the second is, one half for a draw.
    """

    voter: str
    item: str
    first: str
    second: str
    score: float


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def _weights(votes: Sequence[Vote], draws: int, seed: int) -> Any:
    """Weights (draws, votes) of a bootstrap that resamples items and voters independently.

    Votes on one item, and votes of one person, depend on each other; resampling single votes would make intervals too
    narrow. Resampling both ways is conservative (Owen 2007, “The pigeonhole bootstrap”). One voter alone is not resampled:
    the interval then speaks of this person.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    weights = np.ones((draws, len(votes)))
    for names in ([vote.item for vote in votes], [vote.voter for vote in votes]):
        known = {name: place for place, name in enumerate(dict.fromkeys(names))}
        if len(known) > 1:
            counts = generator.multinomial(len(known), [1 / len(known)] * len(known), size=draws)
            weights *= counts[:, [known[name] for name in names]]
    return weights


def _interval(value: float, drawn: Any) -> Estimate:
    import numpy as np

    usable = drawn[np.isfinite(drawn)]
    if not len(usable):
        return Estimate(value, value, value)
    low, high = np.quantile(usable, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def rate(votes: Sequence[Vote], *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Share of votes for the first column, a draw as one half, with its interval.

    Args:
        votes: at least one, all on the same two columns.
    """
    import numpy as np

    scores = np.array([vote.score for vote in votes])
    parts = []
    block = max(1, 2**22 // len(votes))
    for start in range(0, draws, block):
        weights = _weights(votes, min(block, draws - start), seed + start)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(weights @ scores / weights.sum(1))
    return _interval(float(scores.mean()), np.concatenate(parts))


def agreement(votes: Sequence[Vote]) -> tuple[float, float, int] | None:
    """How far voters agree on what several of them saw: Krippendorff's alpha, the share of equal answers, and the pairs.

    Alpha is 1 for equal answers throughout, about 0 where they agree as often as chance would have it, negative where less;
    the scale is better, draw, worse at equal steps (the interval metric: opposite answers differ four times as much as
    either from a draw). Krippendorff 2011, “Computing Krippendorff's alpha-reliability”.

    Returns:
        None where nothing was answered by two voters, or alpha is not defined because all answers are the same kind.
    """
    units: dict[tuple[str, str, str], list[float]] = {}
    for vote in votes:
        units.setdefault((vote.item, vote.first, vote.second), []).append(vote.score)
    shared = [scores for scores in units.values() if len(scores) > 1]
    values = [score for scores in shared for score in scores]
    if not shared:
        return None
    observed = sum(_spread(scores) / (len(scores) - 1) for scores in shared) / len(values)
    expected = _spread(values) / (len(values) * (len(values) - 1))
    pairs = sum(len(scores) * (len(scores) - 1) for scores in shared)
    equal = sum(scores.count(score) - 1 for scores in shared for score in scores)
    if not expected:
        return None
    return 1 - observed / expected, equal / pairs, len(shared)


def _spread(scores: Sequence[float]) -> float:
    """Sum of squared differences over all ordered pairs of values."""
    return 2 * (len(scores) * sum(score * score for score in scores) - sum(scores) ** 2)


def strengths(votes: Sequence[Vote], columns: Sequence[str], *, draws: int = 300, seed: int = 0) -> dict[str, Estimate]:
    """Bradley–Terry strength of each column with its interval, as log-odds against the mean of all columns.

    P(a is preferred to b) = 1 / (1 + exp(strength of b − strength of a)); a draw is half a win of each. Fitted by choix
    (Maystre & Grossglauser 2015, iterative Luce spectral ranking).
    """
    import choix
    import numpy as np

    place = {column: number for number, column in enumerate(columns)}
    first = np.array([place[vote.first] for vote in votes])
    second = np.array([place[vote.second] for vote in votes])
    scores = np.array([vote.score for vote in votes])

    def fitted(weights: Any) -> Any:
        wins = np.zeros((len(columns), len(columns)))
        np.add.at(wins, (first, second), weights * scores)
        np.add.at(wins, (second, first), weights * (1 - scores))
        found = choix.ilsr_pairwise_dense(wins, alpha=REGULARISED)
        return found - found.mean()

    value = fitted(np.ones(len(votes)))
    drawn = np.array([fitted(weights) for weights in _weights(votes, draws, seed)])
    return {column: _interval(float(value[at]), drawn[:, at]) for column, at in place.items()}
