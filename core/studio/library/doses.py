"""The measured doses of offsets: from their headers, or from what the strength meter measured of them, here or of the bundled ones
(`assets/offsets/doses.json`, by `evaluate dose`). No torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json, write_json
from core.offsets.header import read_header
from core.studio.library.entries import hash_of
from core.studio.locks import waiting_for
from core.studio.workspace import ASSETS, Workspace

FILE = "doses.json"


def _valid(value: Any) -> float | None:
    """A dose from outside as a figure; None where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict) if path.is_file() else {}
    except StudioError:
        return {}  # measured again when it is asked for


def known_dose(workspace: Workspace, path: Path) -> float | None:
    """The dose of an offset, where it was measured: its header's, else what the strength meter measured of its contents."""
    if path.is_dir() or path.suffix != ".safetensors":
        return None
    try:
        if (dose := _valid(read_header(path).metadata.get("dose"))) is not None:
            return dose
        measured = {**_read(ASSETS / "offsets" / FILE), **_read(workspace.root / FILE)}
        return _valid(measured.get(hash_of(workspace, path))) if measured else None
    except StudioError:
        return None


def keep_dose(workspace: Workspace, path: Path, dose: float) -> None:
    """Keeps what was measured of an offset, by its contents.

    Raises:
        StudioError: the file cannot be read, or the disk refuses.
    """
    if not path.is_file():
        return
    digest = hash_of(workspace, path)
    file = workspace.root / FILE
    with waiting_for(file.with_suffix(".lock")):
        write_json(file, {**_read(file), digest: round(dose, 5)})
