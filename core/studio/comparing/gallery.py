"""The pictures of the workspace: newest first, searched by what is in them, marked as favourites, put away and brought
back. Their settings are in the files themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Damaged, StudioError
from core.files import cannot_read, newest_first, read_json, write_json
from core.studio.locks import waiting_for
from core.studio.workspace import Workspace


@dataclass(frozen=True)
class Picture:
    """A picture or a video's contact sheet, with its settings; `path` is what was made, `shown` what a gallery shows."""

    path: Path
    shown: Path
    settings: dict[str, Any]
    favourite: bool

    @property
    def caption(self) -> str:
        """A line to read under it."""
        facts = self.settings
        star = "★ " if self.favourite else ""
        if isinstance(facts.get("grid"), dict):
            return f"{star}grid of {', '.join(map(str, facts['grid']))}"
        return f"{star}ω {_figure(facts, 'omega')} · β {_figure(facts, 'beta')} · seed {_figure(facts, 'seed')}"


def _figure(facts: dict[str, Any], name: str) -> str:
    """A setting as a short figure; a picture's own settings are only what its file says."""
    value = facts.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "?"
    return str(value)[:20] if isinstance(value, int) else f"{value:g}"


def _marks(workspace: Workspace) -> Path:
    return workspace.outputs / ".favourites.json"


def favourites(workspace: Workspace) -> set[str]:
    """Names of the files marked.

    Raises:
        StudioError: the disk refuses.
    """
    with suppress(Damaged):  # marks are lost with their file; the pictures are not
        if _marks(workspace).exists():
            return {name for name in read_json(_marks(workspace), list) if isinstance(name, str)}
    return set()


def toggle_favourite(workspace: Workspace, name: str) -> bool:
    """Marks or unmarks a picture; whether it is marked now.

    Raises:
        StudioError: there is no such picture.
    """
    path = _inside(workspace, name)
    with waiting_for(_marks(workspace).with_suffix(".lock")):
        marked = favourites(workspace) ^ {path.name}
        write_json(_marks(workspace), sorted(marked), indent=None)
    return path.name in marked


def pictures(
    workspace: Workspace,
    search: str = "",
    *,
    only_favourites: bool = False,
    limit: int = 120,
    on_fault: Callable[[StudioError], None] = lambda fault: None,
) -> list[Picture]:
    """The newest pictures whose settings hold every word of the search.

    Args:
        on_fault: called for each file that is left out because it is not a picture with settings of this studio.
    """
    from core.generation.media import read_png

    words, matches = search.lower().split(), list[Picture]()
    marked: set[str] = set()
    files: list[Path] = []
    try:
        files = newest_first(workspace.outputs.glob("*.png"))
        marked = favourites(workspace)
    except StudioError as error:
        on_fault(error)
    except OSError as error:
        on_fault(cannot_read(workspace.outputs.name, error))
    for file in files:
        if only_favourites and file.name not in marked:
            continue
        try:
            settings = read_png(file)
        except StudioError as error:
            on_fault(error)
            continue
        text = " ".join(str(value) for value in settings.values()).lower()
        if all(word in text for word in words):
            video = file.with_suffix(".mp4")
            matches.append(Picture(video if video.exists() else file, file, settings, file.name in marked))
        if len(matches) >= limit:
            break
    return matches


def _inside(workspace: Workspace, name: str) -> Path:
    path = workspace.outputs / Path(name).name
    if not path.is_file():
        raise StudioError("That picture is not in the outputs folder.", "Choose one from the gallery.")
    return path


def put_away(workspace: Workspace, name: str) -> Path:
    """Takes a picture, and the video that belongs to it, out of the gallery; where it went.

    Raises:
        StudioError: there is no such picture, or the disk refuses; nothing is moved then.
    """
    path = _inside(workspace, name)
    away = workspace.outputs / ".deleted" / str(time.time_ns())
    files = [file for file in (path, path.with_suffix(".mp4"), path.with_suffix(".json")) if file.is_file()]
    try:
        away.mkdir(parents=True)
        for file in files:
            os.replace(file, away / file.name)
    except OSError as error:
        _move_back(away, workspace.outputs)
        raise StudioError(
            "“{name}” could not be deleted: its folder is read-only or the disk reports a fault.",
            "Check that the workspace can be written.",
            name=path.name,
        ) from error
    return away


def bring_back(workspace: Workspace, away: Path) -> None:
    """Puts back what `put_away` took.

    Raises:
        StudioError: it is not there any more, or the disk refuses.
    """
    if away.parent != workspace.outputs / ".deleted" or not away.is_dir():
        raise StudioError("There is nothing to restore.", "Render it again: its settings are in the presets.")
    if not _move_back(away, workspace.outputs):
        raise StudioError("The picture could not be restored.", "Check that the workspace can be written.")


def _move_back(away: Path, outputs: Path) -> bool:
    """Whether all that was put away is back in the outputs; what could not be moved stays where it is."""
    try:
        for file in away.iterdir():
            os.replace(file, outputs / file.name)
        away.rmdir()
    except OSError:
        return False
    return True
