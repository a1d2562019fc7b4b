"""Scenes of one or two objects in words: the captions of a world, and the way back from a caption to what it asks for.

A caption names some of the scene's attributes; `parse` returns those and only those, so that a picture is judged by what
was asked, no more. A world declares its words in a `Language`; the grammar is the same in all. NumPy alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from core.errors import StudioError

Asked = dict[str, str]
"""Attribute name to value, for the attributes a caption names."""

PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
"""Where one object stands, and how a caption says it."""
ARRANGEMENTS = ("beside", "above")
"""How two objects stand: the first is on the left, or on top."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Args:
        attributes: one value for every attribute of the world; those of a second object only where there are two.
        flaw: how it is spoilt; "clean" is not spoilt.
        seed: fixes everything the caption does not say: exact place, turn, degree of the flaw.
    """

    attributes: Asked
    flaw: str = "clean"
    seed: int = 0

    @property
    def objects(self) -> int:
        """1 or 2."""
        return 2 if any(name.startswith("second_") for name in self.attributes) else 1


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words of a world, and how its captions are put together.

    Args:
        attributes: every attribute of a scene and its values, in the order the judge reads them. Those of an object are
            called `first_…` and `second_…`.
        flaws: how a picture may be spoilt, "clean" first.
        of_object: attributes of an object in the order they are said; the last is its name, which is always said.
        place: the attribute that says where the objects stand.
        beside: what stands between two objects of which the first is on the left.
        further: attributes that are said in a phrase of their own, with `{}` for the value.
        example: a whole caption.
    """

    attributes: Mapping[str, tuple[str, ...]]
    flaws: tuple[str, ...]
    of_object: tuple[str, ...]
    place: str
    beside: str
    further: Mapping[str, str] = field(default_factory=dict)
    example: str

    @property
    def noun(self) -> str:
        """The attribute that is an object's name."""
        return self.of_object[-1]

    @cached_property
    def _joints(self) -> dict[str, str | None]:
        return {self.beside: "beside", "above": "above", "and": None}

    @cached_property
    def _phrases(self) -> tuple[re.Pattern[str], ...]:
        """The head of a caption, its ground, and each further phrase."""

        def one_of(name: str) -> str:
            return f"(?P<{name}>{'|'.join(self.attributes[name])})"

        def an_object(which: str) -> str:
            before = "".join(f"(?: {one_of(f'{which}_{name}')})?" for name in self.of_object[:-1])
            return f"an?{before} {one_of(f'{which}_{self.noun}')}"

        head = (
            f"{an_object('first')}(?: (?P<place>{'|'.join(PLACES.values())})"
            f"| (?P<joint>{'|'.join(self._joints)}) {an_object('second')})?"
        )
        ground = f"(?:{one_of('pattern')} ?)?{one_of('ground')}? ?background"
        further = [phrase.format(one_of(name)) for name, phrase in self.further.items()]
        return tuple(re.compile(text) for text in (head, ground, *further))

    def _said(self, asked: Asked, which: str) -> str:
        words = [asked[f"{which}_{name}"] for name in self.of_object if f"{which}_{name}" in asked]
        return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"

    def describe(self, asked: Asked) -> str:
        """The caption that asks for these attributes. `parse(describe(asked)) == asked`.

        At least each object's name must be among them.
        """
        text, place = self._said(asked, "first"), asked.get(self.place, "")
        if f"second_{self.noun}" in asked:
            joint = next((words for words, meaning in self._joints.items() if meaning == place), "and")
            text += f" {joint} {self._said(asked, 'second')}"
        elif place:
            text += f" {PLACES[place]}"
        if ground := [asked[name] for name in ("pattern", "ground") if name in asked]:
            text += f", {' '.join(ground)} background"
        return text + "".join(f", {p.format(asked[name])}" for name, p in self.further.items() if name in asked)

    def caption(self, scene: Scene, rng: np.random.Generator, *, keep: float = 0.8, tell_flaw: float = 0.0) -> str:
        """A caption as a person might give: names always, other attributes each with probability `keep`.

        Args:
            tell_flaw: probability that a spoilt picture's caption says so ("…, blurry").
        """
        asked = {k: v for k, v in scene.attributes.items() if k.endswith(self.noun) or rng.random() < keep}
        text = self.describe(asked)
        return f"{text}, {scene.flaw}" if scene.flaw != "clean" and rng.random() < tell_flaw else text

    def parse(self, text: str) -> Asked:
        """What a caption asks for.

        Raises:
            StudioError: the caption is not of this world's grammar.
        """
        begin, *rest = [part.strip() for part in text.strip().lower().rstrip(".").split(",")]
        head, *phrases = self._phrases
        match = head.fullmatch(begin)
        if match is None:
            raise StudioError(
                "“{text}” is not a sentence of the miniature's world.",
                "Write for example: {example}",
                text=text[:80],
                example=self.example,
            )
        facts = match.groupdict()
        place, joint = facts.pop("place"), facts.pop("joint")
        asked = {name: value for name, value in facts.items() if value}
        if place:
            asked[self.place] = next(name for name, words in PLACES.items() if words == place)
        if joint and (arrangement := self._joints[joint]):
            asked[self.place] = arrangement
        for part in rest:
            if found := next((match for phrase in phrases if (match := phrase.fullmatch(part))), None):
                asked |= {name: value for name, value in found.groupdict().items() if value}
            elif part not in self.flaws:
                raise StudioError("“{text}” is not a phrase of the miniature's world.", "Leave it out.", text=part[:80])
        return asked

    def vocabulary(self) -> list[str]:
        """Every word a caption may hold, sorted."""
        phrases = ["a an background ,", *self._joints, *PLACES.values(), *(p.format("") for p in self.further.values())]
        phrases += [value for name, values in self.attributes.items() if name != self.place for value in values]
        return sorted({word for phrase in (*phrases, *self.flaws) for word in phrase.split()})

    def captions(
        self, count: int, seed: int, sample: Callable[[np.random.Generator], Scene], *, keep: float = 0.8
    ) -> list[str]:
        """`count` captions of random scenes that `sample` draws; the same seed gives the same list."""
        rng = np.random.default_rng(seed)
        return [self.caption(sample(rng), rng, keep=keep) for _ in range(count)]
