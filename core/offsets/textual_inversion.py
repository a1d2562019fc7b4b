"""Textual inversions: vectors that a text encoder reads in place of a word (Gal et al. 2022, arXiv:2208.01618).

They are no offsets: they stand here because their files are read as those of networks are. Of A1111 (`emb_params`, or
`string_to_param.*` of a pickle that was converted), of diffusers (`<word>`), and of SDXL, one tensor a text encoder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.offsets.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

_ONE = re.compile(r"emb_params|string_to_param\..+|<.+>")
_TWO = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
_WIDTHS = {(768,): "sd15", (768, 1280): "sdxl"}


def _parts(names: Collection[str]) -> tuple[str, ...]:
    """The keys of the vectors, one for each text encoder in its order; none where the file is something else."""
    for pair in _TWO:
        if set(pair) & set(names):
            return tuple(name for name in pair if name in names)
    return tuple(name for name in names if _ONE.fullmatch(name))[:1]


def is_textual_inversion(names: Collection[str]) -> bool:
    """Whether a file's tensors are a textual inversion's."""
    return bool(_parts(names))


def family_of_inversion(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the family by the widths of the vectors; empty where they do not tell."""
    return _WIDTHS.get(tuple(shapes[name][-1] for name in _parts(shapes) if shapes[name]), "")


def read_inversion(path: Path) -> tuple[Tensor, ...]:
    """Of each text encoder its vectors, (vectors, width), float32.

    Raises:
        StudioError: the file is damaged or something else, or a key is not understood; it is named.
    """
    from core.offsets.tensors import read_tensors  # torch is not needed to know what a file is

    shapes = read_header(path).shapes
    parts = _parts(shapes)
    strangers = [name for name in shapes if name not in parts]
    if not parts or strangers or any(len(shapes[name]) not in (1, 2) or 0 in shapes[name] for name in parts):
        raise StudioError(
            "The textual inversion “{name}” is not read, because it would be read in part: “{key}” is not understood.",
            "Choose the file as A1111 or diffusers wrote it.",
            name=path.name,
            key=next(iter([*strangers, *parts]), "nothing")[:80],
        )
    tensors = read_tensors([path], parts)
    vectors = tuple(tensors[name].float().reshape(-1, shapes[name][-1]) for name in parts)
    if len({len(part) for part in vectors}) > 1:
        raise StudioError(
            "The textual inversion “{name}” has a different number of vectors for each text encoder.",
            "Choose the file as the program that trained it wrote it.",
            name=path.name,
        )
    return vectors
