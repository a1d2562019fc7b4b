"""Named ways to save memory against the plain path, with a row gate over the network: what each changes in a prediction."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.families.base import join
from core.families.saving import WAYS, read_names, save_memory
from core.method.guidance import GuidanceWeights
from core.offsets.row_gate import row_gate
from tests.builders.offsets import noise, random_offset, size_of

CPU = torch.device("cpu")
MOST = {"group-offload": 0.0, "vae-tiling": 1e-5, "layerwise-casting": 0.15, "int8": 0.05}
"""The largest mean difference from the plain prediction, as a share of its mean size: 0 is to the bit."""


def predicted(family, pipe, offset):
    generator = torch.Generator().manual_seed(0)
    size = size_of(family, pipe)
    x = torch.randn((2, *noise(family, pipe, 1).shape[1:]), generator=generator)
    cond, empty = (family.encode_prompt(pipe, texts, size) for texts in (["ab", "c"], ["", ""]))
    with torch.no_grad(), row_gate(family.denoiser(pipe), None, offset, merged=False) as gate:
        gate.set_columns([GuidanceWeights(omega=2.0, beta=1.0)], 2)
        both = family.predict(family.denoiser(pipe), torch.cat([x, x]), torch.full((4,), 500), join(empty, cond))
        # the tiny video VAE enlarges less than the arithmetic of diffusers' tiles takes for granted
        return both, both if family.name == "cogvideox" else family.decode_latents(pipe, x)


@pytest.mark.parametrize("name", ["sd15", "cogvideox"])
@pytest.mark.parametrize("way", list(WAYS))
def test_it_predicts_what_the_plain_path_predicts(name, way):
    if way == "int8":
        pytest.importorskip("torchao", reason="torchao is not installed: int8 was NOT checked")
    family = get(name)
    plain, saving = family.tiny(), family.tiny()
    offset = random_offset(family, plain)
    save_memory(saving, family, [way], CPU)
    for expected, now in zip(predicted(family, plain, offset), predicted(family, saving, offset), strict=True):
        difference = float((now - expected).abs().mean() / expected.abs().mean())
        assert difference <= MOST[way] and now.dtype is expected.dtype
        if way in ("layerwise-casting", "int8") and expected.shape[0] == 4:
            assert difference > 0  # something is stored in fewer bits


def test_weights_stored_in_eight_bits_are_there_and_the_offset_is_not_rounded():
    family = get("sd15")
    pipe = family.tiny()
    save_memory(pipe, family, ["layerwise-casting"], CPU)
    stored = [parameter.dtype for parameter in pipe.unet.parameters()]
    assert stored.count(torch.float8_e4m3fn) > len(stored) / 2
    with row_gate(pipe.unet, None, random_offset(family, pipe)):
        held = {name: buffer.dtype for name, buffer in pipe.unet.named_buffers() if name.endswith((".down", ".up"))}
        assert held and set(held.values()) == {torch.float32}


def test_names_are_checked():
    assert read_names("") == () and read_names("vae-tiling, group-offload") == ("vae-tiling", "group-offload")
    with pytest.raises(StudioError, match="“fp4” is not a way to save memory"):
        read_names("fp4")
    with pytest.raises(StudioError, match="exclude each other"):
        read_names("int8,layerwise-casting")
