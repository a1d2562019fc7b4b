"""Scenes of one or two drawn things, the captions that describe them, and the way back from a caption to what it asks for.

A caption names some of the scene's attributes; `parse` returns those and only those, so that a picture is judged
by what was asked, no more. NumPy alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from core.errors import StudioError
from core.miniature.drawings.words import ATTRIBUTES, FLAWS, GROUNDS, HELD_OUT, PATTERNS, PLACES, SIZES, STYLES, THINGS

Asked = dict[str, str]
"""Attribute name to value, for the attributes a caption names."""

_JOINTS = {"beside": "beside", "above": "above", "and": None}
_PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}
_TRAINED = tuple((thing, style) for thing in THINGS for style in STYLES if (thing, style) not in HELD_OUT)


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Args:
        attributes: one value for every name of `ATTRIBUTES`; those of a second thing only where there are two.
        flaw: one of `FLAWS`.
        seed: fixes everything the caption does not say: exact place, turn, mirror, shadow, degree of the flaw.
    """

    attributes: Asked
    flaw: str = "clean"
    seed: int = 0

    @property
    def objects(self) -> int:
        """1 or 2."""
        return 2 if "second_thing" in self.attributes else 1


def sample_scene(
    rng: np.random.Generator, *, pairs: float = 0.25, spoilt: float = 0.0, held_out: bool = False
) -> Scene:
    """A random scene.

    Args:
        pairs: share of scenes with two things, 0 to 1.
        spoilt: share of scenes with a flaw, 0 to 1.
        held_out: the first thing is one of `HELD_OUT`, in its style; otherwise none is.
    """

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    two = rng.random() < pairs
    attributes: Asked = {}
    for which in ("first", "second") if two else ("first",):
        choices = sorted(HELD_OUT) if held_out and which == "first" else _TRAINED
        thing, style = choices[int(rng.integers(len(choices)))]
        attributes |= {f"{which}_thing": thing, f"{which}_style": style, f"{which}_size": pick(SIZES)}
    attributes["place"] = pick(PLACES[5:] if two else PLACES[:5])
    attributes |= {name: pick(ATTRIBUTES[name]) for name in ("ground", "pattern")}
    flaw = pick(FLAWS[1:]) if rng.random() < spoilt else "clean"
    return Scene(attributes, flaw, int(rng.integers(2**31)))


def _object_words(asked: Asked, which: str) -> str:
    words = [asked[f"{which}_{name}"] for name in ("size", "style", "thing") if f"{which}_{name}" in asked]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def describe(asked: Asked) -> str:
    """The caption that asks for these attributes. `parse(describe(asked)) == asked`.

    At least each thing's name must be among them.
    """
    text = _object_words(asked, "first")
    if "second_thing" in asked:
        joint = asked.get("place", "and")
        text += f" {joint} {_object_words(asked, 'second')}"
    elif "place" in asked:
        text += f" {_PLACES[asked['place']]}"
    ground = [asked[name] for name in ("pattern", "ground") if name in asked]
    return f"{text}, {' '.join(ground)} background" if ground else text


def caption(scene: Scene, rng: np.random.Generator, *, keep: float = 0.8, tell_flaw: float = 0.0) -> str:
    """A caption as a person might give: things always, other attributes each with probability `keep`.

    Args:
        tell_flaw: probability that a spoilt picture's caption says so ("…, blurry").
    """
    asked = {k: v for k, v in scene.attributes.items() if k.endswith("thing") or rng.random() < keep}
    text = describe(asked)
    return f"{text}, {scene.flaw}" if scene.flaw != "clean" and rng.random() < tell_flaw else text


def _choice(values: tuple[str, ...]) -> str:
    return "|".join(values)


_OBJECT = rf"an?(?: (?P<size>{_choice(SIZES)}))?(?: (?P<style>{_choice(tuple(STYLES))}))? (?P<thing>{_choice(THINGS)})"
_HEAD = re.compile(
    _OBJECT.replace("?P<", "?P<first_")
    + rf"(?: (?P<place>{_choice(tuple(_PLACES.values()))})| (?P<joint>{_choice(tuple(_JOINTS))}) "
    + _OBJECT.replace("?P<", "?P<second_")
    + ")?"
)
_GROUND = re.compile(rf"(?:(?P<pattern>{_choice(PATTERNS)}) ?)?(?P<ground>{_choice(tuple(GROUNDS))})? ?background")


def parse(text: str) -> Asked:
    """What a caption asks for.

    Raises:
        StudioError: the caption is not of this world's grammar.
    """
    head, *rest = [part.strip() for part in text.strip().lower().rstrip(".").split(",")]
    match = _HEAD.fullmatch(head)
    if match is None:
        raise StudioError(
            "“{text}” is not a sentence of the miniature's world of drawings.",
            "Write for example: a large glossy fox beside a flat pizza, dotted pink background",
            text=text[:80],
        )
    facts = match.groupdict()
    place, joint = facts.pop("place"), facts.pop("joint")
    asked = {name: value for name, value in facts.items() if value}
    if place:
        asked["place"] = next(name for name, words in _PLACES.items() if words == place)
    if joint and (arrangement := _JOINTS[joint]):
        asked["place"] = arrangement
    for part in rest:
        if ground := _GROUND.fullmatch(part):
            asked |= {name: value for name, value in ground.groupdict().items() if value}
        elif part not in FLAWS:
            raise StudioError(
                "“{text}” is not a phrase of the miniature's world of drawings.", "Leave it out.", text=part[:80]
            )
    return asked


def vocabulary() -> list[str]:
    """Every word a caption may hold, sorted."""
    words = set("a an and beside above background the on at in left right top bottom middle ,".split())
    for values in (*ATTRIBUTES.values(), FLAWS):
        words |= {word for value in values for word in value.split()}
    return sorted(words)


def sample_prompts(
    count: int, seed: int, *, pairs: float = 0.25, keep: float = 0.8, held_out: bool = False
) -> list[str]:
    """`count` captions of clean random scenes: prompts to train or to judge with. The same seed gives the same list."""
    rng = np.random.default_rng(seed)
    return [caption(sample_scene(rng, pairs=pairs, held_out=held_out), rng, keep=keep) for _ in range(count)]
