"""Weights of parts of a prompt, `(word:1.2)`, for the families that read prompts with CLIP.

The embedding of each weighted token is moved away from that of the empty prompt at the same place, or towards it:
e_empty + w (e − e_empty), as ComfyUI does. Cost: one more text encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.families.base import Conditioning, FamilySpec, Size
from core.generation.prompt_syntax import WrittenPrompt
from core.generation.textual_inversion import Inversion, learned_words, place

WEIGHING = ("sd15", "sdxl")
"""Families whose tokens can be weighed."""
HIDDEN = "encoder_hidden_states"


def token_weights(pipe: Any, family: FamilySpec, prompt: WrittenPrompt) -> Tensor:
    """The weight of each token that the text encoder reads: (tokens,), 1 where nothing was asked."""
    tokenizer, most = family.reader(pipe)
    offsets = tokenizer(
        prompt.text, padding="max_length", max_length=most, truncation=True, return_offsets_mapping=True
    ).offset_mapping
    return torch.tensor([prompt.weight_at(start, end) if end > start else 1.0 for start, end in offsets])


def encode_weighted(
    pipe: Any,
    family: FamilySpec,
    text: str,
    size: Size,
    *,
    negative: bool = False,
    inversions: Mapping[str, Inversion] = {},  # noqa: B006 it is never changed
) -> Conditioning:
    """A prompt's conditioning, one row, its weights applied where the family has them; marks are never read as words.

    Args:
        inversions: textual inversions by name.

    Raises:
        StudioError: a weight out of range, or a textual inversion is called that is not for this model.
    """
    placed = place(pipe, family, text, inversions)
    prompt = placed.prompt
    with learned_words(pipe, family, placed):
        cond = family.encode_prompt(pipe, [prompt.text], size, negative=negative)
    if not prompt.weights or family.name not in WEIGHING:
        return cond
    empty = family.encode_prompt(pipe, [""], size)[HIDDEN]
    weights = token_weights(pipe, family, prompt)[None, :, None].to(empty)
    weighted = empty + weights * (cond[HIDDEN] - empty)
    return {**cond, HIDDEN: torch.where(weights == 1, cond[HIDDEN], weighted)}  # exact where nothing was asked
