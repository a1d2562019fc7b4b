"""What there is to choose from: base models and offsets, bundled and the person's own. Cheap; no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.families import detect
from core.studio.runs import list_runs
from core.studio.workspace import ASSETS, Workspace

BUNDLED = "miniature-sd15"


@dataclass(frozen=True)
class Choice:
    """One thing to choose: its name as shown and kept, and where it is."""

    name: str
    path: Path


def list_bases(workspace: Workspace) -> list[Choice]:
    """The bundled miniatures, then the model folders of the workspace."""
    found = [*sorted(ASSETS.glob("miniature-*")), *sorted(workspace.models.iterdir())]
    return [Choice(folder.name, folder) for folder in found if (folder / "model_index.json").is_file()]


def find_base(workspace: Workspace, name: str) -> Path:
    """The folder of a base: a name of `list_bases`, or a folder's path.

    Raises:
        StudioError: there is none, or it is no model of a known family.
    """
    known = {choice.name: choice.path for choice in list_bases(workspace)}
    folder = known.get(name) or Path(name).expanduser()
    if not folder.is_dir():
        raise StudioError(
            f"There is no base model “{Path(name).name[:60]}”.", f"Choose one of {', '.join(known) or 'your folders'}."
        )
    detect(folder)
    return folder


def list_offsets(workspace: Workspace) -> list[Choice]:
    """Bundled offsets, finished runs newest first, then files in the workspace's offsets folder."""
    bundled = [Choice(path.stem, path) for path in sorted((ASSETS / "offsets").glob("*.safetensors"))]
    runs = []
    for run in list_runs(workspace):
        path = workspace.runs / run.id / "offset.safetensors"
        if path.is_file():
            runs.append(Choice(f"run {run.id}", path))
    own = [Choice(path.name, path) for path in sorted(workspace.offsets.glob("*.safetensors"))]
    return [*bundled, *runs, *own]


def find_offset(workspace: Workspace, name: str) -> Path | None:
    """The file of an offset: a name of `list_offsets`, or a file's path. Empty or "none" is None.

    Raises:
        StudioError: there is none of that name.
    """
    if not name or name == "none":
        return None
    for choice in list_offsets(workspace):
        if name in (choice.name, choice.name.removeprefix("run ")):
            return choice.path
    path = Path(name).expanduser()
    if not path.is_file():
        raise StudioError(f"There is no offset “{path.name[:80]}”.", "Choose one of the list, or name a file.")
    return path


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file, one a line, empty lines left out.

    Raises:
        StudioError: no such file, or no prompt in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(f"The prompts “{path.name}” cannot be read.", "Name a UTF-8 text file.") from error
    prompts = [line.strip()[:2000] for line in lines if line.strip()]
    if not prompts:
        raise StudioError(f"“{path.name}” holds no prompt.", "Write one prompt a line.")
    return prompts


def prompts_of(base: Path, prompts_file: str = "") -> list[str]:
    """The prompts to train with: of the file named, else those that come with the base; none where there are none."""
    if prompts_file:
        return read_prompts(Path(prompts_file).expanduser())
    return read_prompts(base / "prompts.txt") if (base / "prompts.txt").is_file() else []


def start_values(base: Path) -> dict[str, Any]:
    """What Compare opens with for a base: `studio.json` beside it, where the base brings one."""
    try:
        told = json.loads((base / "studio.json").read_text(encoding="utf-8"))
        return {str(key): value for key, value in told.items()}
    except (OSError, ValueError, AttributeError):
        return {}
