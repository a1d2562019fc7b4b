"""Offset files: LoRA safetensors that diffusers and other programs read, with their provenance in the header."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core import __version__
from core.errors import StudioError
from core.offsets.low_rank import LowRank, LowRankLayer

PREFIX = "unet."
HEADER_LIMIT = 8 * 2**20
TENSOR_LIMIT = 20_000
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Offset:
    """What the header of an offset file says.

    Args:
        path: the file.
        family: of the model it was made for: "sd15".
        kind: "lora".
        rank: the largest rank of its layers.
        layers: how many layers it changes.
        size: of the file, bytes.
        provenance: base, recipe, steps, seed and so on, as text.
    """

    path: Path
    family: str
    kind: Literal["lora"]
    rank: int
    layers: int
    size: int
    provenance: Mapping[str, str]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a name stands twice in the header")
    return dict(pairs)


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, its sizes checked against the file's length. Reads no tensor."""
    again = "Copy or download the file again."
    try:
        if not path.is_file():
            raise StudioError(f"There is no file “{path.name}”.", "Choose another file.")
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
            if start[:15].lstrip().lower().startswith((b"<!doctype", b"<html")):
                raise StudioError(f"“{path.name}” is not weights: it is a web page.", again)
            if start.startswith(b"version https://git-lfs"):
                raise StudioError(f"“{path.name}” is not weights: it is a Git LFS pointer.", "Fetch it with git lfs.")
            if len(start) < 8:
                raise StudioError(f"“{path.name}” is not a safetensors file: it is too short.", again)
            (length,) = struct.unpack("<Q", start[:8])
            if length > HEADER_LIMIT or length + 8 > size:
                raise StudioError(f"“{path.name}” is not a safetensors file, or its header is cut off.", again)
            file.seek(8)
            raw = file.read(length)
        header = json.loads(raw, object_pairs_hook=_no_duplicates)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        if len(tensors) > TENSOR_LIMIT:
            raise StudioError(f"“{path.name}” names {len(tensors)} tensors; at most {TENSOR_LIMIT} are read.", again)
        for name, entry in tensors.items():
            begin, end = entry["data_offsets"]
            if entry["dtype"] not in _SIZES:
                raise StudioError(f"“{path.name}” holds {entry['dtype']} in {name[:80]}.", "Convert it to float16.")
            if "\0" in name or ".." in name or "/" in name:
                raise StudioError(f"“{path.name}” has a tensor with a forbidden name.", again)
            if (
                math.prod(entry["shape"]) * _SIZES[entry["dtype"]] != end - begin
                or begin < 0
                or end + 8 + length > size
            ):
                raise StudioError(f"“{path.name}” is cut off or damaged at tensor {name[:80]}.", again)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudioError(f"“{path.name}” is not a readable safetensors file.", again) from error
    return header


def _layer_names(header: Mapping[str, Any], path: Path) -> dict[str, tuple[str, str]]:
    names: dict[str, tuple[str, str]] = {}
    strangers = []
    for key in header:
        if key == "__metadata__":
            continue
        if key.startswith(PREFIX) and key.endswith(".lora_A.weight"):
            module = key[len(PREFIX) : -len(".lora_A.weight")]
            names[module] = (key, f"{PREFIX}{module}.lora_B.weight")
        elif not (key.startswith(PREFIX) and key.endswith(".lora_B.weight")):
            strangers.append(key)
    lost = [module for module, (_, up) in names.items() if up not in header]
    if not names or lost or strangers:
        count = len(header) - ("__metadata__" in header)
        first = (strangers or lost or ["none"])[0]
        raise StudioError(
            f"“{path.name}” is no LoRA this studio reads: {2 * len(names)} of its {count} tensors fit, "
            f"“{first[:80]}” does not.",
            "Choose a LoRA in the diffusers layout (keys like unet.….lora_A.weight).",
        )
    return names


def read_offset(path: Path) -> Offset:
    """What an offset file is, from its header alone.

    Raises:
        StudioError: the file is no offset, damaged, or of a format not read here.
    """
    header = _header(path)
    names = _layer_names(header, path)
    metadata = {str(key): str(value) for key, value in (header.get("__metadata__") or {}).items()}
    return Offset(
        path=path,
        family=metadata.get("family", "sd15"),
        kind="lora",
        rank=max(header[down]["shape"][0] for down, _ in names.values()),
        layers=len(names),
        size=path.stat().st_size,
        provenance={key: value for key, value in metadata.items() if key not in ("format", "family")},
    )


def load_low_rank(path: Path, *, family: str | None = None) -> dict[str, LowRankLayer]:
    """The layers of an offset file, float32 on the CPU.

    Args:
        family: refuse offsets of another family.

    Raises:
        StudioError: as `read_offset`; a tensor that is not finite; another family.
    """
    offset = read_offset(path)
    if family and offset.family != family:
        raise StudioError(
            f"“{path.name}” is an offset for {offset.family}, the model is {family}.", "Choose one made for this base."
        )
    names = _layer_names(_header(path), path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise StudioError(f"“{path.name}” is damaged.", "Copy or download the file again.") from error
    layers = {}
    for module, (down, up) in names.items():
        for name in (down, up):
            if not bool(torch.isfinite(tensors[name]).all()):
                raise StudioError(f"“{path.name}” has a value that is no number in {name}.", "Train or fetch it again.")
        if tensors[up].shape[1] != tensors[down].shape[0]:
            raise StudioError(f"“{path.name}” has two ranks in {module}.", "Train or fetch it again.")
        layers[module] = LowRankLayer(tensors[down].float(), tensors[up].float())
    return layers


def save_offset(
    path: Path,
    low_rank: LowRank,
    *,
    family: str,
    provenance: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> Offset:
    """Writes an offset as a diffusers LoRA: whole, or not at all.

    The lora scaling is folded into the up matrices, so every reader applies it right with lora_alpha = rank, the
    value that readers assume where a file names none.

    Args:
        provenance: what a person will want to know of it; names and figures, no paths.
    """
    tensors = {}
    for module, layer in low_rank.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = layer.down.to(dtype).contiguous()
        tensors[f"{PREFIX}{module}.lora_B.weight"] = layer.up.to(dtype).contiguous()
    metadata = {"format": "pt", "family": family, "studio_version": __version__, **provenance}
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, staged = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(descriptor)
    try:
        save_file(tensors, staged, metadata=metadata)
        os.replace(staged, path)
    finally:
        Path(staged).unlink(missing_ok=True)
    return read_offset(path)


def file_hash(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
