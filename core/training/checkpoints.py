"""Checkpoints that are whole or absent: staged, written, read back, named by a manifest of hashes, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import StudioError

STATE, MANIFEST = "state.safetensors", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: all tensors by name, and facts as JSON values, `step` among them."""

    name: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int) -> str:
    """Writes `step-N` into `folder` and then removes all but the newest `keep`.

    Returns:
        the checkpoint's name.

    Raises:
        StudioError: the disk is full, failing or read-only. Earlier checkpoints are untouched.
    """
    name = f"step-{step:07d}"
    staged = folder / f"{name}.{os.getpid()}.tmp"
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, staged / STATE)
        _flush(staged / STATE)
        load_file(staged / STATE)
        manifest = {**facts, "step": step, "files": {STATE: _hash(staged / STATE)}}
        with (staged / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())
        _flush(staged)
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        os.replace(staged, folder / name)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space" in str(error)
        raise StudioError(
            f"The checkpoint of step {step} could not be written: {'the disk is full' if full else type(error).__name__}.",
            f"Free {max(0.1, 2 * size / 1e9):.1f} GB and resume; the checkpoint before it is kept."
            if full
            else "Check that the folder can be written and resume; the checkpoint before it is kept.",
        ) from error
    for old in checkpoint_names(folder)[:-keep]:
        shutil.rmtree(folder / old, ignore_errors=True)
    for orphan in folder.glob("*.tmp"):
        shutil.rmtree(orphan, ignore_errors=True)
    return name


def checkpoint_names(folder: Path) -> list[str]:
    """Names of the checkpoints with a manifest, oldest first."""
    return sorted(path.name for path in folder.glob("step-*") if (path / MANIFEST).is_file() and path.suffix != ".tmp")


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and the names of newer ones that are damaged."""
    damaged: list[str] = []
    for name in reversed(checkpoint_names(folder)):
        try:
            facts = json.loads((folder / name / MANIFEST).read_text(encoding="utf-8"))
            if facts.pop("files") != {STATE: _hash(folder / name / STATE)}:
                raise ValueError("a file is not the one that was written")
            return Checkpoint(name, load_file(folder / name / STATE), facts), damaged
        except (OSError, ValueError, KeyError, AttributeError, SafetensorError):
            damaged.append(name)
    return None, damaged
