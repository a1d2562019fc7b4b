"""The version of a workspace. One that an older studio wrote is brought forward when it is opened, its changed files kept aside
first; one of a newer studio is refused before anything in it is touched.

0   of the studio 0.1 and 0.2, which wrote no version
1   of 0.3: what a run was asked to do is in its file `request`, where it was in `wish`

What else 0.1 and 0.2 wrote, runs, checkpoints, presets, pictures and lists, is read as it is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from core.errors import Damaged, StudioError
from core.files import read_json, write_json

FILE, VERSION = "workspace.json", 1
BACKUPS = "backups"


def _renamed_requests(root: Path) -> Iterator[tuple[Path, Path]]:
    for old in sorted((root / "runs").glob("*/wish")):
        yield old, old.with_name("request")


STEPS: dict[int, Callable[[Path], Iterator[tuple[Path, Path]]]] = {0: _renamed_requests}
"""From a version to the next: files that move, and where to."""


def version_of(root: Path) -> int:
    """The version that a workspace says it is of; 0 where it says none, or the file is damaged.

    Raises:
        StudioError: the disk refuses.
    """
    if not (root / FILE).exists():
        return 0
    with suppress(Damaged):
        version = read_json(root / FILE, dict).get("version")
        return version if type(version) is int and version >= 0 else 0
    return 0


def check_version(root: Path) -> None:
    """Whether this studio may open a workspace.

    Raises:
        StudioError: a newer studio wrote it; nothing was changed. The disk refuses.
    """
    version = version_of(root)
    if version > VERSION:
        raise StudioError(
            "The workspace “{name}” was written by a newer studio: it is of version {version}, and this studio reads up to {newest}.",
            "Update the studio, or choose another folder with --workspace. Nothing in it was changed.",
            name=root.name,
            version=version,
            newest=VERSION,
        )


def bring_forward(root: Path) -> Path | None:
    """Brings a workspace that may be opened to the version of this studio. What a kill interrupts is done by the next start.

    Returns:
        the folder with what was changed as it was before; None where nothing had to be.

    Raises:
        OSError, StudioError: the disk refuses; what was there is in its place or among the backups.
    """
    version, backup = version_of(root), root / BACKUPS / time.strftime("%Y%m%d-%H%M%S")
    if version == VERSION and (root / FILE).exists():
        return None
    for step in range(version, VERSION):
        for old, new in STEPS[step](root):
            kept = backup / old.relative_to(root)
            kept.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another start was faster
                shutil.copy2(old, kept)
                os.replace(old, new)
    write_json(root / FILE, {"schema": "self-npo-workspace", "version": VERSION})
    return backup if backup.exists() else None
