"""The pictures of the workspace: newest first, searched by what is in them, marked as favourites, put away and brought
back. Their settings are in the files themselves."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
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
        told = self.settings
        star = "★ " if self.favourite else ""
        if "grid" in told:
            return f"{star}grid of {', '.join(told['grid'])}"
        beta = told.get("beta", 0)
        return f"{star}ω {told.get('omega', 0):g} · β {beta:g} · seed {told.get('seed', 0)}"


def _marks(workspace: Workspace) -> Path:
    return workspace.outputs / ".favourites.json"


def favourites(workspace: Workspace) -> set[str]:
    """Names of the files marked."""
    try:
        told = json.loads(_marks(workspace).read_text(encoding="utf-8"))
        return {name for name in told if isinstance(name, str)}
    except (OSError, ValueError, TypeError):
        return set()


def toggle_favourite(workspace: Workspace, name: str) -> bool:
    """Marks or unmarks a picture; whether it is marked now.

    Raises:
        StudioError: there is no such picture.
    """
    path = _inside(workspace, name)
    marked = favourites(workspace) ^ {path.name}
    staged = _marks(workspace).with_suffix(".tmp")
    staged.write_text(json.dumps(sorted(marked)), encoding="utf-8")
    os.replace(staged, _marks(workspace))
    return path.name in marked


def pictures(
    workspace: Workspace, search: str = "", *, only_favourites: bool = False, limit: int = 120
) -> list[Picture]:
    """The newest pictures whose settings hold every word of the search."""
    from core.generation.media import read_png

    marked, words, found = favourites(workspace), search.lower().split(), []
    with suppress(OSError):
        files = sorted(workspace.outputs.glob("*.png"), key=lambda path: path.stat().st_mtime, reverse=True)
        for file in files:
            if only_favourites and file.name not in marked:
                continue
            try:
                settings = read_png(file)
            except StudioError:
                continue
            text = " ".join(str(value) for value in settings.values()).lower()
            if all(word in text for word in words):
                video = file.with_suffix(".mp4")
                found.append(Picture(video if video.exists() else file, file, settings, file.name in marked))
            if len(found) >= limit:
                break
    return found


def _inside(workspace: Workspace, name: str) -> Path:
    path = workspace.outputs / Path(name).name
    if not path.is_file():
        raise StudioError("That picture is not in the outputs folder.", "Choose one of the gallery.")
    return path


def put_away(workspace: Workspace, name: str) -> Path:
    """Takes a picture, and the video that belongs to it, out of the gallery; where it went.

    Raises:
        StudioError: there is no such picture.
    """
    path = _inside(workspace, name)
    away = workspace.outputs / ".deleted" / str(time.time_ns())
    away.mkdir(parents=True)
    for file in (path, path.with_suffix(".mp4"), path.with_suffix(".json")):
        if file.is_file():
            os.replace(file, away / file.name)
    return away


def bring_back(workspace: Workspace, away: Path) -> None:
    """Puts back what `put_away` took.

    Raises:
        StudioError: it is not there any more.
    """
    if away.parent != workspace.outputs / ".deleted" or not away.is_dir():
        raise StudioError("There is nothing to bring back.", "Render it again: its settings are in the presets.")
    for file in away.iterdir():
        os.replace(file, workspace.outputs / file.name)
    away.rmdir()
