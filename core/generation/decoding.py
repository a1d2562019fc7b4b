"""From latents to pictures: finished ones through the VAE, rough ones of each step by a linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.errors import StudioError
from core.families.base import FamilySpec

_preview_maps: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()


@torch.no_grad()
def _preview_map(pipe: Any, family: FamilySpec) -> Tensor:
    """The linear map from a latent to its colour, (channels + 1, 3): least squares over smooth random pictures that
    the model's own VAE encodes. Fitted once for each VAE, for any number of latent channels."""
    if pipe.vae not in _preview_maps:
        noise = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
        pictures = F.interpolate(noise, size=(128, 128), mode="bicubic").clamp(-1, 1)
        latents = _one_frame(family.encode_image(pipe, pictures.to(pipe.vae.device)).float().cpu())
        colours = F.adaptive_avg_pool2d(pictures, (latents.shape[2], latents.shape[3])).movedim(1, -1).reshape(-1, 3)
        known = F.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        _preview_maps[pipe.vae] = torch.linalg.lstsq(known, colours).solution
    return _preview_maps[pipe.vae]


def _one_frame(latents: Tensor) -> Tensor:
    """The latents themselves; of videos (batch, frames, channels, height, width) the middle frame's."""
    return latents[:, latents.shape[1] // 2] if latents.ndim == 5 else latents


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Pictures of (batch, 3, height, width) in [-1, 1], clipped."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


def rough_images(pipe: Any, family: FamilySpec, latents: Tensor) -> list[Image.Image]:
    """A cheap picture of each latent, one pixel each, by the linear preview map."""
    known = F.pad(_one_frame(latents).float().cpu().movedim(1, -1), (0, 1), value=1.0)
    return to_images((known @ _preview_map(pipe, family)).movedim(-1, 1))


def decode(
    pipe: Any, family: FamilySpec, latents: Tensor, on_note: Callable[[str], None] = lambda note: None
) -> list[tuple[Image.Image, ...]]:
    """The frames of each of the final latents, a few at a time; tried again in float32, with a word to `on_note`, where
    half precision gives NaN or nothing but black.

    Raises:
        StudioError: the latents or the VAE's output are NaN or infinite.
    """
    if not bool(torch.isfinite(latents).all()):
        raise StudioError("Sampling ended in NaN or infinite values.", "Use a smaller ω or β, or full precision.")
    results: list[tuple[Image.Image, ...]] = []
    # decoding takes far more memory than a row of sampling: of a model of 512 pixels one at a time, of a small one several
    at_once = max(1, 64**2 // (latents.shape[-2] * latents.shape[-1])) if latents.ndim == 4 else 1
    for part in latents.split(at_once):
        pixels = family.decode_latents(pipe, part)
        spoilt = not bool(torch.isfinite(pixels).all()) or bool((pixels.flatten(1).amax(1) <= -0.99).any())
        if spoilt and pipe.vae.dtype != torch.float32:
            pipe.vae.to(torch.float32)
            on_note("The VAE produced a black image in half precision; it was decoded again in float32.")
            pixels = family.decode_latents(pipe, part)
        if not bool(torch.isfinite(pixels).all()):
            raise StudioError(
                "The VAE produced NaN or infinite values.", "The model's VAE is damaged: download it again."
            )
        results += [tuple(to_images(one if one.ndim == 4 else one[None])) for one in pixels]
    return results
