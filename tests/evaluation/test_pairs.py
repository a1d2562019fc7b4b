"""Paired figures, and the four verdicts with what overturns them."""

import pytest
import torch

from core.evaluation import pairs
from core.evaluation.pairs import best_of, by_category, judge_verdict, paired

NOISE = torch.randn(400, generator=torch.Generator().manual_seed(0)).double()


def shifted(by, seed=1):
    return NOISE + by + 0.3 * torch.randn(400, generator=torch.Generator().manual_seed(seed)).double()


def verdict(column, same, best, random=None, turned=None):
    return judge_verdict(
        scorer="Judge",
        against_same=paired(column, same),
        against_best=paired(column, best),
        best="CFG ω 4",
        against_random=None if random is None else paired(column, random),
        against_reversed=None if turned is None else paired(column, turned),
        agreeing=(2, 3),
    )


def test_paired_figures_agree_with_one_another():
    figures = paired(shifted(0.2), NOISE)
    assert figures.pairs == 400 and figures.better and not figures.worse
    assert figures.wins.value > 0.6 and figures.p < 1e-6 and figures.ties == 0
    turned = paired(NOISE, shifted(0.2))
    assert turned.worse and turned.p == pytest.approx(figures.p)
    assert turned.difference.value == pytest.approx(-figures.difference.value)
    tied = paired(NOISE, NOISE)
    assert (tied.ties, tied.wins.value, tied.p) == (1, 0.5, 1) and not tied.better and not tied.worse


@pytest.mark.parametrize(
    ("column", "same", "best", "word"),
    [
        (0.3, 0.0, 0.1, pairs.BETTER),
        (0.3, 0.0, 0.3, pairs.BETTER_AT_SAME),
        (0.3, 0.0, 0.6, pairs.BETTER_AT_SAME),
        (0.0, 0.0, 0.3, pairs.UNCLEAR),
        (-0.3, 0.0, 0.3, pairs.WORSE),
    ],
)
def test_each_verdict_is_reported_where_it_is_true(column, same, best, word):
    made = verdict(shifted(column), shifted(same, 2), shifted(best, 3), shifted(-0.3, 4), shifted(-0.4, 5))
    assert made.word == word
    assert (
        made.sentence.lower().startswith(word.lower())
        and "400 pairs" in made.sentence
        and "2 of 3 scorers" in made.sentence
    )


def test_a_gain_that_a_control_has_too_is_not_the_offsets():
    column, plain = shifted(0.3), shifted(0.0, 2)
    made = verdict(column, plain, plain, shifted(0.3, 4), shifted(-0.4, 5))
    assert made.word == pairs.UNCLEAR and "random offset of the same norm cannot be told" in made.sentence
    made = verdict(column, plain, plain, shifted(-0.3, 4), shifted(0.5, 5))
    assert made.word == pairs.UNCLEAR and "β = −1 cannot be told" in made.sentence
    assert "no control" in verdict(column, plain, plain).sentence


def test_nothing_is_claimed_of_a_few_pairs_however_even_they_are():
    before = torch.arange(19).double()
    assert not paired(before + 1, before).better and not paired(before - 1, before).worse
    made = verdict(before + 1, before, before)
    assert made.word == pairs.UNCLEAR and "too few to claim anything" in made.sentence
    before = torch.arange(20).double()
    assert verdict(before + 1, before, before).word == pairs.BETTER


def test_categories_are_distinguished_and_one_alone_is_not_repeated():
    column, other = NOISE.clone(), NOISE.clone()
    column[::2] += 1
    split = by_category(column, other, ["left", "right"] * 200)
    assert split["left"][0] == 200 and split["left"][1].value == pytest.approx(1) and split["left"][2] == 1
    assert split["right"][1].value == 0 and split["right"][2] == 0.5
    assert by_category(column, other, [""] * 400) == {}


def test_the_best_is_the_highest_and_the_first_of_equals():
    assert best_of({"a": 1.0, "b": 2.0, "c": 2.0}) == "b"
