"""Scores of pictures that are there already, with the prompts that are in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.studio.evaluating.scorers import cards_of, judged_world, load
from core.studio.workspace import Workspace


def score_pictures(
    workspace: Workspace, files: Sequence[Path], names: Sequence[str], prompt: str | None = None
) -> list[dict[str, Any]]:
    """For each picture its file, its prompt, and the figure of each scorer.

    Args:
        names: of scorers.
        prompt: of all pictures; None reads the one that is in each.

    Raises:
        StudioError: a picture cannot be read or has no prompt, or a scorer is not here.
    """
    from core.families.attention import chosen
    from core.generation.media import open_picture, read_settings

    cards_of(names)
    if chosen() == "xformers":
        raise StudioError("Scorers have no attention by xformers.", "Choose sdpa or plain.")
    rows: list[dict[str, Any]] = []
    for file in files:
        own = read_settings(file).get("prompt", "") if prompt is None else prompt
        if not own:
            raise StudioError("“{name}” has no prompt in it.", "Give one with --prompt.", name=file.name)
        rows.append({"file": str(file), "prompt": str(own)})
    pictures = [open_picture(file).convert("RGB") for file in files]
    world = judged_world(workspace, rows[0]["prompt"] if rows else "")
    for name, scorer in zip(names, load(workspace, names, world), strict=True):
        for row, score in zip(rows, scorer.score(pictures, [row["prompt"] for row in rows]).tolist(), strict=True):
            row[name] = round(score, 4)
    return rows
