"""What people of other programs write into a prompt beside words: `(word:1.2)`, `<lora:name:0.8>` and the names of textual
inversions. No torch.

Parentheses without a number stay as they are: prompts of older pictures mean what they meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.errors import StudioError

LARGEST = 4.0
"""The greatest weight of a part of a prompt; 0 takes its meaning away."""
_WEIGHTED = re.compile(r"\(([^()]+):\s*(\d+(?:\.\d*)?|\.\d+)\s*\)")
_LORA = re.compile(r"\s*<(?:lora|lyco|lycoris):([^:<>]+)(?::[^<>]*)?>")
_CALL = r"<(?:lora|lyco|lycoris|hypernet):[^<>]*>"
_COMFYUI = re.compile(r"embedding:([\w.-]+?)(?:\.(?:pt|bin|safetensors))?(?=$|[^\w.-]|:)", re.IGNORECASE)


@dataclass(frozen=True)
class WrittenPrompt:
    """A prompt without its marks.

    Args:
        text: the words that a text encoder reads.
        weights: (start, end, weight) of the characters of `text` that have a weight of their own.
        loras: names of LoRAs that were called in it.
    """

    text: str
    weights: tuple[tuple[int, int, float], ...] = ()
    loras: tuple[str, ...] = ()

    def weight_at(self, start: int, end: int) -> float:
        """The weight of the text at these characters, such as a token's; 1 outside of all marks."""
        return next((weight for first, last, weight in self.weights if first < end and start < last), 1.0)


def read_prompt(prompt: str) -> WrittenPrompt:
    """The prompt as it was written, taken apart.

    Raises:
        StudioError: a weight above `LARGEST`.
    """
    loras = tuple(match[1].strip() for match in _LORA.finditer(prompt))
    rest = _LORA.sub("", prompt).strip() if loras else prompt
    text, weights, at = "", [], 0
    for match in _WEIGHTED.finditer(rest):
        weight = float(match[2])
        if weight > LARGEST:
            raise StudioError(
                "The weight of “{words}” in the prompt is {weight:g}, outside 0 to {most:g}.",
                "Choose one from 0 to {most:g}; 1 changes nothing.",
                words=match[1][:60],
                weight=weight,
                most=LARGEST,
            )
        text += rest[at : match.start()]
        weights.append((len(text), len(text) + len(match[1]), weight))
        text += match[1]
        at = match.end()
    return WrittenPrompt(text + rest[at:], tuple(weights), loras)


@dataclass(frozen=True)
class CalledWord:
    """A word of a prompt that is the name of a textual inversion.

    Args:
        name: as it is known.
        start, end: characters of the prompt, mark included.
        marked: it was written `<name>` or `embedding:name`, so that no ordinary word can be meant.
    """

    name: str
    start: int
    end: int
    marked: bool


def called_words(prompt: str, names: Iterable[str]) -> Iterator[CalledWord]:
    """The names in a prompt, whole words in any case: `name` as A1111 reads it, `<name>` as diffusers does, and
    `embedding:name` as ComfyUI does. Names of LoRAs in their marks are not among them."""
    known = {name.lower(): name for name in names}
    if not known:
        return
    one = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    ending = r"(?:\.(?:pt|bin|safetensors))?"
    pattern = rf"{_CALL}|<({one})>|(?<![\w-])embedding:({one}){ending}(?![\w-])|(?<![\w-])({one})(?![\w-])"
    for match in re.finditer(pattern, prompt, re.IGNORECASE):
        name = match[1] or match[2] or match[3]
        if name:
            yield CalledWord(known[name.lower()], match.start(), match.end(), marked=match[3] is None)


def named_inversions(prompt: str) -> tuple[str, ...]:
    """The names that ComfyUI's `embedding:name` calls in a prompt, each once."""
    return tuple(dict.fromkeys(match[1].strip() for match in _COMFYUI.finditer(prompt)))
