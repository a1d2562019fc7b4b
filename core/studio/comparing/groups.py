"""Pictures that belong together: those of one seed of one rendering. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.generation.media import read_png
from core.studio.comparing.gallery import Picture, pictures
from core.studio.workspace import Workspace

_NAME = re.compile(r"(\d{8}-\d{6}-[0-9a-f]{6})-(\d+)-(\d+)")
"""Stamp of the rendering, column and seed of a picture's file."""


@dataclass(frozen=True)
class Group:
    """Pictures of one seed of one rendering, plain CFG first; any other file is its own group."""

    stamp: str
    seed: int
    pictures: tuple[Picture, ...]


def grouped(pictures: Sequence[Picture]) -> list[Group]:
    """Pictures that belong together, in the order in which the first of each group comes."""
    groups: dict[tuple[str, int], list[tuple[int, Picture]]] = {}
    for picture in pictures:
        match = _NAME.fullmatch(picture.shown.stem)
        key, column = ((match[1], int(match[3])), int(match[2])) if match else ((picture.shown.stem, 0), 0)
        groups.setdefault(key, []).append((column, picture))
    return [
        Group(stamp, seed, tuple(picture for _, picture in sorted(members, key=lambda member: member[0])))
        for (stamp, seed), members in groups.items()
    ]


def is_comparison(group: Group) -> bool:
    """Whether it is what Compare shows: plain CFG first, other settings beside it. Rows of a grid are often not."""
    first = group.pictures[0].settings
    return len(group.pictures) > 1 and not first.get("beta") and first.get("alpha", 1) == 1


def newest_groups(workspace: Workspace) -> list[Group]:
    """The pairs of the last comparison, seed by seed; none where nothing was compared lately."""
    groups = [group for group in grouped(pictures(workspace, limit=64)) if is_comparison(group)]
    newest = max((group.stamp for group in groups), default="")
    return sorted((group for group in groups if group.stamp == newest), key=lambda group: group.seed)


def settings_of(file: Path) -> dict[str, Any]:
    """The settings that the studio wrote into a picture.

    Raises:
        StudioError: it cannot be read, or carries none.
    """
    return read_png(file)
