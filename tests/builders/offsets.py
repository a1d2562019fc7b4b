"""Random offsets with matrices that are not zero, and inputs to see what they do."""

import torch

from core.families import get
from core.offsets.adapter import attach, offset_of
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import Offset

SD15 = get("sd15")


def make_offset(seed: int, scale: float = 0.3):
    """An offset of rank 3 of the tiny SD1.5."""
    pipe = SD15.tiny()
    attach(pipe.unet, SD15.lora_targets, rank=3, lora_alpha=3, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return Offset(
        {
            name: LowRankLayer(layer.down, scale * torch.randn(layer.up.shape, generator=generator) / 3)
            for name, layer in offset_of(pipe.unet).low_rank.items()
        }
    )


ETA, DELTA = make_offset(1), make_offset(2)


def batch(rows: int):
    """Noise, times and texts of `rows` rows for the tiny SD1.5."""
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(rows, 4, 16, 16, generator=generator), torch.full((rows,), 700)
    return x, t, {"encoder_hidden_states": torch.randn(rows, 16, 32, generator=generator)}


def predict(pipe, x, t, cond):
    """What the tiny SD1.5 predicts."""
    with torch.no_grad():
        return SD15.predict(pipe.unet, x, t, cond)


def size_of(family, pipe):
    """The standard size of a family's model."""
    return family.defaults(pipe).size


def noise(family, pipe, rows):
    """Noise in the shape of the family's latents."""
    return torch.randn(rows, *family.latent_shape(pipe, size_of(family, pipe)))


def random_offset(family, pipe, seed=3):
    """A LoRA of the family's layers whose up matrices are not zero."""
    other = family.tiny()
    attach(family.denoiser(other), family.lora_targets, rank=2, lora_alpha=2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    zero = offset_of(family.denoiser(other))
    return Offset(
        {
            name: layer._replace(up=torch.randn(layer.up.shape, generator=generator) * 0.1)
            for name, layer in zero.low_rank.items()
        }
    )
