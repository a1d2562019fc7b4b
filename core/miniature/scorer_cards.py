"""Facts of the bundled judges. No torch."""

from __future__ import annotations

from core.evaluation.scorer import ScorerCard

FIGURES = {
    "preference": "cleanliness times the mean probability of what the prompt names",
    "accuracy": "share of what the prompt names that is read right",
    "cleanliness": "probability that the picture is not spoilt",
}


def _cards(prefix: str, title: str, purpose: str) -> dict[str, ScorerCard]:
    return {
        f"{prefix}-{figure}": ScorerCard(
            name=f"{prefix}-{figure}",
            title=f"{title}, {figure}",
            version=f"of the model's own world, for {purpose}",
            range=f"0 to 1: {meaning}",
            licence="Apache-2.0",
        )
        for figure, meaning in FIGURES.items()
    }


CARDS = _cards("judge", "Bundled judge", "choosing")
"""By name; "judge-preference" is the one an evaluation of a miniature decides by."""
SECOND = _cards("second-judge", "Second bundled judge", "reporting")
"""The judge that nothing was chosen by, in worlds that have one."""


def purpose_of(name: str) -> str:
    """What the judge of a scorer is for: "choosing" or "reporting"; empty for scorers that ask none."""
    return "choosing" if name in CARDS else "reporting" if name in SECOND else ""
