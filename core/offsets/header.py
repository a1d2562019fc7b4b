"""What a weights file is, before anything of it is believed: its kind by its first bytes, its header within bounds."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import StudioError

HEADER_LIMIT = 8 * 2**20
TENSOR_LIMIT = 20_000
AGAIN = "Copy or download the file again."


class DataType(NamedTuple):
    """A data type of safetensors: its name in torch, and the bytes of one value."""

    torch_name: str
    size: int


DATA_TYPES = {
    "F64": DataType("float64", 8),
    "F32": DataType("float32", 4),
    "F16": DataType("float16", 2),
    "BF16": DataType("bfloat16", 2),
    "I64": DataType("int64", 8),
    "I32": DataType("int32", 4),
    "I16": DataType("int16", 2),
    "I8": DataType("int8", 1),
    "U8": DataType("uint8", 1),
    "BOOL": DataType("bool", 1),
}


@dataclass(frozen=True)
class Header:
    """The names, shapes and data types of a safetensors file, or of all shards of one, and its text metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """First byte of each tensor in its file, and the byte after its last."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a name appears twice in the header")
    return dict(pairs)


def first_bytes(path: Path, count: int = 512) -> bytes:
    """The beginning of a regular file.

    Raises:
        StudioError: there is no such file, it cannot be read, or it is plainly something other than weights.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StudioError(f"“{path.name}” is not a file.", "Choose another file.")
        with path.open("rb") as file:
            start = file.read(count)
    except OSError as error:  # a loop of links is one of these
        raise StudioError(f"There is no file “{path.name}”, or it cannot be read.", "Choose another file.") from error
    if start[:15].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise StudioError(f"“{path.name}” is not weights: it is a web page.", AGAIN)
    if start.startswith(b"version https://git-lfs"):
        raise StudioError(f"“{path.name}” is not weights: it is a Git LFS pointer.", "Fetch it with git lfs.")
    return start


def file_hash(*paths: Path) -> str:
    """sha256, hexadecimal, of the bytes of a file, or of several one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def is_pickle(path: Path) -> bool:
    """Whether a file is a PyTorch archive (zip or legacy pickle), whatever its name says.

    A safetensors file whose header is 0x…80 bytes long begins with pickle's byte too; its brace tells them apart.
    """
    start = first_bytes(path)
    return start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[8:9] != b"{")


def read_header(path: Path) -> Header:
    """The header of a safetensors file, its sizes checked against the file's length. Reads no tensor.

    Raises:
        StudioError: it is another kind of file, cut off, damaged or out of bounds.
    """
    if is_pickle(path):
        raise StudioError(
            f"“{path.name}” is a PyTorch pickle, which may run code when it is opened.",
            "Convert it first: python launch.py offset convert FILE (the Library does the same when it is dropped there).",
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise StudioError(f"“{path.name}” is not a safetensors file: it is too short.", AGAIN)
            (length,) = struct.unpack("<Q", start)
            if length > HEADER_LIMIT or length + 8 > size:
                raise StudioError(f"“{path.name}” is not a safetensors file, or its header is cut off.", AGAIN)
            raw = file.read(length)
        entries = json.loads(raw, object_pairs_hook=_no_duplicates)
        metadata = {str(key): str(value) for key, value in (entries.pop("__metadata__", None) or {}).items()}
        if len(entries) > TENSOR_LIMIT:
            raise StudioError(f"“{path.name}” names {len(entries)} tensors; at most {TENSOR_LIMIT} are read.", AGAIN)
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            if entry["dtype"] not in DATA_TYPES:
                raise StudioError(f"“{path.name}” holds {entry['dtype']} in {name[:80]}.", "Convert it to float16.")
            if "\0" in name or ".." in name or "/" in name:
                raise StudioError(f"“{path.name}” has a tensor with a forbidden name.", AGAIN)
            if (
                math.prod(entry["shape"]) * DATA_TYPES[entry["dtype"]].size != end - begin
                or min(entry["shape"], default=1) < 0
                or begin < 0
                or end + 8 + length > size
            ):
                raise StudioError(f"“{path.name}” is cut off or damaged at tensor {name[:80]}.", AGAIN)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudioError(f"“{path.name}” is not a readable safetensors file.", AGAIN) from error
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    dtypes = {name: entry["dtype"] for name, entry in entries.items()}
    spans = {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in entries.items()
    }
    return Header(shapes, dtypes, metadata, spans)


def shards_of(folder: Path) -> list[Path]:
    """The weight files of a folder: its shards in the order of the index, or its one safetensors file.

    Raises:
        StudioError: the folder holds none, or a shard is missing; it is named.
    """
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        try:
            named = sorted(set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudioError(f"“{indices[0].name}” cannot be read.", AGAIN) from error
        for name in named:
            if Path(name).name != name or not (folder / name).is_file():
                raise StudioError(f"The shard “{Path(name).name}” of “{folder.name}” is missing.", AGAIN)
        return [folder / name for name in named]
    files = sorted(folder.glob("*.safetensors"), key=lambda path: (".fp16." in path.name, path.name))
    if not files:
        raise StudioError(f"“{folder.name}” holds no safetensors file.", "Choose another folder.")
    return files[:1]
