"""Where a person's things are kept, and how a name becomes a safe folder name. No torch."""

from __future__ import annotations

import errno
import os
import re
import shutil
import unicodedata
from pathlib import Path

import platformdirs

from core.errors import Sentence, StudioError
from core.files import cannot_read, sweep
from core.studio.upgrade import bring_forward, check_version

ASSETS = Path(__file__).resolve().parents[2] / "assets"
_RESERVED = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}


class Workspace:
    """The folders of one person's work; made when first asked for, swept of what killed writers left, and brought
    to this version.

    Args:
        root: the workspace; None is `SELF_NPO_WORKSPACE`, else the user's data folder.

    Raises:
        StudioError: the folder cannot be made or written, or a newer studio wrote it.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        chosen = root or os.environ.get("SELF_NPO_WORKSPACE") or platformdirs.user_data_dir("self-npo-studio", False)
        self.root = Path(chosen).expanduser().resolve()
        check_version(self.root)
        try:
            for folder in (self.runs, self.offsets, self.outputs, self.models, self.presets, self.embeddings):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
            bring_forward(self.root)
        except OSError as error:
            raise StudioError(
                "The workspace “{name}” cannot be written: {reason}.",
                "Choose another folder with --workspace.",
                name=self.root.name,
                reason=Sentence(
                    "the disk is full"
                    if error.errno in (errno.ENOSPC, errno.EDQUOT)
                    else "a file has the name of one of its folders"
                    if isinstance(error, FileExistsError | NotADirectoryError)
                    else "its folder is read-only or the disk reports a fault"
                ),
            ) from error
        for folder in (self.root, self.outputs, self.presets, self.offsets, self.embeddings):
            sweep(folder)

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def offsets(self) -> Path:
        return self.root / "offsets"

    @property
    def embeddings(self) -> Path:
        """Textual inversions, each called in a prompt by the name of its file."""
        return self.root / "embeddings"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def presets(self) -> Path:
        return self.root / "presets"

    @property
    def lock(self) -> Path:
        """Held by the studio that renders: one at a time on a workspace, whoever serves it."""
        return self.root / "render.lock"

    def free_bytes(self) -> int:
        """Free disk space of the workspace.

        Raises:
            StudioError: the disk does not tell.
        """
        try:
            return shutil.disk_usage(self.root).free
        except OSError as error:
            raise cannot_read(self.root.name, error) from error


def slug(name: str) -> str:
    """A safe folder name: letters, digits, dots and dashes, at most 60, never reserved, never outside its folder."""
    plain = unicodedata.normalize("NFKC", name)
    safe = re.sub(r"[^\w.-]+", "-", plain, flags=re.UNICODE).strip(".-_")[:60]
    return f"run-{safe}" if not safe or safe.lower().split(".")[0] in _RESERVED else safe
