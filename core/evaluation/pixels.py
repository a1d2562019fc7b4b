"""Pictures as networks read them, and figures of their pixels alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
_DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)


def _levels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0).float() / 255


def cropped_for_clip(images: Sequence[Image.Image], side: int) -> Tensor:
    """(images, 3, side, side): the shorter side scaled to `side` (bicubic, in Pillow), the middle cut out, normalised as
    CLIP's pictures are. PickScore, ImageReward, CLIPScore and the aesthetic predictor read pictures like this."""
    prepared = []
    for image in images:
        scale = side / min(image.size)
        width, height = (max(side, round(length * scale)) for length in image.size)
        left, top = (width - side) // 2, (height - side) // 2
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        prepared.append((_levels(resized.crop((left, top, left + side, top + side))) - _MEAN) / _DEVIATION)
    return torch.stack(prepared)


def padded_for_clip(images: Sequence[Image.Image], side: int) -> Tensor:
    """(images, 3, side, side): the longer side scaled to `side`, black around it, normalised. HPSv2 reads pictures so."""
    prepared = []
    for image in images:
        levels = _levels(image)
        height, width = levels.shape[1:]
        scale = side / max(height, width)
        if scale != 1:
            size = (round(height * scale), round(width * scale))
            levels = F.interpolate(levels[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
        free_height, free_width = side - levels.shape[1], side - levels.shape[2]
        borders = (free_width // 2, free_width - free_width // 2, free_height // 2, free_height - free_height // 2)
        prepared.append((F.pad(levels, borders) - _MEAN) / _DEVIATION)
    return torch.stack(prepared)


def as_signed(images: Sequence[Image.Image]) -> Tensor:
    """(images, 3, height, width) in [-1, 1]; all of one size."""
    return torch.stack([_levels(image) for image in images]) * 2 - 1


def saturation(image: Image.Image) -> float:
    """Mean of (largest - smallest channel) / largest channel over the pixels, 0 (grey) to 1."""
    levels = _levels(image)
    largest, smallest = levels.amax(0), levels.amin(0)
    return float(((largest - smallest) / largest.clamp(min=1 / 255)).mean())


def contrast(image: Image.Image) -> float:
    """Standard deviation of the luminance (ITU-R BT.601 weights), 0 to 0.5."""
    return float(_luminance(image).std(correction=0))


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the luminance, times 1,000: higher has finer edges, and more noise."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return float(F.conv2d(_luminance(image)[None, None], kernel).var(correction=0)) * 1000


def _luminance(image: Image.Image) -> Tensor:
    red, green, blue = _levels(image)
    return 0.299 * red + 0.587 * green + 0.114 * blue
