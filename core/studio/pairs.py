"""What a person preferred, as pairs to train from: thumbs in the history and blind votes end in one folder. No torch."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.files import cannot_read, whole_file, write_text
from core.studio.workspace import Workspace


@dataclass(frozen=True)
class Preference:
    """Two pictures of one prompt; `preferred` was chosen over `rejected`."""

    prompt: str
    preferred: Path
    rejected: Path


def votes_folder(workspace: Workspace) -> Path:
    """Where `write_pairs` puts the pairs of a person's votes."""
    return workspace.root / "pairs" / "my-votes"


def write_pairs(workspace: Workspace, preferences: Iterable[Preference]) -> int:
    """Rewrites the folder: pictures under the hash of their content, and `pairs.jsonl`; how many pairs there are.

    The same pair twice counts once; pictures that have gone since they were voted on are left out, and so are pairs of
    two pictures with the same content.

    Raises:
        StudioError: the disk refuses.
    """
    folder = votes_folder(workspace)
    lines = dict[str, None]()
    for one in preferences:
        if not (one.preferred.is_file() and one.rejected.is_file()):
            continue
        names = [_kept(folder, path) for path in (one.preferred, one.rejected)]
        if names[0] != names[1]:
            row = {"prompt": one.prompt, "preferred": names[0], "rejected": names[1]}
            lines[json.dumps(row, ensure_ascii=False)] = None
    write_text(folder / "pairs.jsonl", "".join(f"{line}\n" for line in lines))
    return len(lines)


def _kept(folder: Path, path: Path) -> str:
    try:
        name = f"{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}{path.suffix.lower()}"
    except OSError as error:
        raise cannot_read(path.name, error) from error
    if not (folder / name).is_file():
        with whole_file(folder / name) as staged:
            shutil.copyfile(path, staged)
    return name
