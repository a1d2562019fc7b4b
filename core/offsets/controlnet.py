"""ControlNets as single files, in the names of their authors (`control_model.`, or none in front) or in diffusers'.

They are no offsets: they stand here because their files are read as those of networks are. Folders in the diffusers layout are
diffusers' own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.offsets.header import read_header
from core.offsets.names import of_dotted

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "control_model."
_ENDS = {"middle_block_out.0": "controlnet_mid_block"}
_HINT_LAST = 14
"""Of the layers that read the picture, every second one is a convolution: 0, 2, … 14."""


def is_controlnet(names: Collection[str]) -> bool:
    """Whether a file's tensors are a ControlNet's."""
    marks = (f"{_PREFIX}input_hint_block.", "input_hint_block.", "controlnet_cond_embedding.")
    return any(name.startswith(marks) for name in names)


def family_of_controlnet(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the family by the width of the text that cross attention reads; empty where that does not tell."""
    widths = {shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight") and len(shape) == 2}
    return {frozenset({768}): "sd15", frozenset({2048}): "sdxl"}.get(frozenset(widths), "")


def _module(name: str) -> str | None:
    """diffusers' name of a module of a ControlNet; None where it has none."""
    if name in _ENDS:
        return _ENDS[name]
    if match := re.fullmatch(r"zero_convs\.(\d+)\.0", name):
        return f"controlnet_down_blocks.{match[1]}"
    if match := re.fullmatch(r"input_hint_block\.(\d+)", name):
        number = int(match[1])
        if number % 2 or number > _HINT_LAST:
            return None
        place = {0: "conv_in", _HINT_LAST: "conv_out"}.get(number, f"blocks.{number // 2 - 1}")
        return f"controlnet_cond_embedding.{place}"
    return of_dotted(name)


def read_controlnet(path: Path) -> dict[str, Tensor]:
    """The parameters of a ControlNet by diffusers' names, as they are stored.

    Raises:
        StudioError: the file is damaged, or a key is not understood; it is named.
    """

    def name_of(key: str) -> str | None:
        module, _, parameter = key.removeprefix(_PREFIX).rpartition(".")
        known = _module(module)
        return None if known is None else f"{known}.{parameter}"

    return read_renamed(path, name_of)


def read_renamed(path: Path, name_of: Callable[[str], str | None]) -> dict[str, Tensor]:
    """The tensors of a control network's file under other names, all or none.

    Args:
        name_of: a key of the file to its parameter's name; None for one that is not understood.

    Raises:
        StudioError: the file is damaged, or a key is not understood or would be a second one of its name; it is named.
    """
    from core.offsets.tensors import read_tensors  # torch is not needed to know what a file is

    keys: dict[str, str] = {}
    for key in read_header(path).shapes:
        name = name_of(key)
        if name is None or name in keys:
            raise StudioError(
                "The control network “{name}” is not read, because it would be read in part: “{key}” is not understood.",
                "Use it as a folder in the diffusers layout.",
                name=path.name,
                key=key[:80],
            )
        keys[name] = key
    tensors = read_tensors([path], keys.values())
    return {name: tensors[key] for name, key in keys.items()}
