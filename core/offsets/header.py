"""What a weights file is, before anything of it is believed: its kind by its first bytes, its header within bounds."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import StudioError
from core.files import whole_file
from core.offsets.gguf_header import MAGIC, read_gguf_header

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
    "F8_E4M3": DataType("float8_e4m3fn", 1),
    "F8_E5M2": DataType("float8_e5m2", 1),
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
            raise StudioError("“{name}” is not a file.", "Choose another file.", name=path.name)
        with path.open("rb") as file:
            start = file.read(count)
    except OSError as error:  # a loop of links is one of these
        raise StudioError(
            "There is no file “{name}”, or it cannot be read.", "Choose another file.", name=path.name
        ) from error
    if start[:15].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise StudioError("“{name}” does not contain weights: it is a web page.", AGAIN, name=path.name)
    if start.startswith(b"version https://git-lfs"):
        raise StudioError(
            "“{name}” does not contain weights: it is a Git LFS pointer.", "Fetch it with git lfs.", name=path.name
        )
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


def is_gguf(path: Path) -> bool:
    """Whether a file is GGUF, whatever its name says."""
    return first_bytes(path, 4) == MAGIC


def read_header(path: Path) -> Header:
    """The header of a safetensors or GGUF file, its sizes checked against the file's length. Reads no tensor.

    Raises:
        StudioError: it is another kind of file, cut off, damaged or out of bounds.
    """
    if is_pickle(path):
        raise StudioError(
            "“{name}” is a PyTorch pickle, which may run code when it is opened.",
            "Convert it first: python launch.py offset convert FILE (the Library does the same when it is dropped there).",
            name=path.name,
        )
    if is_gguf(path):
        return _of_gguf(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise StudioError("“{name}” is not a safetensors file: it is too short.", AGAIN, name=path.name)
            (length,) = struct.unpack("<Q", start)
            if length > HEADER_LIMIT or length + 8 > size:
                raise StudioError(
                    "“{name}” is not a safetensors file, or its header is cut off.", AGAIN, name=path.name
                )
            raw = file.read(length)
        entries = json.loads(raw, object_pairs_hook=_no_duplicates)
        metadata = {str(key): str(value) for key, value in (entries.pop("__metadata__", None) or {}).items()}
        if len(entries) > TENSOR_LIMIT:
            raise StudioError(
                "“{name}” lists {count} tensors; at most {limit} are read.",
                AGAIN,
                name=path.name,
                count=len(entries),
                limit=TENSOR_LIMIT,
            )
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            if entry["dtype"] not in DATA_TYPES:
                raise StudioError(
                    "“{name}” stores {tensor} as {dtype}, which is not supported.",
                    "Convert it to float16.",
                    name=path.name,
                    dtype=entry["dtype"],
                    tensor=name[:80],
                )
            if "\0" in name or ".." in name or "/" in name:
                raise StudioError("“{name}” contains a tensor with a forbidden name.", AGAIN, name=path.name)
            if (
                math.prod(entry["shape"]) * DATA_TYPES[entry["dtype"]].size != end - begin
                or min(entry["shape"], default=1) < 0
                or begin < 0
                or end + 8 + length > size
            ):
                raise StudioError(
                    "“{name}” is cut off or damaged at tensor {tensor}.", AGAIN, name=path.name, tensor=name[:80]
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudioError("“{name}” is not a readable safetensors file.", AGAIN, name=path.name) from error
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    dtypes = {name: entry["dtype"] for name, entry in entries.items()}
    spans = {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in entries.items()
    }
    return Header(shapes, dtypes, metadata, spans)


def _of_gguf(path: Path) -> Header:
    try:
        header = read_gguf_header(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise StudioError(
            "“{name}” is not a GGUF file that can be read: it is damaged, or of another version.", AGAIN, name=path.name
        ) from error
    if len(header.shapes) > TENSOR_LIMIT:
        raise StudioError(
            "“{name}” names {count} tensors; at most {most} are read.",
            AGAIN,
            name=path.name,
            count=len(header.shapes),
            most=TENSOR_LIMIT,
        )
    return Header(header.shapes, header.dtypes, header.metadata, header.spans)


_PREFERRED = ("adapter_model.", "pytorch_lora_weights.", "diffusion_pytorch_model.")
_PART = re.compile(r"-\d{5}-of-\d{5}\.")


def shards_of(folder: Path) -> list[Path]:
    """The weight files of a folder: its shards in the order of the index, or its one safetensors file.

    Where a folder holds the same weights twice, those in full precision are taken, not the variant in fp16.

    Raises:
        StudioError: the folder holds none, or several that are different things; or a shard is missing; it is named.
    """
    indices = sorted(folder.glob("*.safetensors.index*.json"), key=lambda path: (".fp16." in path.name, path.name))
    if indices:
        try:
            named = sorted(set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudioError("“{name}” cannot be read.", AGAIN, name=indices[0].name) from error
        for name in named:
            if Path(name).name != name or not (folder / name).is_file():
                raise StudioError(
                    "The shard “{shard}” of “{name}” is missing.", AGAIN, shard=Path(name).name, name=folder.name
                )
        return [folder / name for name in named]
    files = sorted(folder.glob("*.safetensors"), key=lambda path: (".fp16." in path.name, path.name))
    if not files:
        raise StudioError("“{name}” contains no safetensors file.", "Choose another folder.", name=folder.name)
    if parts := [file for file in files if _PART.search(file.name)]:
        raise StudioError(
            "“{shard}” is one of several parts, but “{name}” has no index of them.", AGAIN, shard=parts[0].name, name=folder.name
        )  # fmt: skip
    preferred = [file for file in files if file.name.startswith(_PREFERRED)]
    plain = {file.name.replace(".fp16.", ".") for file in preferred or files}
    if len(plain) > 1:
        raise StudioError(
            "“{name}” contains several weights files: {files}.",
            "Specify which one to use.",
            name=folder.name,
            files=", ".join(sorted(plain)[:4]),
        )
    return (preferred or files)[:1]


def encoded_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a safetensors file whose tensors follow in this order, without gaps: name to (data type, shape)."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    begin = 0
    for name, (dtype, shape) in tensors.items():
        end = begin + math.prod(shape) * DATA_TYPES[dtype].size
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    raw = json.dumps(entries, ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def copy_file(source: Path, target: Path) -> None:
    """Copies a file, whole or not at all.

    Raises:
        StudioError: it cannot be read, or the disk refuses.
    """
    with whole_file(target) as staged:
        shutil.copyfile(source, staged)


def copy_files(files: list[Path], target: Path, metadata: Mapping[str, str]) -> None:
    """Writes one safetensors file with the tensors of one or several, byte for byte, and with more metadata.

    Args:
        metadata: added to that of the first file.

    Raises:
        StudioError: a file cannot be read, two hold a tensor of the same name, or the disk refuses.
    """
    headers = [read_header(file) for file in files]
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for file, header in zip(files, headers, strict=True):
        for name in sorted(header.spans, key=lambda name: header.spans[name]):
            if name in tensors:
                raise StudioError("“{name}” contains {key} twice.", AGAIN, name=file.name, key=name[:80])
            tensors[name] = header.dtypes[name], header.shapes[name]
    raw = encoded_header(tensors, {**headers[0].metadata, **metadata})
    with whole_file(target) as staged, staged.open("wb") as written:
        written.write(raw)
        for file, header in zip(files, headers, strict=True):
            with file.open("rb") as source:
                for begin, end in sorted(header.spans.values()):
                    source.seek(begin)
                    while begin < end and (block := source.read(min(2**22, end - begin))):
                        written.write(block)
                        begin += len(block)
