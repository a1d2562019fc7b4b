"""What there is to choose from: base models and offsets, bundled and the person's own. Cheap; no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.families import CARDS
from core.files import read_json, read_text
from core.studio.library.entries import Entry, entries, kind_of
from core.studio.workspace import ASSETS, Workspace

OPENING = "miniature-drawings"
"""The base that the page and `compare` open with."""
BUNDLED = "miniature-sd15"
"""The base that is meant where settings name none."""


@dataclass(frozen=True)
class Choice:
    """One thing to choose: its name as shown and kept, and where it is."""

    name: str
    path: Path


def list_bases(workspace: Workspace, known: list[Entry] | None = None) -> list[Choice]:
    """The bundled miniatures, the models of the workspace, and those of the library's folders.

    Args:
        known: `entries(workspace)`, where they were read already; here and in the other lists.
    """
    bundled = [Choice(folder.name, folder) for folder in sorted(ASSETS.glob("miniature-*"), key=_newcomers_first)]
    known = entries(workspace) if known is None else known
    added = [entry for entry in known if entry.kind == "model" and entry.source != "bundled"]
    return [*bundled, *(Choice(entry.name, entry.path) for entry in added)]


def _newcomers_first(folder: Path) -> tuple[bool, str]:
    return (folder.name != OPENING, folder.name)


def family_of_base(base: Path) -> str:
    """Name of the family of a base, a folder or a single file.

    Raises:
        StudioError: it is not a model of a known family.
    """
    kind, family = kind_of(base)
    if kind != "model" or not family:
        raise StudioError(
            "“{name}” is not a whole model of a known family.", "Choose a model folder or checkpoint.", name=base.name
        )
    return family


def samplers_of(family: str) -> tuple[str, ...]:
    """Names of the schedulers of a family; none of an unknown one."""
    return CARDS[family].samplers if family in CARDS else ()


def find_base(workspace: Workspace, name: str) -> Path:
    """The folder or file of a base: a name of `list_bases`, or a path.

    Raises:
        StudioError: there is none, or it is not a model of a known family.
    """
    bundled = ASSETS / name if re.fullmatch(r"miniature-[\w-]+", name) else None
    if bundled and bundled.is_dir():
        return bundled  # without a look at all folders
    known = {choice.name: choice.path for choice in list_bases(workspace)}
    path = known.get(name) or Path(name).expanduser()
    if not name or not path.exists():
        raise StudioError(
            "There is no base model “{name}”.",
            "Choose one of {known}.",
            name=Path(name).name[:60],
            known=", ".join(known) or "your folders",
        )
    family_of_base(path)
    return path


def list_offsets(workspace: Workspace, family: str = "", known: list[Entry] | None = None) -> list[Choice]:
    """Bundled offsets, those of runs newest first, then files; of one family and of unknown ones where it is given."""
    known = entries(workspace) if known is None else known
    offsets = [entry for entry in known if entry.kind in ("offset", "weights")]
    order = {"bundled": 0, "run": 1, "workspace": 2}
    offsets.sort(key=lambda entry: order.get(entry.source, 3))
    return [Choice(e.name, e.path) for e in offsets if not family or e.family in ("", family)]


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
    if match := re.fullmatch(r"(?:run )?([\w.-]+) step (\d+)", name):
        offsets_folder = workspace.runs / match[1] / "offsets"
        if not (offsets_folder / f"step-{match[2]}.safetensors").is_file():
            steps = sorted(int(file.stem.removeprefix("step-")) for file in offsets_folder.glob("step-*.safetensors"))
            raise StudioError(
                "The run “{run}” has no checkpoint at step {step}.",
                "It has checkpoints at steps {steps}."
                if steps
                else "It has none: only LoRA training keeps an offset with each checkpoint.",
                run=match[1][:60],
                step=match[2],
                steps=", ".join(map(str, steps)),
            )
        return offsets_folder / f"step-{match[2]}.safetensors"
    path = Path(name).expanduser()
    if not path.exists():
        raise StudioError(
            "There is no offset “{name}”.", "Choose one from the list, or enter a file.", name=path.name[:80]
        )
    return path


def list_controls(workspace: Workspace, family: str = "", known: list[Entry] | None = None) -> list[Choice]:
    """ControlNets and T2I-Adapters of the workspace and the library's folders."""
    known = entries(workspace) if known is None else known
    controls = [entry for entry in known if entry.kind == "control"]
    return [Choice(e.name, e.path) for e in controls if not family or e.family in ("", family)]


def find_control(workspace: Workspace, name: str) -> Path | None:
    """The folder or file of a control network: a name of `list_controls`, or a path. Empty or "none" is None.

    Raises:
        StudioError: there is none of that name.
    """
    if not name or name == "none":
        return None
    known = {choice.name: choice.path for choice in list_controls(workspace)}
    path = known.get(name) or Path(name).expanduser()
    if not path.exists() or kind_of(path)[0] != "control":
        raise StudioError(
            "There is no ControlNet or T2I-Adapter “{name}”.",
            "Choose one from the list, or enter a file or folder.",
            name=path.name[:80],
        )
    return path


def list_inversions(workspace: Workspace) -> dict[str, Path]:
    """Textual inversions in the workspace's folder by the name that calls them, the name of the file; of a pickle and what
    it was converted to, the latter."""
    files = [file for file in workspace.embeddings.rglob("*") if file.suffix.lower() in (".safetensors", ".pt", ".bin")]
    return {file.stem: file for file in sorted(files, key=lambda file: (file.suffix.lower() == ".safetensors", file))}


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file, one a line, empty lines left out.

    Raises:
        StudioError: no such file, or no prompt in it.
    """
    try:
        lines = read_text(path, limit=2**26).splitlines()
    except StudioError as error:
        raise StudioError(
            "The prompts cannot be read: {reason}", "Choose a UTF-8 text file.", reason=error.message
        ) from error
    prompts = [line.strip()[:2000] for line in lines if line.strip()]
    if not prompts:
        raise StudioError("“{name}” has no prompts.", "Write one prompt per line.", name=path.name)
    return prompts


def prompts_of(base: Path, prompts_file: str = "") -> list[str]:
    """The prompts to train with: of the file named, else those that come with the base; none where there are none."""
    if prompts_file:
        return read_prompts(Path(prompts_file).expanduser())
    return read_prompts(base / "prompts.txt") if (base / "prompts.txt").is_file() else []


def start_values(base: Path) -> dict[str, Any]:
    """What Compare opens with for a base: `studio.json` beside it, where the base brings one."""
    if not (base / "studio.json").is_file():
        return {}
    try:
        return read_json(base / "studio.json", dict)
    except StudioError:
        return {}  # a stranger's model with a damaged file renders as one without it
