"""Renderings one after another in one process: its memory after the first ones is what it stays at."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import psutil

from core.generation.comparison import Comparison
from core.method.guidance import GuidanceWeights
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Saved
from core.studio.workspace import Workspace
from tests.torture.tally import Tally

SETTLED, GROWTH = 200, 0.01
"""Renderings after which memory is first looked at, and the part that it may grow by from there to the end."""


def soak(root: Path, *, count: int, seed: int = 0) -> Tally:
    """Renders `count` times one image of a tiny model in one step, with other prompts, strengths, seeds and sizes.

    Args:
        root: an empty folder; a workspace with a tiny model is made there.
    """
    from core.families import get

    tally, dice = Tally("soak", seed), random.Random(seed)
    workspace = Workspace(root)
    get("sd15").tiny().save_pretrained(workspace.models / "tiny")
    engine, memory = Engine(workspace, cpu=True), 0
    for number in range(count):
        tally.tries += 1
        comparison = Comparison(
            base="tiny", prompt="a" * dice.randint(0, 9), steps=1, seeds=(number,), height=dice.choice((16, 32)), width=32,
            columns=(GuidanceWeights(omega=dice.choice((0.0, 1.0, 4.0)), beta=dice.choice((0.0, 1.0))),),
        )  # fmt: skip
        saved = [event for event in engine.compare(comparison) if isinstance(event, Saved)]
        if len(saved) != 1 or not saved[0].path.is_file():
            tally.failures.append(f"rendering {number} left {len(saved)} pictures")
        for event in saved:
            event.path.unlink(missing_ok=True)
        if number + 1 == min(SETTLED, count // 2):
            memory = _memory()
    grown = _memory() / max(1, memory) - 1
    tally.facts.append(f"memory {grown:+.2%} after the first {min(SETTLED, count // 2)}")
    if count >= 2 * SETTLED and grown > GROWTH:
        tally.failures.append(f"memory grew by {grown:.2%}")
    return tally


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)
