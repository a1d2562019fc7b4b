"""Thumbs up and down on one's own pictures, and the pairs that they make. No torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from core.errors import Damaged, StudioError
from core.files import read_json, write_json
from core.studio.comparing.gallery import pictures
from core.studio.comparing.groups import Group, grouped
from core.studio.locks import waiting_for
from core.studio.pairs import Preference
from core.studio.workspace import Workspace

UP, DOWN = 1, -1
MOST = 100_000


def _file(workspace: Workspace) -> Path:
    return workspace.outputs / ".thumbs.json"


def thumbs(workspace: Workspace) -> dict[str, int]:
    """Name of a picture to `UP` or `DOWN`.

    Raises:
        StudioError: the disk refuses.
    """
    with suppress(Damaged):  # thumbs are lost with their file; the pictures are not
        if _file(workspace).exists():
            kept = read_json(_file(workspace), dict, limit=2**24)
            return {name: value for name, value in kept.items() if value in (UP, DOWN) and not isinstance(value, bool)}
    return {}


def set_thumb(workspace: Workspace, name: str, value: int) -> None:
    """Gives a picture a thumb; the same one again takes it away.

    Raises:
        StudioError: there is no such picture, or the disk refuses.
    """
    picture = workspace.outputs / Path(name).name
    if not name or not picture.is_file():
        raise StudioError("That picture is not in the outputs folder.", "Choose one from the gallery.")
    with waiting_for(_file(workspace).with_suffix(".lock")):
        kept = thumbs(workspace)
        if kept.get(picture.name) == value:
            del kept[picture.name]
        else:
            kept[picture.name] = value
        write_json(_file(workspace), kept, indent=None)


def preferences(workspace: Workspace) -> list[Preference]:
    """Pairs of pictures of one rendering and seed that thumbs tell apart. A picture without a thumb is better than one with
    a thumb down, and worse than one with a thumb up. Videos are left out.

    Raises:
        StudioError: the disk refuses.
    """
    kept = thumbs(workspace)
    if not kept:
        return []
    return [pair for group in grouped(pictures(workspace, limit=MOST)) for pair in _of_group(group, kept)]


def _of_group(group: Group, kept: dict[str, int]) -> list[Preference]:
    ranked = [(kept.get(one.shown.name, 0), one) for one in group.pictures if one.path.suffix == ".png"]
    best, worst = max((rank for rank, _ in ranked), default=0), min((rank for rank, _ in ranked), default=0)
    if best == worst:
        return []
    return [
        Preference(str(winner.settings.get("prompt", "")), winner.shown, loser.shown)
        for rank, winner in ranked
        for other, loser in ranked
        if rank == best and other == worst
    ]
