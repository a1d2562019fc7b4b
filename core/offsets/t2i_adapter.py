"""T2I-Adapters as single files, in their authors' names (Mou et al. 2023, arXiv:2302.08453) or in diffusers'.

They are no offsets: they stand here because their files are read as those of networks are. Folders in the diffusers layout are
diffusers' own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.offsets.controlnet import read_renamed
from core.offsets.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

_MARK = re.compile(r"(adapter\.)?body\.\d+\.((resnets|body)\.\d+\.)?block1\.weight")
_BLOCKS = 2
"""Residual blocks of a stage in the authors' full adapters, which number the blocks of all stages on."""
_READS = {64: (1, 8), 192: (3, 8), 256: (1, 16), 768: (3, 16)}
"""Channels after the picture was folded: (channels of the picture, factor). SDXL's are folded by 16, the others by 8."""


@dataclass(frozen=True)
class Architecture:
    """What a file says of its T2I-Adapter.

    Args:
        light: the light form, with narrower blocks.
        folded: channels that its first layer reads: those of a picture times the square of the factor it is folded by.
        channels: of each stage.
        blocks: residual blocks of a stage.
    """

    light: bool
    folded: int
    channels: tuple[int, ...]
    blocks: int

    def reads(self) -> tuple[int, int]:
        """(channels of the picture, factor it is folded by). Of an adapter that is not of the usual sizes, three channels.

        Raises:
            ValueError: no picture has that many channels.
        """
        if self.folded in _READS:
            return _READS[self.folded]
        factor = round((self.folded / 3) ** 0.5)
        if 3 * factor**2 != self.folded:
            raise ValueError("no picture has that many channels")
        return 3, factor


def is_t2i_adapter(names: Collection[str]) -> bool:
    """Whether a file's tensors are a T2I-Adapter's."""
    return any(_MARK.fullmatch(name) for name in names)


def family_of_t2i_adapter(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the family by the factor that pictures are folded by; empty where that does not tell."""
    first = next((shapes[name] for name in shapes if re.search(r"(^|\.)(conv_in|body\.0\.in_conv)\.weight$", name)), ())
    factor = _READS.get(first[1], (0, 0))[1] if len(first) == 4 else 0
    return {8: "sd15", 16: "sdxl"}.get(factor, "")


def _module(name: str, *, flat: bool) -> str | None:
    """diffusers' name of a module; None where it has none.

    Args:
        flat: the authors' full form: blocks are numbered through all stages.
    """
    name = name.removeprefix("adapter.")
    if name == "conv_in":
        return f"adapter.{name}"
    if match := re.fullmatch(r"body\.(\d+)\.(block[12]|in_conv)", name):
        stage, block = divmod(int(match[1]), _BLOCKS) if flat else (int(match[1]), 0)
        if match[2] == "in_conv":
            return f"adapter.body.{stage}.in_conv" if block == 0 else None
        return f"adapter.body.{stage}.resnets.{block}.{match[2]}" if flat else None
    if match := re.fullmatch(r"body\.(\d+)\.(?:resnets|body)\.(\d+)\.(block[12])", name):
        return f"adapter.body.{match[1]}.resnets.{match[2]}.{match[3]}"
    return f"adapter.{name}" if re.fullmatch(r"body\.\d+\.out_conv", name) else None


def read_t2i_adapter(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture of a T2I-Adapter and its parameters by diffusers' names, as they are stored.

    Raises:
        StudioError: the file is damaged or incomplete, or a key is not understood; it is named.
    """
    flat = any(re.fullmatch(r"body\.\d+\.block1\.weight", key) for key in read_header(path).shapes)

    def name_of(key: str) -> str | None:
        module, _, parameter = key.rpartition(".")
        known = _module(module, flat=flat)
        return f"{known}.{parameter}" if known is not None and parameter in ("weight", "bias") else None

    parameters = read_renamed(path, name_of)
    try:
        return _architecture(parameters), parameters
    except (KeyError, IndexError) as error:
        raise StudioError(
            "The control network “{name}” is incomplete or damaged.", "Copy or download it again.", name=path.name
        ) from error


def _architecture(parameters: Mapping[str, Tensor]) -> Architecture:
    """Raises KeyError and IndexError where a layer is missing or of another shape: nothing is built of what is not there."""
    light = any(name.endswith("out_conv.weight") for name in parameters)
    width = "out_conv" if light else "resnets.0.block1"
    numbers = {tuple(map(int, re.findall(r"\.(\d+)\.", name))) for name in parameters if ".resnets." in name}
    stages, blocks = len({stage for stage, _ in numbers}), len({block for _, block in numbers})
    for stage in range(stages):
        for block in range(blocks):
            parameters[f"adapter.body.{stage}.resnets.{block}.block1.weight"]
    widths = [parameters[f"adapter.body.{stage}.{width}.weight"].shape[0] for stage in range(stages)]
    first = "adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight"
    # the light form has one stage more than widths, and the last keeps the width before it
    return Architecture(light, parameters[first].shape[1], tuple(widths[:-1] if light else widths), blocks)
