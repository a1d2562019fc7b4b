"""What there is to choose from: base models and offsets, bundled and the person's own. Cheap; no torch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.families import CARDS
from core.studio.library.entries import Entry, entries, kind_of
from core.studio.workspace import ASSETS, Workspace

BUNDLED = "miniature-sd15"


@dataclass(frozen=True)
class Choice:
    """One thing to choose: its name as shown and kept, and where it is."""

    name: str
    path: Path


def list_bases(workspace: Workspace, found: list[Entry] | None = None) -> list[Choice]:
    """The bundled miniatures, the models of the workspace, and those of the library's folders.

    Args:
        found: `entries(workspace)`, where they are known already; here and in the other lists.
    """
    bundled = [Choice(folder.name, folder) for folder in sorted(ASSETS.glob("miniature-*"), key=_newcomers_first)]
    found = entries(workspace) if found is None else found
    added = [entry for entry in found if entry.kind == "model" and entry.source != "bundled"]
    return [*bundled, *(Choice(entry.name, entry.path) for entry in added)]


def _newcomers_first(folder: Path) -> tuple[bool, str]:
    return (folder.name != BUNDLED, folder.name)


def family_of_base(base: Path) -> str:
    """Name of the family of a base, a folder or a single file.

    Raises:
        StudioError: it is no model of a known family.
    """
    kind, family = kind_of(base)
    if kind != "model" or not family:
        raise StudioError(f"“{base.name}” is no whole model of a known family.", "Choose a model folder or checkpoint.")
    return family


def samplers_of(family: str) -> tuple[str, ...]:
    """Names of the schedulers of a family; none of an unknown one."""
    return CARDS[family].samplers if family in CARDS else ()


def find_base(workspace: Workspace, name: str) -> Path:
    """The folder or file of a base: a name of `list_bases`, or a path.

    Raises:
        StudioError: there is none, or it is no model of a known family.
    """
    bundled = ASSETS / name if re.fullmatch(r"miniature-[\w-]+", name) else None
    if bundled and bundled.is_dir():
        return bundled  # without a look at all folders
    known = {choice.name: choice.path for choice in list_bases(workspace)}
    path = known.get(name) or Path(name).expanduser()
    if not name or not path.exists():
        raise StudioError(
            f"There is no base model “{Path(name).name[:60]}”.", f"Choose one of {', '.join(known) or 'your folders'}."
        )
    family_of_base(path)
    return path


def list_offsets(workspace: Workspace, family: str = "", found: list[Entry] | None = None) -> list[Choice]:
    """Bundled offsets, those of runs newest first, then files; of one family and of unknown ones where it is given."""
    found = entries(workspace) if found is None else found
    found = [entry for entry in found if entry.kind in ("offset", "weights")]
    order = {"bundled": 0, "run": 1, "workspace": 2}
    found.sort(key=lambda entry: order.get(entry.source, 3))
    return [Choice(e.name, e.path) for e in found if not family or e.family in ("", family)]


def find_offset(workspace: Workspace, name: str) -> Path | None:
    """The file of an offset: a name of `list_offsets`, that of a run with " step N", or a path. Empty or "none" is None.

    Raises:
        StudioError: there is none of that name.
    """
    if not name or name == "none":
        return None
    for choice in list_offsets(workspace):
        if name in (choice.name, choice.name.removeprefix("run ")):
            return choice.path
    if found := re.fullmatch(r"(?:run )?([\w.-]+) step (\d+)", name):
        kept = workspace.runs / found[1] / "offsets"
        if not (kept / f"step-{found[2]}.safetensors").is_file():
            steps = sorted(int(file.stem.removeprefix("step-")) for file in kept.glob("step-*.safetensors"))
            raise StudioError(
                f"The run “{found[1][:60]}” has no checkpoint at step {found[2]}.",
                f"It has {', '.join(map(str, steps))}." if steps else "It kept none: only LoRA training keeps them.",
            )
        return kept / f"step-{found[2]}.safetensors"
    path = Path(name).expanduser()
    if not path.exists():
        raise StudioError(f"There is no offset “{path.name[:80]}”.", "Choose one of the list, or name a file.")
    return path


def list_controls(workspace: Workspace, family: str = "", found: list[Entry] | None = None) -> list[Choice]:
    """ControlNets and T2I-Adapters of the workspace and the library's folders."""
    found = entries(workspace) if found is None else found
    found = [entry for entry in found if entry.kind == "control"]
    return [Choice(e.name, e.path) for e in found if not family or e.family in ("", family)]


def find_control(workspace: Workspace, name: str) -> Path | None:
    """The folder of a control network: a name of `list_controls`, or a path. Empty or "none" is None.

    Raises:
        StudioError: there is none of that name.
    """
    if not name or name == "none":
        return None
    known = {choice.name: choice.path for choice in list_controls(workspace)}
    path = known.get(name) or Path(name).expanduser()
    if not path.is_dir() or kind_of(path)[0] != "control":
        raise StudioError(
            f"There is no ControlNet or T2I-Adapter “{path.name[:80]}”.",
            "Choose one of the list, or name a folder in the diffusers layout.",
        )
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
