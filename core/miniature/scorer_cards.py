"""Facts of the bundled judges. No torch."""

from __future__ import annotations

from core.evaluation.scorer import ScorerCard

FIGURES = {
    "preference": "cleanliness times the mean probability of what the prompt names",
    "accuracy": "share of what the prompt names that is read right",
    "cleanliness": "probability that the picture is not spoilt",
}

CARDS = {
    card.name: card
    for card in (
        ScorerCard(
            name=f"judge-{figure}",
            title=f"Bundled judge, {figure}",
            version="of the model's own world",
            range=f"0 to 1: {meaning}",
            licence="Apache-2.0",
        )
        for figure, meaning in FIGURES.items()
    )
}
"""By name; "judge-preference" is the one an evaluation of a miniature decides by."""
