"""The presets there are: a person's own in the workspace, which no update touches, and the built-in ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import StudioError
from core.files import cannot_write, write_text
from core.studio.presets.preset import Preset
from core.studio.presets.reading import read_preset
from core.studio.workspace import ASSETS, Workspace, slug

BUILT_IN = ASSETS.parent / "presets"


@dataclass(frozen=True)
class StoredPreset:
    """A preset of the list."""

    name: str
    path: Path
    built_in: bool

    @property
    def key(self) -> str:
        """What tells it from every other: the file's name, with the family's folder before it where it is built in."""
        return f"{self.path.parent.name}/{self.path.stem}" if self.built_in else self.path.stem


_ORDER = ("sd15", "sdxl", "cogvideox")


def _place(path: Path) -> tuple[int, Path]:
    """Built-in presets in the order in which the families came."""
    family = path.parent.name
    return (_ORDER.index(family) if family in _ORDER else len(_ORDER), path)


def list_presets(
    workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None
) -> list[StoredPreset]:
    """The person's own, then the built-in ones.

    Args:
        on_fault: called for each file that is left out because it is not a preset that can be read.
    """
    presets = []
    for folder, built_in in ((workspace.presets, False), (BUILT_IN, True)):
        for path in sorted(folder.glob("*.json" if not built_in else "*/*.json"), key=_place):
            try:
                preset = read_preset(path)
            except StudioError as error:
                on_fault(error)
                continue
            presets.append(StoredPreset(preset.name or path.stem, path, built_in))
    return presets


def find_preset(workspace: Workspace, name: str) -> StoredPreset:
    """The preset of that name.

    Raises:
        StudioError: there is none.
    """
    for stored in list_presets(workspace):
        if name in (stored.name, stored.key):
            return stored
    raise StudioError("There is no preset “{name}”.", "See the list of presets.", name=name[:80])


def save_preset(workspace: Workspace, preset: Preset, *, replace: bool = False) -> Path:
    """Keeps a preset in the workspace, whole or not at all.

    Raises:
        StudioError: it has no name, or one of that name exists and `replace` is not set.
    """
    if not preset.name or not preset.name.strip():
        raise StudioError("The preset has no name.", "Enter a name.")
    path = workspace.presets / f"{slug(preset.name)}.json"
    if path.exists() and not replace:
        raise StudioError(
            "A preset named “{name}” already exists.", "Choose another name, or replace it.", name=preset.name
        )
    write_text(path, preset.to_json())
    return path


def rename_preset(workspace: Workspace, name: str, new: str) -> Path:
    """Gives one of the person's presets another name.

    Raises:
        StudioError: it is built in, there is none, or the new name is taken.
    """
    stored = _own(workspace, name)
    preset = read_preset(stored.path).model_copy(update={"name": new.strip()})
    path = save_preset(workspace, preset, replace=slug(new) == stored.path.stem)
    if path != stored.path:
        stored.path.unlink()
    return path


def delete_preset(workspace: Workspace, name: str) -> Path:
    """Puts one of the person's presets away; where it went, so that it can be brought back.

    Raises:
        StudioError: it is built in, or there is none.
    """
    stored = _own(workspace, name)
    away = workspace.presets / ".deleted"
    gone = away / f"{time.time_ns()}-{stored.path.name}"
    try:
        away.mkdir(exist_ok=True)
        os.replace(stored.path, gone)
    except OSError as error:
        raise cannot_write(stored.path.name, error) from error
    return gone


def restore_preset(workspace: Workspace, gone: Path) -> Path:
    """Brings back what `delete_preset` put away.

    Raises:
        StudioError: it is not there any more.
    """
    if gone.parent != workspace.presets / ".deleted" or not gone.is_file():
        raise StudioError("There is nothing to restore.", "Import the preset again.")
    preset = read_preset(gone)
    path = save_preset(workspace, preset)
    gone.unlink()
    return path


def _own(workspace: Workspace, name: str) -> StoredPreset:
    stored = find_preset(workspace, name)
    if stored.built_in:
        raise StudioError("“{name}” is built in.", "Save a copy under another name first.", name=stored.name)
    return stored
