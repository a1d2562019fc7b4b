"""The tensors of safetensors and GGUF files: read one by one into memory; and written whole or not at all."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from core.errors import StudioError
from core.files import whole_file
from core.offsets.gguf_header import QUANTIZED
from core.offsets.header import AGAIN, DATA_TYPES, read_header


def read_tensors(files: list[Path], names: Iterable[str]) -> dict[str, Tensor]:
    """The named tensors, as they are stored; 8-bit floats in bfloat16, which holds their values exactly and which torch
    can calculate with, and GGUF's blocks in float32. Read, not mapped: a mapped file that is cut short kills the process.

    Raises:
        StudioError: a file is damaged, a tensor has a value that is NaN or infinite, or the package gguf is not there.
    """
    wanted, tensors = set(names), {}
    for file in files:
        header = read_header(file)
        try:
            with file.open("rb") as opened:
                for name in sorted(wanted & header.spans.keys(), key=lambda name: header.spans[name]):
                    begin, end = header.spans[name]
                    opened.seek(begin)
                    raw = bytearray(opened.read(end - begin))
                    if header.dtypes[name] in QUANTIZED:
                        flat = _of_blocks(raw, header.dtypes[name], file.name)
                    else:
                        dtype = getattr(torch, DATA_TYPES[header.dtypes[name]].torch_name)
                        flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
                    tensor = flat.reshape(header.shapes[name])
                    if header.dtypes[name].startswith("F8_"):
                        tensor = tensor.bfloat16()
                    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                        raise StudioError(
                            "“{name}” contains a NaN or infinite value in {tensor}.",
                            "Train or fetch it again.",
                            name=file.name,
                            tensor=name,
                        )
                    tensors[name] = tensor
        except (OSError, ValueError, RuntimeError) as error:
            raise StudioError("“{name}” is damaged.", AGAIN, name=file.name) from error
    return tensors


def _of_blocks(raw: bytearray, kind: str, name: str) -> Tensor:
    """The values of GGUF's blocks, float32, flat.

    Raises:
        StudioError: the package that knows their layout is not installed.
    """
    try:
        from gguf import GGMLQuantizationType, dequantize
    except ImportError as error:
        raise StudioError(
            "“{name}” holds blocks of {kind}, and the package gguf is not installed.",
            "Run pip install gguf, or choose a safetensors file.",
            name=name,
            kind=kind,
        ) from error
    blocks = numpy.frombuffer(raw, dtype=numpy.uint8).reshape(1, -1)
    return torch.from_numpy(dequantize(blocks, GGMLQuantizationType(QUANTIZED[kind]))).float().flatten()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file that others may read: whole, or not at all.

    Raises:
        StudioError: as `whole_file`.
    """
    with whole_file(path) as staged:
        try:
            save_file(dict(tensors), staged, metadata=dict(metadata))
            staged.chmod(0o644)  # safetensors makes it its owner's alone
        except SafetensorError as error:
            # its words name the system's error, and paths
            full = "No space left" in str(error) or "os error 28" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, "not written") from error
        _sort_metadata(staged)


def _sort_metadata(path: Path) -> None:
    """Puts a file's metadata in order: the library writes it in another one each time, and equal offsets shall be equal
    files."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        file.seek(8)
        file.write(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(length))
