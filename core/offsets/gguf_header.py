"""The header of a GGUF file: tensors in blocks of few bits, as stable-diffusion.cpp and ComfyUI-GGUF write networks.

Read here without the package `gguf`, within bounds; the package is needed for the values of the blocks alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"GGUF"
_LIMIT = 64 * 2**20
"""Bytes of a header."""
_ENTRIES = 2**20
_SHAPE = "comfy.gguf.orig_shape."
"""ComfyUI-GGUF folds tensors that no block fits, and keeps their shape under this name."""


class BlockType(NamedTuple):
    """How values are stored: its name, how many values a block holds, and its bytes."""

    name: str
    values: int
    size: int


BLOCK_TYPES = {
    number: BlockType(*kind)
    for number, kind in {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        28: ("F64", 1, 8),
        30: ("BF16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        29: ("IQ1_M", 256, 56),
    }.items()
}
"""GGML's numbers of them; the sizes are those of the package gguf, which a test compares."""
QUANTIZED = {kind.name: number for number, kind in BLOCK_TYPES.items() if kind.values > 1}

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GgufHeader:
    """Of each tensor its shape, outermost axis first, the name of its type, and its first byte in the file and the byte
    after its last; and the text metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    spans: Mapping[str, tuple[int, int]]
    metadata: Mapping[str, str]


class _Reader:
    """Reads a header's parts one after the other, never past its bound."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def bytes(self, count: int) -> bytes:
        if count > _LIMIT or self.file.tell() + count > _LIMIT:
            raise ValueError("the header is too long")
        raw = self.file.read(count)
        if len(raw) != count:
            raise ValueError("the header is cut off")
        return raw

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.bytes(struct.calcsize("<" + code)))[0]

    def count(self) -> int:
        number = self.number("Q")
        if number > _ENTRIES:
            raise ValueError("the header has too many entries")
        return number

    def text(self) -> str:
        return self.bytes(self.number("Q")).decode("utf-8")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY and depth < 2:
            inner, count = self.number("I"), self.count()
            return [self.value(inner, depth + 1) for _ in range(count)]
        return self.number(_SCALARS[kind])


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of a GGUF file, its sizes checked against the file's length.

    Raises:
        ValueError, KeyError, OSError: it is cut off, damaged, out of bounds, or of a version that is not read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file)
        if reader.bytes(4) != MAGIC or reader.number("I") not in (2, 3):
            raise ValueError("a version of GGUF that is not read")
        tensors, entries = reader.count(), reader.count()
        facts = {reader.text(): reader.value(reader.number("I")) for _ in range(entries)}
        layout = []
        for _ in range(tensors):
            name = reader.text()
            axes = reader.number("I")
            if axes > 8:
                raise ValueError("a tensor of more than eight axes")
            shape = tuple(reader.number("Q") for _ in range(axes))[::-1]
            layout.append((name, shape, BLOCK_TYPES[reader.number("I")], reader.number("Q")))
        alignment = facts.get("general.alignment", 32)
        if type(alignment) is not int or not 0 < alignment <= 2**16:
            raise ValueError("the alignment")
        start = -(-file.tell() // alignment) * alignment
    shapes, dtypes, spans = {}, {}, {}
    for name, shape, kind, offset in layout:
        if name in shapes or (shape and shape[-1] % kind.values):
            raise ValueError(name)
        length = math.prod(shape) // kind.values * kind.size
        if start + offset + length > size:
            raise ValueError(name)
        own = facts.get(_SHAPE + name)
        if own is not None and math.prod(own) != math.prod(shape):
            raise ValueError(name)
        shapes[name], dtypes[name] = tuple(own) if own else shape, kind.name
        spans[name] = start + offset, start + offset + length
    metadata = {key: value for key, value in facts.items() if isinstance(value, str) and key.startswith("general.")}
    return GgufHeader(shapes, dtypes, spans, metadata)
