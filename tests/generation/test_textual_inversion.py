"""Textual inversions: diffusers' own reading of them is the measure; names, marks and refusals."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.families.base import Size
from core.generation.prompt_syntax import CalledWord, called_words, named_inversions
from core.generation.prompt_weights import HIDDEN, encode_weighted
from core.generation.textual_inversion import Inversion, place

SIZE = Size(32, 32)
WIDTHS = {"sd15": (32,), "sdxl": (32, 24)}


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def model(request):
    family = get(request.param)
    return family, family.tiny()


def vectors_of(family, count):
    generator = torch.Generator().manual_seed(count)
    return tuple(torch.randn(count, width, generator=generator) for width in WIDTHS[family.name])


@pytest.mark.parametrize("count", [1, 3])
def test_a_prompt_is_encoded_as_diffusers_encodes_it_with_the_same_vectors(model, count):
    family, pipe = model
    vectors, stock = vectors_of(family, count), family.tiny()
    parts = [(stock.text_encoder, stock.tokenizer)]
    parts += [(stock.text_encoder_2, stock.tokenizer_2)] if family.name == "sdxl" else []
    for (encoder, tokenizer), part in zip(parts, vectors, strict=True):
        stock.load_textual_inversion(part, token="<mine>", text_encoder=encoder, tokenizer=tokenizer)
    theirs = family.encode_prompt(stock, ["a <mine>, b"], SIZE)
    ours = encode_weighted(pipe, family, "a <mine>, b", SIZE, inversions={"mine": Inversion(vectors)})
    plain = family.encode_prompt(pipe, ["a x, b"], SIZE)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-5)
    assert float((ours[HIDDEN] - plain[HIDDEN]).abs().max()) > 0.05
    assert torch.equal(family.encode_prompt(pipe, ["a x, b"], SIZE)[HIDDEN], plain[HIDDEN]), "nothing stays behind"


def test_every_way_to_call_it_reads_alike_and_weights_act_on_it(model):
    family, pipe = model
    known = {"My-Word_1.5": Inversion(vectors_of(family, 2))}
    one = encode_weighted(pipe, family, "a <My-Word_1.5>", SIZE, inversions=known)[HIDDEN]
    for text in ("a My-Word_1.5", "a my-word_1.5", "a embedding:my-word_1.5", "a embedding:My-Word_1.5.pt"):
        assert torch.equal(encode_weighted(pipe, family, text, SIZE, inversions=known)[HIDDEN], one)
    empty = family.encode_prompt(pipe, [""], SIZE)[HIDDEN]
    half = encode_weighted(pipe, family, "a (my-word_1.5:0.5)", SIZE, inversions=known)[HIDDEN]
    torch.testing.assert_close(half[0, 2:4], (one[0, 2:4] + empty[0, 2:4]) / 2)
    assert torch.equal(half[0, :2], one[0, :2])


def test_names_are_whole_words_and_those_of_loras_stay_theirs():
    names = ["mine", "mine2"]
    assert list(called_words("mine2, Mine", names)) == [
        CalledWord("mine2", 0, 5, False),
        CalledWord("mine", 7, 11, False),
    ]
    assert not list(called_words("mines undermine mine-craft my_mine <lora:mine:0.8> <hypernet:mine:1>", names))
    assert [word.marked for word in called_words("<mine> embedding:mine.safetensors (mine:1.2)", names)] == [
        True,
        True,
        False,
    ]
    assert named_inversions("a embedding:One.pt, (embedding:two:1.2) embedding:One") == ("One", "two")


def test_what_is_not_for_this_model_is_refused_where_it_was_meant_and_a_word_otherwise(model):
    family, pipe = model
    other = {"star": Inversion((torch.ones(1, 7),))}
    with pytest.raises(StudioError, match=f"textual inversion “star”, which {family.title} cannot read"):
        place(pipe, family, "a <star>", other)
    placed = place(pipe, family, "a star", other)
    assert placed.prompt.text == "a star" and "was read as an ordinary word" in placed.notes[0]
    video = get("cogvideox")
    with pytest.raises(StudioError, match="CogVideoX cannot read.*Stable Diffusion 1.5 or XL"):
        place(video.tiny(), video, "a embedding:star", other)


def test_a_prompt_longer_than_the_encoder_reads_keeps_its_first_part(model):
    family, pipe = model
    known = {"mine": Inversion(vectors_of(family, 30))}
    assert encode_weighted(pipe, family, "a mine", SIZE, inversions=known)[HIDDEN].shape[1] == 16
