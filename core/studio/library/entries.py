"""The library: models and offsets in the workspace and in the folders a person pointed at. Nothing else is scanned.

No torch: everything is told from headers and configuration files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.families import detect
from core.offsets.formats import classify, family_of
from core.offsets.header import is_pickle, read_header
from core.studio.files import waiting_for
from core.studio.workspace import ASSETS, Workspace

DEPTH = 3
ENTRIES = 500


@dataclass(frozen=True)
class Entry:
    """One thing of the library.

    Args:
        name: as shown and kept.
        path: file or folder.
        kind: "model" (a whole pipeline), "offset" (LoRA), "weights" (a whole denoiser), "control" (a ControlNet or
            T2I-Adapter) or "pickle" (to be converted).
        family: empty where its shapes do not tell.
        size: bytes.
        source: "bundled", "workspace", "run", or the folder's name.
    """

    name: str
    path: Path
    kind: str
    family: str
    size: int
    source: str


def _file(workspace: Workspace) -> Path:
    return workspace.root / "library.json"


def _read(workspace: Workspace) -> dict[str, Any]:
    """What is kept: `folders`, a list of paths, and `hashes`, sha256 by state; both empty where the file is none of ours."""
    try:
        told = json.loads(_file(workspace).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    told = told if isinstance(told, dict) else {}
    named, hashes = told.get("folders"), told.get("hashes")
    return {
        "folders": [text for text in named if isinstance(text, str)] if isinstance(named, list) else [],
        "hashes": hashes if isinstance(hashes, dict) else {},
    }


@contextmanager
def _changing(workspace: Workspace) -> Iterator[dict[str, Any]]:
    """What is kept, to be changed: read and written under one lock, so that neither the page's other threads nor the
    command line lose what the other has added."""
    staged = _file(workspace).with_suffix(".tmp")
    try:
        with waiting_for(_file(workspace).with_suffix(".lock"), given_up=lambda: False, on_wait=lambda: None):
            told = _read(workspace)
            yield told
            staged.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
            os.replace(staged, _file(workspace))
    except OSError as error:
        raise StudioError("The library could not be kept.", "Free disk space.") from error


def folders(workspace: Workspace) -> list[Path]:
    """The folders a person added, in their order; those that are away just now too."""
    return [Path(text) for text in _read(workspace)["folders"]]


def add_folder(workspace: Workspace, folder: Path) -> None:
    """Adds a folder to look in.

    Raises:
        StudioError: there is none, or it is a whole disk or home folder.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise StudioError(f"There is no folder “{folder.name[:80]}”.", "Name an existing folder of models or LoRAs.")
    folder = folder.resolve()
    if folder in (Path.home(), Path(folder.anchor)):
        raise StudioError("That is a whole disk or home folder.", "Name the folder that holds the models.")
    with _changing(workspace) as told:
        told["folders"] = list(dict.fromkeys([*told["folders"], str(folder)]))


def remove_folder(workspace: Workspace, name: str) -> None:
    """Takes a folder off the list; nothing in it is touched.

    Raises:
        StudioError: it is not on the list.
    """
    with _changing(workspace) as told:
        kept = [folder for folder in told["folders"] if name not in (folder, Path(folder).name)]
        if len(kept) == len(told["folders"]):
            raise StudioError(f"“{name[:80]}” is not on the list.", "See `library` for the folders that are.")
        told["folders"] = kept


def kind_of(path: Path) -> tuple[str, str]:
    """(kind, family) of a model folder or a weights file, from its header and never from its name.

    Raises:
        StudioError: it is nothing this studio reads.
    """
    if path.is_dir():
        control = _control_family(path)
        return ("model", detect(path)) if control is None else ("control", control)
    if is_pickle(path):
        return "pickle", ""
    header = read_header(path)
    contents = classify(header.shapes, path.name)
    family = header.metadata.get("family") or family_of(contents, header.shapes)
    if contents.format == "original" and any(key.startswith("first_stage_model.") for key in header.shapes):
        return "model", family
    return ("weights" if contents.format in ("full", "original") else "offset"), family


def _control_family(folder: Path) -> str | None:
    """The family of a ControlNet or T2I-Adapter in the diffusers layout; None where the folder is none."""
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = told.get("_class_name")
    except (OSError, ValueError, AttributeError):
        return None
    if kind == "ControlNetModel":
        return "sdxl" if told.get("addition_embed_type") == "text_time" else "sd15"
    if kind == "T2IAdapter":
        return "sdxl" if str(told.get("adapter_type", "")).endswith("_xl") else "sd15"
    return None


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Model folders and weight files below a folder, not into model folders nor through links to folders."""
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_dir() and not child.is_symlink():
            if (child / "model_index.json").is_file() or _control_family(child) is not None:
                yield child
            elif depth > 1:
                yield from _walk(child, depth - 1)
        elif child.suffix.lower() in (".safetensors", ".ckpt", ".pt", ".pth", ".bin") and child.is_file():
            yield child


def entries(workspace: Workspace) -> list[Entry]:
    """Everything there is: bundled, of the workspace, of finished runs, of the added folders."""
    found: list[Entry] = []

    def add(path: Path, source: str, name: str = "") -> None:
        with suppress(StudioError):
            kind, family = kind_of(path)
            found.append(Entry(name or path.name, path, kind, family, _size(path), source))

    for path in [*sorted(ASSETS.glob("miniature-*")), *sorted((ASSETS / "offsets").glob("*.safetensors"))]:
        add(path, "bundled", path.stem if path.is_file() else "")
    for folder in (workspace.models, workspace.offsets):
        for path in _walk(folder, DEPTH):
            add(path, "workspace")
    runs = sorted(workspace.runs.glob("*/offset.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in runs:
        add(path, "run", f"run {path.parent.name}")
    for folder in folders(workspace):
        for path in _walk(folder, DEPTH):
            if len(found) >= ENTRIES:
                return found
            add(path, folder.name, f"{folder.name}/{path.relative_to(folder)}")
    return found


def hash_of(workspace: Workspace, path: Path) -> str:
    """sha256 of a weights file, or of a folder's files in order; kept, so that it is computed once for each state."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*.safetensors") if file.is_file())
    mark = "|".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
    key = f"{path}|{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
    hashes = _read(workspace)["hashes"]
    if key not in hashes:
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as opened:
                while part := opened.read(2**20):
                    digest.update(part)
        with _changing(workspace) as told:
            others = {k: v for k, v in told["hashes"].items() if not k.startswith(f"{path}|")}
            told["hashes"] = hashes = {**others, key: digest.hexdigest()}
    return str(hashes[key])
