"""What votes say: rates, agreement and strengths against worked examples."""

import math

import pytest

from core.evaluation.votes import Vote, agreement, rate, strengths


def votes_of(table):
    """A row a voter, a column an item; None where a voter did not see it."""
    return [
        Vote(f"v{row}", f"i{at}", "a", "b", score)
        for row, scores in enumerate(table)
        for at, score in enumerate(scores)
        if score is not None
    ]


def test_a_rate_is_the_share_of_wins_with_draws_as_half():
    votes = votes_of([[1, 1, 0.5, 0], [1, 0.5, 0.5, 0]])
    found = rate(votes, draws=500)
    assert found.value == 4.5 / 8 and found.low < found.value < found.high


def test_one_voters_votes_on_one_item_are_not_independent():
    """A hundred voters who all say the same of two items are two items, not two hundred votes."""
    many = rate([Vote(f"v{n}", f"i{n % 2}", "a", "b", float(n % 2)) for n in range(200)], draws=500)
    assert many.high - many.low > 0.9


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    import random

    covered = 0
    for trial in range(100):
        chance = random.Random(trial)
        votes = [Vote("v", f"i{n}", "a", "b", float(chance.random() < 0.7)) for n in range(60)]
        found = rate(votes, draws=200, seed=trial)
        covered += found.low <= 0.7 <= found.high
    assert 88 <= covered <= 99


def test_alpha_is_that_of_a_worked_example():
    """Two raters, four units, interval metric. Coincidences by hand: observed disagreement 2·1/8, expected from 3 zeros and
    5 ones 2·15/56, so alpha = 1 − 0.25 / (30/56)."""
    found = agreement(votes_of([[1, 1, 0, 0], [1, 1, 0, 1]]))
    assert found is not None and found == (pytest.approx(1 - 0.25 / (30 / 56)), 0.75, 4)


def test_agreement_is_one_where_all_agree_low_where_none_do_and_absent_where_it_is_not_defined():
    assert agreement(votes_of([[1, 0, 0.5], [1, 0, 0.5]]))[0] == 1
    assert agreement(votes_of([[1, 0, 1, 0], [0, 1, 0, 1]]))[0] < 0
    assert agreement(votes_of([[1, 0, 1]])) is None, "one voter"
    assert agreement(votes_of([[1, None], [None, 0]])) is None, "nothing was seen by two"
    assert agreement(votes_of([[1, 1], [1, 1]])) is None, "nothing varies"
    assert agreement(votes_of([[1, 0, 1], [1, 0, None]]))[2] == 2, "what one alone saw does not count"


def test_the_strengths_of_two_columns_are_their_log_odds():
    votes = [Vote("v", f"i{n}", "a", "b", float(n < 30)) for n in range(40)]
    found = strengths(votes, ("a", "b"), draws=50)
    assert found["a"].value - found["b"].value == pytest.approx(math.log(3), abs=0.02)
    assert found["a"].low < found["a"].value < found["a"].high


def test_a_column_that_always_wins_has_a_finite_strength():
    votes = [Vote("v", f"i{n}", *pair, 1.0) for n in range(5) for pair in (("a", "b"), ("a", "c"), ("b", "c"))]
    found = strengths(votes, ("a", "b", "c"), draws=20)
    assert math.isfinite(found["a"].value) and found["a"].value > found["b"].value > found["c"].value
