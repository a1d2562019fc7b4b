"""What the browser knows of the numbers of Compare's form: their ranges, and the sentence shown at a field."""

from __future__ import annotations

import json
from pathlib import Path

from app.page.text import CHINESE, SENTENCES
from core.generation.settings import FIELDS


def ranges() -> dict[str, dict[str, object]]:
    """Name of each number of the form to its range and its sentence in both languages. −1 is a random seed."""
    known: dict[str, dict[str, object]] = {}
    for name, about in FIELDS.items():
        if about.kind in (int, float) and any(about.range):
            low, high = (-1 if name == "seed" else about.range[0]), about.range[1]
            span = {"value": "{value}", "low": low, "high": high}
            known[name] = {
                "low": low,
                "high": high,
                "whole": about.kind is int,
                "english": SENTENCE.format(name=about.label, **span),
                "chinese": SENTENCES[SENTENCE].format(name=CHINESE[about.label], **span),
            }
    return known


SENTENCE = "{name} goes from {low} to {high}; {value} cannot be rendered."
SCRIPT = f"window.npoRanges = {json.dumps(ranges())};" + Path(__file__).with_name("ranges.js").read_text(
    encoding="utf-8"
)
