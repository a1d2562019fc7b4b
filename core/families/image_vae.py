"""What the families of pictures share: an `AutoencoderKL` between pixels and scaled latents, and the sizes it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from core.errors import StudioError
from core.families.base import Size

UNET_LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
)
"""Suffixes of the layers of a UNet of SD1.5 or SDXL that an offset changes: attention, feed-forward, convolutions."""


@torch.no_grad()
def encode_image(pipe: Any, images: Tensor) -> Tensor:
    """Scaled latents, the mode of the encoder's posterior."""
    config = pipe.vae.config
    latents = pipe.vae.encode(images.to(pipe.vae.dtype)).latent_dist.mode()
    return (latents - (config.get("shift_factor") or 0.0)) * config.scaling_factor


@torch.no_grad()
def encode_distribution(pipe: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled latents as the encoder's posterior has them: (mode, standard deviation), for images in [-1, 1]."""
    config = pipe.vae.config
    posterior = pipe.vae.encode(images.to(pipe.vae.device, pipe.vae.dtype)).latent_dist
    mode = (posterior.mode() - (config.get("shift_factor") or 0.0)) * config.scaling_factor
    return mode, posterior.std * config.scaling_factor


def decode_latents(pipe: Any, latents: Tensor) -> Tensor:
    """Images in [-1, 1], not clipped. A gradient of the latents passes through; there is none of the VAE's weights alone."""
    config = pipe.vae.config
    with torch.set_grad_enabled(latents.requires_grad):
        scaled = latents.to(pipe.vae.dtype) / config.scaling_factor + (config.get("shift_factor") or 0.0)
        return pipe.vae.decode(scaled, return_dict=False)[0]


def check_size(size: Size, unit: int) -> None:
    """Refuses what the network's levels do not divide.

    Raises:
        StudioError: the height or the width is not a multiple of `unit`.
    """
    for name, value in (("height", size.height), ("width", size.width)):
        if value < unit or value % unit:
            raise StudioError(
                "The {name} of {value} px is not a multiple of {unit}.",
                "Choose a multiple of {unit}.",
                name=name,
                value=value,
                unit=unit,
            )


def unet_latent_shape(pipe: Any, size: Size) -> tuple[int, ...]:
    """(channels, height, width) of one latent of a UNet pipeline.

    Raises:
        StudioError: a size that the VAE's factor or the UNet's levels do not divide, or more than one frame.
    """
    if size.frames != 1:
        raise StudioError(
            "This model draws pictures, not {frames} frames.", "Choose a video model.", frames=size.frames
        )
    config = pipe.unet.config
    check_size(size, pipe.vae_scale_factor * 2 ** (len(config.block_out_channels) - 1))
    return (pipe.vae.config.latent_channels, size.height // pipe.vae_scale_factor, size.width // pipe.vae_scale_factor)
