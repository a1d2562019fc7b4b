"""The chosen attention really is in place, gives the same, and what is missing is said."""

import pytest
import torch

from core.errors import StudioError
from core.families import NAMES, attention, get
from tests.builders.offsets import noise


def predict(family, pipe):
    cond = family.encode_prompt(pipe, ["ab"])
    torch.manual_seed(0)
    x = noise(family, pipe, 1)
    with torch.no_grad():
        return family.predict(family.denoiser(pipe), x, torch.tensor([300]), cond)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_plain_attention_is_in_place_and_gives_the_same_and_goes_again(name):
    family = get(name)
    pipe = family.tiny()
    unet = family.denoiser(pipe)
    before = predict(family, pipe)
    for choice, wanted in (("plain", "plain"), ("sdpa", "sdpa"), ("auto", "sdpa")):
        with attention.attention(unet, choice) as current:
            assert current == wanted == attention.in_place(unet)
            kinds = {type(processor).__name__ for processor in unet.attn_processors.values()}
            assert kinds == {"AttnProcessor" if choice == "plain" else "AttnProcessor2_0"}
            torch.testing.assert_close(predict(family, pipe), before, rtol=0, atol=1e-4)
        assert attention.in_place(unet) == "sdpa"
    assert torch.equal(predict(family, pipe), before)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_says_what_its_attention_is(name):
    family = get(name)
    denoiser = family.denoiser(family.tiny())
    assert attention.in_place(denoiser) == "sdpa"
    with attention.attention(denoiser, "auto") as current:
        assert current == "sdpa"


def test_what_a_model_cannot_have_is_refused_and_nothing_changed(monkeypatch):
    family = get("cogvideox")
    denoiser = family.denoiser(family.tiny())
    with (
        pytest.raises(StudioError, match="cannot use plain; it still uses sdpa"),
        attention.attention(denoiser, "plain"),
    ):
        pass
    monkeypatch.setattr(attention, "available", lambda: {"xformers": "yes"})
    with (
        pytest.raises(StudioError, match="cannot use xformers; it still uses sdpa"),
        attention.attention(denoiser, "xformers"),
    ):
        pass
    assert attention.in_place(denoiser) == "sdpa"


def test_a_missing_implementation_is_reported(monkeypatch):
    unet = get("sd15").denoiser(get("sd15").tiny())
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    assert attention.available()["xformers"] == "not installed"
    with pytest.raises(StudioError, match="by xformers is not available here: not installed"):
        attention.attention(unet, "xformers").__enter__()
    monkeypatch.setattr(attention, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudioError, match="needs an NVIDIA card"):
        attention.attention(unet, "xformers").__enter__()
    with pytest.raises(StudioError, match="“fast” is not an implementation"):
        attention.attention(unet, "fast").__enter__()


def test_on_a_card_xformers_processors_are_put_in_place(monkeypatch):
    """Without a card: diffusers' own check of one is passed over, so that what it puts in place is seen."""
    from diffusers.models.attention_processor import Attention, XFormersAttnProcessor

    monkeypatch.setattr(attention, "available", lambda: {"xformers": "yes"})

    def put(self, use, attention_op=None):
        self.set_processor(XFormersAttnProcessor())

    monkeypatch.setattr(Attention, "set_use_memory_efficient_attention_xformers", put)
    unet = get("sd15").denoiser(get("sd15").tiny())
    with attention.attention(unet, "xformers") as current:
        assert current == "xformers"
        assert {type(p).__name__ for p in unet.attn_processors.values()} == {"XFormersAttnProcessor"}
    assert attention.in_place(unet) == "sdpa"
