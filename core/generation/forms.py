"""The forms of guidance as a person reads them: a title, a sentence, and the formula with its cost. No torch."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "npo": "NPO",
    "three-terms": "CFG and away from the worse model",
    "both-branches": "Offset taken off both predictions (Neon)",
    "autoguidance": "Away from the worse model alone (autoguidance)",
    "cfg": "Plain CFG",
}
"""What each form is called in a list."""

MEANINGS: Mapping[str, str] = {
    "npo": "The negative prediction comes from a worse model, θ + α·η + β·δ. 2 rows a step, as plain CFG.",
    "three-terms": "CFG with strength ω, and beside it a push with strength s away from the worse model that reads the same prompt. "
    "3 rows a step: half as much again.",
    "both-branches": "CFG with both predictions from θ + η − β·δ: one better network instead of two. 2 rows a step; `offset merge` "
    "makes it permanent.",
    "autoguidance": "Instead of CFG: away from a worse model that reads the same prompt, an earlier checkpoint for instance. 2 rows a "
    "step.",
    "cfg": "The offsets take no part in the negative prediction. 2 rows a step.",
}
"""What each form does, in a sentence or two with its cost."""

LATE_TITLES: Mapping[str, str] = {"same": "the same form", **TITLES}
"""The forms of the late steps in a list."""
