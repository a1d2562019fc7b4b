"""The library: models and offsets in the workspace and in the folders a person pointed at. Nothing else is scanned.

No torch: headers and configuration files tell everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Damaged, StudioError
from core.families import detect
from core.files import cannot_read, newest_first, read_json, write_json
from core.offsets.controlnet import family_of_controlnet, is_controlnet
from core.offsets.formats import classify, family_of
from core.offsets.header import file_hash, is_gguf, is_pickle, read_header
from core.offsets.t2i_adapter import family_of_t2i_adapter, is_t2i_adapter
from core.offsets.textual_inversion import family_of_inversion, is_textual_inversion
from core.studio.locks import waiting_for
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
            T2I-Adapter), "embedding" (a textual inversion) or "pickle" (to be converted).
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
    """The stored `folders`, a list of paths, and `hashes`, sha256 by state; both empty where the file is damaged: it is
    then rewritten at the next change.

    Raises:
        StudioError: the disk refuses: what is stored is not known, and must not be written over.
    """
    stored: dict[str, Any] = {}
    with suppress(Damaged):
        if _file(workspace).exists():
            stored = read_json(_file(workspace), dict, limit=2**24)
    paths, hashes = stored.get("folders"), stored.get("hashes")
    return {
        "folders": [text for text in paths if isinstance(text, str)] if isinstance(paths, list) else [],
        "hashes": hashes if isinstance(hashes, dict) else {},
    }


@contextmanager
def _changing(workspace: Workspace) -> Iterator[dict[str, Any]]:
    """What is stored, to be changed: read and written under one lock, so that neither the page's other threads nor the
    command line lose what the other has added."""
    with waiting_for(_file(workspace).with_suffix(".lock")):
        stored = _read(workspace)
        yield stored
        write_json(_file(workspace), stored)


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
        raise StudioError(
            "There is no folder “{name}”.", "Enter an existing folder of models or LoRAs.", name=folder.name[:80]
        )
    folder = folder.resolve()
    if folder in (Path.home(), Path(folder.anchor)):
        raise StudioError("That is a whole disk or home folder.", "Enter the folder that contains the models.")
    with _changing(workspace) as stored:
        stored["folders"] = list(dict.fromkeys([*stored["folders"], str(folder)]))


def remove_folder(workspace: Workspace, name: str) -> None:
    """Takes a folder off the list; nothing in it is touched.

    Raises:
        StudioError: it is not on the list.
    """
    with _changing(workspace) as stored:
        remaining = [folder for folder in stored["folders"] if name not in (folder, Path(folder).name)]
        if len(remaining) == len(stored["folders"]):
            raise StudioError("“{name}” is not on the list.", "See `library` for the folders that are.", name=name[:80])
        stored["folders"] = remaining


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
    if is_controlnet(header.shapes):
        return "control", family_of_controlnet(header.shapes)
    if is_t2i_adapter(header.shapes):
        return "control", family_of_t2i_adapter(header.shapes)
    if is_textual_inversion(header.shapes):
        return "embedding", family_of_inversion(header.shapes)
    contents = classify(header.shapes, path.name)
    family = header.metadata.get("family") or family_of(contents, header.shapes)
    if (
        contents.format == "original"
        and not is_gguf(path)
        and any(key.startswith("first_stage_model.") for key in header.shapes)
    ):
        return "model", family
    return ("weights" if contents.whole else "offset"), family


def _control_family(folder: Path) -> str | None:
    """The family of a ControlNet or T2I-Adapter in the diffusers layout; None where the folder is none."""
    try:
        config = read_json(folder / "config.json", dict)
    except StudioError:
        return None
    kind = config.get("_class_name")
    if kind == "ControlNetModel":
        return "sdxl" if config.get("addition_embed_type") == "text_time" else "sd15"
    if kind == "T2IAdapter":
        return "sdxl" if str(config.get("adapter_type", "")).endswith("_xl") else "sd15"
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
        elif child.suffix.lower() in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf") and child.is_file():
            yield child


def entries(workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None) -> list[Entry]:
    """Everything there is: bundled, of the workspace, of finished runs, of the added folders.

    Args:
        on_fault: called for each file or folder that is left out because it is damaged or cannot be read.
    """
    matches: list[Entry] = []

    def add(path: Path, source: str, name: str = "") -> None:
        try:
            kind, family = kind_of(path)
            matches.append(Entry(name or path.name, path, kind, family, _size(path), source))
        except StudioError as error:
            on_fault(error)
        except OSError as error:
            on_fault(cannot_read(path.name, error))

    for path in [*sorted(ASSETS.glob("miniature-*")), *sorted((ASSETS / "offsets").glob("*.safetensors"))]:
        add(path, "bundled", path.stem if path.is_file() else "")
    for folder in (workspace.models, workspace.offsets, workspace.embeddings):
        for path in _walk(folder, DEPTH):
            add(path, "workspace")
    try:
        for path in newest_first(workspace.runs.glob("*/offset.safetensors")):
            add(path, "run", f"run {path.parent.name}")
    except OSError as error:
        on_fault(cannot_read(workspace.runs.name, error))
    try:
        added = folders(workspace)
    except StudioError as error:
        on_fault(error)
        added = []
    for folder in added:
        for path in _walk(folder, DEPTH):
            if len(matches) >= ENTRIES:
                return matches
            add(path, folder.name, f"{folder.name}/{path.relative_to(folder)}")
    return matches


def hash_of(workspace: Workspace, path: Path) -> str:
    """sha256 of a weights file, or of a folder's files in order; stored, so that it is computed once for each state.

    Raises:
        StudioError: a file cannot be read.
    """
    try:
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*.safetensors") if file.is_file())
        mark = "|".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
        key = f"{path}|{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
        hashes = _read(workspace)["hashes"]
        if key in hashes:
            return str(hashes[key])
        digest = file_hash(*files)
    except OSError as error:
        raise cannot_read(path.name, error) from error
    with _changing(workspace) as stored:
        others = {k: v for k, v in stored["hashes"].items() if not k.startswith(f"{path}|")}
        stored["hashes"] = {**others, key: digest}
    return digest
