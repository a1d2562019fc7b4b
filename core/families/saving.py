"""Named ways to render with less memory, each of which leaves offsets in full precision and the row gate in place:

group-offload      layers come to the card one after the other, while the one before computes
layerwise-casting  the denoiser's weights are stored in 8 bits (float8) and computed with in the usual precision
int8               the denoiser's weights are rounded to whole numbers of 8 bits by torchao, which must be installed
vae-tiling         pictures are decoded in tiles and one by one
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from core.errors import StudioError
from core.families.base import FamilySpec
from core.families.full_size import decode_in_tiles

VARIABLE = "SELF_NPO_SAVE_MEMORY"
"""The environment's name for the choice of a program and of the processes that it starts; several are joined by commas."""


def _group_offload(pipe: Any, family: FamilySpec, device: torch.device) -> None:
    from diffusers.hooks import apply_group_offloading  # not needed to render without it

    for part in (*family.parts, "vae"):
        network = getattr(pipe, part, None)
        if isinstance(network, nn.Module):
            apply_group_offloading(
                network,
                onload_device=device,
                offload_type="leaf_level",
                use_stream=device.type == "cuda" and part != "vae",
            )


def _layerwise_casting(pipe: Any, family: FamilySpec, device: torch.device) -> None:
    denoiser: Any = family.denoiser(pipe)
    denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=denoiser.dtype)


def _int8(pipe: Any, family: FamilySpec, device: torch.device) -> None:
    if find_spec("torchao") is None:
        raise StudioError(
            "int8 needs torchao, which is not installed.", "Install torchao, or choose layerwise-casting."
        )
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(family.denoiser(pipe), Int8WeightOnlyConfig())


def _vae_tiling(pipe: Any, family: FamilySpec, device: torch.device) -> None:
    decode_in_tiles(pipe.vae)


WAYS: Mapping[str, Callable[[Any, FamilySpec, torch.device], None]] = {
    # rounding before offloading: layers are moved as they are stored
    "layerwise-casting": _layerwise_casting,
    "int8": _int8,
    "vae-tiling": _vae_tiling,
    "group-offload": _group_offload,
}
"""The ways by their names, in the order in which they are put in place."""
SHARE_OF_WEIGHTS = {"layerwise-casting": 0.5, "int8": 0.5}
"""Bytes of the denoiser's weights as a share of those in half precision; norms and embeddings stay as they are."""


def read_names(text: str) -> tuple[str, ...]:
    """Names of ways from a text that joins them with commas.

    Raises:
        StudioError: there is no way of such a name, or two of them exclude each other.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in WAYS:
            raise StudioError(
                "“{name}” is not a way to save memory.",
                "Choose one of {choices}.",
                name=name[:40],
                choices=", ".join(WAYS),
            )
    if {"layerwise-casting", "int8"} <= set(names):
        raise StudioError("layerwise-casting and int8 exclude each other.", "Choose one of them.")
    return names


def chosen() -> tuple[str, ...]:
    """The ways that this program was started with.

    Raises:
        StudioError: as `read_names`.
    """
    return read_names(os.environ.get(VARIABLE, ""))


def save_memory(pipe: Any, family: FamilySpec, names: Sequence[str], device: torch.device) -> None:
    """Puts ways in place on a pipeline that was just loaded, before a gate is laid over its denoiser.

    Args:
        device: where it will compute; with group-offload the pipeline must still be on the processor.

    Raises:
        StudioError: one of them is missing on this machine.
    """
    for name, put in WAYS.items():
        if name in names:
            put(pipe, family, device)
