"""Writing offsets in the dialects that other programs read, with their provenance, and which of them reads what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core import __version__
from core.errors import Sentence
from core.offsets.files import OffsetFile, read_offset
from core.offsets.names import of_flat
from core.offsets.offset import Offset
from core.offsets.tensors import write_tensors

Dialect = Literal["diffusers", "kohya"]


def dialect_for_all(offset: Offset) -> Dialect:
    """The dialect that the most programs read whole: kohya's for UNets, which diffusers, ComfyUI, Forge, A1111 and
    sd-scripts read; diffusers' for transformers, of which diffusers itself reads nothing in kohya's."""
    return "kohya" if all(of_flat(module.replace(".", "_")) == module for module in offset.modules) and not (
        _is_transformer(offset)
    ) else "diffusers"  # fmt: skip


def _is_transformer(offset: Offset) -> bool:
    return any(module.startswith("transformer_blocks.") for module in offset.modules)


def save_offset(
    path: Path,
    offset: Offset,
    *,
    family: str,
    provenance: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
    format: Dialect | None = None,
) -> OffsetFile:
    """Writes an offset as a LoRA: whole, or not at all.

    The lora scaling is folded into the up matrices, so every reader applies it right with lora_alpha = rank, the
    value that readers assume where a file names none; kohya's dialect says it too.

    Args:
        provenance: what a person will want to know of it; names and figures, no paths.
        format: the dialect; None is `dialect_for_all`.
    """
    kohya = (format or dialect_for_all(offset)) == "kohya"
    prefix = "transformer." if _is_transformer(offset) else "unet."
    tensors: dict[str, Tensor] = {}
    for module, layer in offset.low_rank.items():
        down, up = layer.down.to(dtype).contiguous(), layer.up.to(dtype).contiguous()
        if kohya:
            name = f"lora_unet_{module.replace('.', '_')}"
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            tensors[f"{name}.alpha"] = torch.tensor(float(layer.rank), dtype=dtype)
        else:
            tensors |= {f"{prefix}{module}.lora_A.weight": down, f"{prefix}{module}.lora_B.weight": up}
    for module, change in offset.dense.items():
        name = f"lora_unet_{module.replace('.', '_')}" if kohya else f"{prefix}{module}"
        for ending, tensor in (("diff", change.weight), ("diff_b", change.bias)):
            if tensor is not None:
                tensors[f"{name}.{ending}"] = tensor.to(dtype).contiguous()
    metadata = {"format": "pt", "family": family, "studio_version": __version__, **provenance}
    write_tensors(path, tensors, metadata)
    return read_offset(path)


def readers_of(offset: Offset, dialect: Dialect) -> Sentence:
    """Which programs read such a file, and how much of it; held against their own code in tests/offsets/foreign."""
    if _is_transformer(offset):
        if dialect == "kohya" and any(".add_k_proj" in module or ".ff_context" in module for module in offset.modules):
            return Sentence("No program known to this studio reads this file.")
        if dialect == "kohya":
            return Sentence(
                "CogVideoX-Fun and kijai's ComfyUI nodes read this file; diffusers leaves it out and says so in its log alone."
            )
        return Sentence("diffusers reads this file whole.")
    if offset.dense:
        return Sentence(
            "This studio and ComfyUI read this file whole; diffusers refuses its changes of norms and biases."
            if dialect == "kohya"
            else "Only this studio reads this file whole."
        )
    if dialect == "kohya":
        return Sentence("diffusers, ComfyUI, Forge, A1111 and sd-scripts read this file whole.")
    return Sentence("diffusers reads this file whole; ComfyUI and Forge leave out its attention, sd-scripts all of it.")
