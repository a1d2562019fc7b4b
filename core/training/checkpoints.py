"""Checkpoints that are whole or absent: staged, written, read back, named by a manifest of hashes, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import DiskFull, StudioError
from core.files import flush
from core.offsets.header import file_hash

STATE, MANIFEST = "state.safetensors", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: all tensors by name, and facts as JSON values, `step` among them."""

    name: str
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int) -> str:
    """Writes `step-N` into `folder` and then removes all but the newest `keep`.

    Newer ones than N are removed too: they were found damaged, or the run would have gone on from them.

    Returns:
        the checkpoint's name.

    Raises:
        DiskFull: with the room that is needed. Earlier checkpoints are untouched.
        StudioError: the disk is failing or read-only. Earlier checkpoints are untouched.
    """
    name = f"step-{step:07d}"
    staged = folder / f"{name}.{os.getpid()}.tmp"
    written = {key: tensor.contiguous() for key, tensor in tensors.items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in written.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        save_file(written, staged / STATE)
        flush(staged / STATE)
        _read_back(staged / STATE, written)
        manifest = {**facts, "step": step, "files": {STATE: file_hash(staged / STATE)}}
        with (staged / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file)
            file.flush()
            os.fsync(file.fileno())
        flush(staged)
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        os.replace(staged, folder / name)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(staged, ignore_errors=True)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space" in str(error):
            raise DiskFull(
                "The checkpoint of step {step} could not be written: the disk is full.",
                "Free {room:.1f} GB and resume; the previous checkpoint is kept.",
                step=step,
                room=max(0.1, 2 * size / 1e9),
            ) from error
        raise StudioError(
            "The checkpoint of step {step} could not be written: {kind}.",
            "Check that the folder can be written and resume; the previous checkpoint is kept.",
            step=step,
            kind=type(error).__name__,
        ) from error
    with suppress(OSError):  # what is too old goes with the next save
        names = checkpoint_names(folder)
        older = [old for old in names if old <= name]
        for old in [*older[:-keep], *names[len(older) :], *(path.name for path in folder.glob("*.tmp"))]:
            shutil.rmtree(folder / old, ignore_errors=True)
    return name


def _read_back(path: Path, written: Mapping[str, Tensor]) -> None:
    stored = load_file(path)
    if stored.keys() != written.keys() or any(
        not torch.equal(stored[key].view(-1).view(torch.uint8), tensor.cpu().view(-1).view(torch.uint8))
        for key, tensor in written.items()
    ):
        raise OSError("what was read back is not what was written")


def checkpoint_names(folder: Path) -> list[str]:
    """Names of the checkpoints with a manifest, oldest first."""
    return sorted(path.name for path in folder.glob("step-*") if not path.suffix and (path / MANIFEST).is_file())


def load_newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and the names of newer ones that are damaged.

    Its tensors are copies: a mapped file that is cut short later would kill the process.
    """
    damaged: list[str] = []
    for name in reversed(checkpoint_names(folder)):
        # twice: a signal that ends the program comes out of safetensors as a ValueError, and the checkpoint is whole
        for _ in range(2):
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
                return _read(folder / name), damaged
        damaged.append(name)
    return None, damaged


def _read(folder: Path) -> Checkpoint:
    facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if facts.pop("files") != {STATE: file_hash(folder / STATE)}:
        raise ValueError("a file is not the one that was written")
    if folder.name != f"step-{int(facts['step']):07d}":
        raise ValueError("the manifest is of another step")
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / STATE).items()}
    return Checkpoint(folder.name, tensors, facts)


def set_aside(folder: Path, names: list[str]) -> None:
    """Takes damaged checkpoints out of the count, so that they never push out a whole one."""
    for name in names:
        shutil.rmtree(folder / f"{name}.damaged", ignore_errors=True)
        with suppress(OSError):
            os.replace(folder / name, folder / f"{name}.damaged")
