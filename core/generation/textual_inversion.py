"""Textual inversions in prompts: a word of the prompt is read as vectors that were learned for it.

Each vector takes the place of one token: the prompt goes to the tokenizer with a placeholder there, and the text encoder's
table of words gives the learned vector for it. Nothing of the pipeline is changed, and no forward is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import Sentence, StudioError
from core.families.base import FamilySpec
from core.generation.prompt_syntax import WrittenPrompt, called_words, read_prompt

READING = ("sd15", "sdxl")
"""Families whose text encoders are all CLIP's: what textual inversions are trained for."""
_PLACE, _LETTER = "\ue000", "x"  # a character that nobody writes, and a word of one token in every vocabulary of CLIP


@dataclass(frozen=True)
class Inversion:
    """Vectors of one word: of each text encoder (vectors, width)."""

    vectors: tuple[Tensor, ...]


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt with placeholders where learned vectors go.

    Args:
        prompt: what the tokenizer reads.
        places: character of each placeholder in its text.
        vectors: of each text encoder (places, width).
        notes: what a person should know of it.
    """

    prompt: WrittenPrompt
    places: tuple[int, ...] = ()
    vectors: tuple[Tensor, ...] = ()
    notes: tuple[Sentence, ...] = ()


def _encoders(pipe: Any, family: FamilySpec) -> list[Any]:
    return [getattr(pipe, part) for part in family.parts[1:]]


def _fits(pipe: Any, family: FamilySpec, inversion: Inversion) -> bool:
    if family.name not in READING:
        return False
    widths = [encoder.get_input_embeddings().weight.shape[1] for encoder in _encoders(pipe, family)]
    return widths == [part.shape[1] for part in inversion.vectors]


def place(pipe: Any, family: FamilySpec, text: str, inversions: Mapping[str, Inversion]) -> PlacedPrompt:
    """Finds the words of a prompt that have learned vectors: `name`, `<name>` and `embedding:name`.

    Raises:
        StudioError: one that is called by a mark is not for this model; a bare word is then read as it stands, which is
            noted. A weight of the prompt is out of range.
    """
    if not inversions:
        return PlacedPrompt(read_prompt(text))
    written, at = "", 0
    used: list[Inversion] = []
    notes: list[Sentence] = []
    text = text.replace(_PLACE, " ")
    for word in called_words(text, inversions):
        if not _fits(pipe, family, inversions[word.name]):
            if word.marked:
                raise StudioError(
                    "The prompt names the textual inversion “{name}”, which {family} cannot read.",
                    "Remove it from the prompt, or choose a base that it was trained for: Stable Diffusion 1.5 or XL.",
                    name=word.name[:60],
                    family=family.title,
                )
            note = "“{name}” was read as an ordinary word: the textual inversion of that name is not for {family}."
            notes.append(Sentence(note, name=word.name[:60], family=family.title))
            continue
        count = len(inversions[word.name].vectors[0])
        written += text[at : word.start] + " ".join([_PLACE] * count)
        at = word.end
        used.append(inversions[word.name])
    prompt = read_prompt(written + text[at:])
    places = tuple(index for index, character in enumerate(prompt.text) if character == _PLACE)
    prompt = dataclasses.replace(prompt, text=prompt.text.replace(_PLACE, _LETTER))
    parts = [inversion.vectors for inversion in used]
    vectors = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return PlacedPrompt(prompt, places, vectors, tuple(dict.fromkeys(notes)))


def _tokens_at(pipe: Any, family: FamilySpec, placed: PlacedPrompt) -> tuple[list[int], list[int]]:
    """(tokens, placeholders): the token of each placeholder that the text encoder reads, and which placeholder it is."""
    tokenizer, most = family.reader(pipe)
    offsets = tokenizer(
        placed.prompt.text, padding="max_length", max_length=most, truncation=True, return_offsets_mapping=True
    ).offset_mapping
    pairs = [
        (token, number)
        for number, character in enumerate(placed.places)
        for token, (start, end) in enumerate(offsets)
        if start <= character < end
    ]
    return [token for token, _ in pairs], [number for _, number in pairs]


@contextmanager
def learned_words(pipe: Any, family: FamilySpec, placed: PlacedPrompt) -> Iterator[None]:
    """Within it, the text encoders read the learned vectors at the placeholders of this prompt, and of it alone."""
    if not placed.places:
        yield
        return
    tokens, numbers = _tokens_at(pipe, family, placed)

    def reads(vectors: Tensor) -> Any:
        def hook(module: Any, inputs: Sequence[Tensor], output: Tensor) -> Tensor:
            replaced = output.clone()
            replaced[:, tokens] = vectors[numbers].to(output)
            return replaced

        return hook

    with ExitStack() as stack:
        for encoder, vectors in zip(_encoders(pipe, family), placed.vectors, strict=True):
            handle = encoder.get_input_embeddings().register_forward_hook(reads(vectors))
            stack.callback(handle.remove)
        yield
