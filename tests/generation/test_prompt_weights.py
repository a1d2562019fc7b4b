"""Weights in prompts: what is read, what it does to the embeddings, and what is told where it does nothing."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.families.base import Size
from core.generation.prompt_syntax import WrittenPrompt, read_prompt
from core.generation.prompt_weights import HIDDEN, encode_weighted, token_weights
from core.studio.workspace import ASSETS


def test_marks_are_taken_apart_and_plain_parentheses_stay():
    assert read_prompt("a (red:1.5) star") == WrittenPrompt("a red star", ((2, 5, 1.5),))
    assert read_prompt("(a:0.5), (b c: 2 )") == WrittenPrompt("a, b c", ((0, 1, 0.5), (3, 6, 2.0)))
    for plain in ("a (red) star", "ratio 16:9", "(a:b)", "((x))", "a \\(b\\)", ""):
        assert read_prompt(plain) == WrittenPrompt(plain)
    assert read_prompt("a star <lora:more detail:0.8> <lyco:x>") == WrittenPrompt("a star", (), ("more detail", "x"))
    with pytest.raises(StudioError, match="“red” in the prompt is 9, outside 0 to 4"):
        read_prompt("a (red:9) star")


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def model(request):
    family = get(request.param)
    return family.load(ASSETS / f"miniature-{request.param}"), family


def test_only_the_weighted_words_move_and_a_weight_of_one_changes_nothing(model):
    pipe, family = model
    size = Size(64, 64)
    weights = token_weights(pipe, family, read_prompt("a (red:1.5) star"))
    assert weights[:4].tolist() == [1.0, 1.0, 1.5, 1.0] and set(weights[4:].tolist()) == {1.0}
    plain = encode_weighted(pipe, family, "a red star", size)[HIDDEN]
    assert torch.equal(encode_weighted(pipe, family, "a (red:1) star", size)[HIDDEN], plain)
    empty = family.encode_prompt(pipe, [""], size)[HIDDEN]
    half = encode_weighted(pipe, family, "a (red:0.5) star", size)[HIDDEN]
    torch.testing.assert_close(half[0, 2], (plain[0, 2] + empty[0, 2]) / 2)
    assert torch.equal(half[0, [0, 1, 3]], plain[0, [0, 1, 3]])
