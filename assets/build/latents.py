"""The latents of the miniature, defined before any network is trained.

A latent is a partly whitened projection of a 4 x 4 pixel patch on the leading principal components of patches
of the unfiltered world. So the denoiser can be trained at once, the VAE's encoder is a regression onto a known
target, and its decoder learns what the components leave out from their neighbours. Ordinary VAE training of this
size reaches far less in the same time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.miniature.world.render import render
from core.miniature.world.scene import sample_scene

PATCH = 4
CHANNELS = 8
WHITENING = 0.7


@dataclass(frozen=True)
class PatchBasis:
    """mean: (48,), basis: (48, CHANNELS) with the whitening in it, scaling_factor: latents times it have unit variance."""

    mean: Tensor
    basis: Tensor
    scaling_factor: float

    def encode(self, images: Tensor) -> Tensor:
        """Raw latents (batch, CHANNELS, height / 4, width / 4) of images (batch, 3, height, width) in [-1, 1]."""
        patches = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        latents = (patches - self.mean) @ self.basis
        return latents.transpose(1, 2).unflatten(2, (images.shape[2] // PATCH, images.shape[3] // PATCH))


def fit_basis(seed: int, *, spoilt: float, scenes: int = 1024) -> PatchBasis:
    """The basis of the world with that share of spoilt pictures; the same seed gives the same basis."""
    rng = np.random.default_rng(seed)
    images = torch.cat([render([sample_scene(rng, spoilt=spoilt) for _ in range(128)]) for _ in range(scenes // 128)])
    patches = F.unfold(images * 2 - 1, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2).double()
    mean = patches.mean(0)
    power, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    power, vectors = power.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    # eigenvectors are known up to their sign: choose the one with the larger positive part
    vectors = vectors * vectors.sum(0).sign().clamp(min=-1) if bool((vectors.sum(0) != 0).all()) else vectors
    basis = vectors / power.sqrt() ** WHITENING
    spread = power ** (1 - WHITENING)
    return PatchBasis(mean.float(), basis.float(), float(1 / spread.mean().sqrt()))
