"""The latents of the drawings, defined before any network is trained: see `assets.build.latents` for why.

A latent is a partly whitened projection of an 8 x 8 pixel patch on the leading principal components of patches of the
unfiltered world, so the VAE is 8-fold, as Stable Diffusion's is, with more channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from assets.build.drawings.render import Drawings, as_input, render
from core.miniature.drawings.scene import sample_scene

PATCH = 8
CHANNELS = 32
WHITENING = 0.6


@dataclass(frozen=True)
class PatchBasis:
    """mean: (192,), basis: (192, CHANNELS) with the whitening in it, scaling_factor: latents times it have unit variance."""

    mean: Tensor
    basis: Tensor
    scaling_factor: float

    def encode(self, images: Tensor) -> Tensor:
        """Raw latents (batch, CHANNELS, height / 8, width / 8) of images (batch, 3, height, width) in [-1, 1]."""
        patches = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)
        latents = (patches - self.mean) @ self.basis
        return latents.transpose(1, 2).unflatten(2, (images.shape[2] // PATCH, images.shape[3] // PATCH))

    def decode(self, latents: Tensor) -> Tensor:
        """The linear way back, images (batch, 3, height, width): what a decoder has to be better than."""
        patches = latents.flatten(2).transpose(1, 2) @ torch.linalg.pinv(self.basis) + self.mean
        size = (latents.shape[2] * PATCH, latents.shape[3] * PATCH)
        return F.fold(patches.transpose(1, 2), size, PATCH, stride=PATCH)

    def save(self, file: Path) -> None:
        """Keeps it: everything trained depends on exactly this basis."""
        factor = torch.tensor([self.scaling_factor], dtype=torch.float64)
        save_file({"mean": self.mean, "basis": self.basis.contiguous(), "scaling_factor": factor}, file)

    @classmethod
    def load(cls, file: Path) -> PatchBasis:
        """What `save` kept."""
        kept = load_file(file)
        return cls(kept["mean"], kept["basis"], float(kept["scaling_factor"]))


def fit_basis(drawings: Drawings, seed: int, *, spoilt: float, scenes: int = 3000) -> PatchBasis:
    """The basis of the world with that share of spoilt pictures, without held-out drawings."""
    rng = np.random.default_rng(seed)
    images = as_input(render([sample_scene(rng, spoilt=spoilt) for _ in range(scenes)], drawings))
    patches = F.unfold(images, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2).double()
    mean = patches.mean(0)
    power, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    power, vectors = power.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
    basis = vectors / power.sqrt() ** WHITENING
    spread = power ** (1 - WHITENING)
    return PatchBasis(mean.float(), basis.float(), float(1 / spread.mean().sqrt()))
