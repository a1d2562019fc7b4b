"""What the rest of the studio may ask of a model family: a record of facts and callables, no class tower.

A family adapts its stock diffusers pipeline to the method: conditioning is a dictionary of row-first tensors,
a prediction is the raw output of the denoiser, latents are scaled as the denoiser sees them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Conditioning = dict[str, Tensor]
"""What the denoiser is told beside x_t and t. Every tensor has the batch as its first axis."""


def join(first: Conditioning, second: Conditioning) -> Conditioning:
    """Two conditionings as one batch, `first` in front."""
    return {name: torch.cat([first[name], second[name]]) for name in first}


def take(cond: Conditioning, rows: Any) -> Conditioning:
    """The chosen rows of a conditioning: an index, a slice or a LongTensor."""
    return {name: tensor[rows] for name, tensor in cond.items()}


@dataclass(frozen=True, kw_only=True)
class FamilyDefaults:
    """Where a person of this family usually begins. Sizes in pixels; omega as in the papers (guidance_scale - 1)."""

    height: int
    width: int
    steps: int
    omega: float
    scheduler: str


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """One family of models.

    Args:
        name: short name, as in presets and headers: "sd15".
        title: as a person reads it.
        load: (folder, *, dtype, device) -> pipeline. Raises StudioError when the folder is no model of this family.
        tiny: (seed) -> pipeline of a tiny real network with random weights, for tests and speed alone.
        denoiser: (pipeline) -> the network that the offsets act on.
        lora_targets: suffixes of the modules that an offset changes.
        encode_prompt: (pipeline, prompts) -> conditioning, one row a prompt.
        pipeline_arguments: (conditioning, negative conditioning) -> keyword arguments of the stock pipeline's call.
        predict: (denoiser, x_t, t, conditioning) -> raw output, the shape of x_t.
        encode_image: (pipeline, images (batch, 3, height, width) in [-1, 1]) -> scaled latents.
        decode_latents: (pipeline, scaled latents) -> images in [-1, 1].
        latent_shape: (pipeline, height, width) -> shape of one latent, without the batch.
        defaults: (pipeline) -> where to begin.
    """

    name: str
    title: str
    load: Callable[..., Any]
    tiny: Callable[..., Any]
    denoiser: Callable[[Any], nn.Module]
    lora_targets: tuple[str, ...]
    encode_prompt: Callable[[Any, list[str]], Conditioning]
    pipeline_arguments: Callable[[Conditioning, Conditioning], dict[str, Any]]
    predict: Callable[[nn.Module, Tensor, Tensor, Conditioning], Tensor]
    encode_image: Callable[[Any, Tensor], Tensor]
    decode_latents: Callable[[Any, Tensor], Tensor]
    latent_shape: Callable[[Any, int, int], tuple[int, ...]]
    defaults: Callable[[Any], FamilyDefaults]


def class_names(folder: Path) -> str:
    """The pipeline class that `model_index.json` in the folder names; empty where there is none."""
    try:
        return str(json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_class_name", ""))
    except (OSError, ValueError, AttributeError):
        return ""
