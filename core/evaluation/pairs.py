"""Columns compared in pairs: the same prompts and seeds under two settings, and the sentence that they support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.evaluation.statistics import Interval, mean_difference, mean_interval, sign_test, win_rate

BETTER, BETTER_AT_SAME, UNCLEAR, WORSE = (
    "better than CFG at its best",
    "better only than CFG at the same ω",
    "no clear difference",
    "worse",
)

FEWEST = 20
"""Pairs below which nothing is claimed: a percentile bootstrap of fewer is too narrow."""


@dataclass(frozen=True)
class PairedFigures:
    """One column against another in one scorer's figures.

    Args:
        pairs: how many.
        difference: mean of the column minus the other, with its interval.
        wins: share of pairs in which the column is higher, ties as half, with its interval.
        ties: share of pairs without a difference.
        p: of the two-sided sign test.
    """

    pairs: int
    difference: Interval
    wins: Interval
    ties: float
    p: float

    @property
    def better(self) -> bool:
        """Whether the whole interval of the difference is above zero, over enough pairs to say so."""
        return self.difference.low > 0 and self.pairs >= FEWEST

    @property
    def worse(self) -> bool:
        """Whether the whole interval of the difference is below zero, over enough pairs to say so."""
        return self.difference.high < 0 and self.pairs >= FEWEST


def paired(column: Tensor, other: Tensor, *, draws: int = 2000) -> PairedFigures:
    """Figures of two columns (pairs,) in the same order of prompts and seeds."""
    return PairedFigures(
        len(column),
        mean_difference(column, other, draws=draws),
        win_rate(column, other, draws=draws),
        float((column == other).double().mean()),
        sign_test(column, other),
    )


def best_of(means: Mapping[str, float]) -> str:
    """The name with the highest mean; of equal ones the first."""
    return max(means, key=lambda name: means[name])


def by_category(column: Tensor, other: Tensor, categories: Sequence[str]) -> dict[str, tuple[int, Interval, float]]:
    """Pairs, difference with its interval, and win rate of each category; none where there is but one."""
    names = sorted(set(categories))
    if len(names) < 2:
        return {}
    split: dict[str, tuple[int, Interval, float]] = {}
    for name in names:
        rows = torch.tensor([index for index, category in enumerate(categories) if category == name])
        a, b = column[rows].double(), other[rows].double()
        wins = float(((a > b).double() + 0.5 * (a == b).double()).mean())
        split[name] = (len(rows), mean_interval(a - b), wins)
    return split


@dataclass(frozen=True)
class Verdict:
    """`word` is one of the four at the top of this file; `sentence` says it with what it rests on."""

    word: str
    sentence: str


def judge_verdict(
    *,
    scorer: str,
    against_same: PairedFigures,
    against_best: PairedFigures,
    best: str,
    against_random: PairedFigures | None,
    against_reversed: PairedFigures | None,
    agreeing: tuple[int, int],
    chosen_on: int = 0,
) -> Verdict:
    """The verdict by one scorer, compared with its controls.

    A gain that a random offset of the same norm has too, or that turning the offset round does not undo, is not the
    offset's: then nothing is claimed.

    Args:
        scorer: title of the scorer that decides.
        against_same, against_best: the setting against CFG at the same ω, and at the best ω tried (`best` names it).
        against_random, against_reversed: against the controls; None where they were switched off.
        chosen_on: how many other pairs the best CFG was chosen on; 0 where on these very pairs, which favours CFG.
        agreeing: in how many of all scorers the difference to CFG at the same ω has this sign.
    """
    controls = [name for name, c in (("a random offset", against_random), ("β = −1", against_reversed)) if c]
    undone = [
        name
        for name, figures in (("a random offset of the same norm", against_random), ("β = −1", against_reversed))
        if figures is not None and not figures.better
    ]
    gained = against_best.better or against_same.better
    if gained and undone:
        word = UNCLEAR
    elif against_best.better and against_same.better:
        word = BETTER
    elif against_same.better:
        word = BETTER_AT_SAME
    elif against_same.worse:
        word = WORSE
    else:
        word = UNCLEAR
    same, top = against_same.difference, against_best.difference
    how = f"chosen on {chosen_on} other pairs" if chosen_on else "chosen on these pairs, which favours CFG"
    parts = [
        f"{scorer}: {same} against CFG at the same ω (wins {against_same.wins.value:.0%}, sign test p = {against_same.p:.2g}) "
        f"and {top} against {best}, the best of the CFG settings tried ({how}), "
        f"over {against_same.pairs} pairs"
    ]
    if gained and undone:
        parts.append(f"{' and '.join(undone)} cannot be told from it, so the gain is not the offset's")
    elif gained and controls:
        parts.append(f"{' and '.join(controls)} {'do' if len(controls) > 1 else 'does'} not show this gain")
    elif not controls:
        parts.append("no control was run")
    if against_same.pairs < FEWEST:
        parts.append(f"fewer than {FEWEST} pairs are too few to claim anything")
    same_sign, of = agreeing
    if of > 1:
        parts.append(f"{same_sign} of {of} scorers have a difference of this sign")
    sentence = f"{word[0].upper()}{word[1:]} – {'; '.join(parts)}."
    return Verdict(word, sentence)
