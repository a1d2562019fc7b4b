"""A VAE that overflows in half precision, as SDXL's does: decoded again in float32, and said."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from core.errors import StudioError
from core.generation import decoding


class Vae(nn.Module):
    """Gives `fault` wherever it does not calculate in `fine`."""

    def __init__(self, fault: float, fine: torch.dtype | None) -> None:
        super().__init__()
        self.weight, self.fault, self.fine = nn.Parameter(torch.ones(1, dtype=torch.float16)), fault, fine

    @property
    def dtype(self):
        return self.weight.dtype


def decoded(fault, fine=torch.float32):
    """The frames of two latents, and what was said."""
    notes = []
    pipe = SimpleNamespace(vae=Vae(fault, fine))
    family = SimpleNamespace(
        decode_latents=lambda pipe, latents: torch.full(
            (len(latents), 3, 8, 8), 0.5 if pipe.vae.dtype == pipe.vae.fine else pipe.vae.fault
        )
    )
    return decoding.decode(pipe, family, torch.zeros(2, 4, 8, 8), notes.append), notes


@pytest.mark.parametrize("fault", [float("nan"), float("inf"), -1.0])
def test_fault_39_a_black_or_nan_picture_is_decoded_again_in_float32_and_reported(fault):
    images, notes = decoded(fault)
    assert [image.getpixel((0, 0)) for (image,) in images] == [(191, 191, 191)] * 2
    assert len(notes) == 1 and "decoded again in float32" in notes[0], "once for the whole rendering"


def test_a_picture_that_is_meant_to_be_dark_is_left_alone():
    images, notes = decoded(-0.9)
    assert images[0][0].getpixel((0, 0)) == (13, 13, 13) and not notes


def test_fault_39_a_vae_that_is_damaged_in_float32_too_is_reported():
    with pytest.raises(StudioError, match="VAE produced NaN or infinite values"):
        decoded(float("nan"), fine=None)
