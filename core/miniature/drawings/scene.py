"""The world of drawings in words: scenes of one or two drawn things, and the captions that describe them. NumPy alone."""

from __future__ import annotations

from functools import partial

import numpy as np

from core.miniature.drawings.words import ATTRIBUTES, FLAWS, HELD_OUT, SIZES, STYLES, THINGS
from core.miniature.language import ARRANGEMENTS, PLACES, Asked, Language, Scene

_TRAINED = tuple((thing, style) for thing in THINGS for style in STYLES if (thing, style) not in HELD_OUT)

LANGUAGE = Language(
    attributes=ATTRIBUTES,
    flaws=FLAWS,
    of_object=("size", "style", "thing"),
    place="place",
    beside="beside",
    example="a large glossy fox beside a flat pizza, dotted pink background",
)
describe, caption, parse, vocabulary = LANGUAGE.describe, LANGUAGE.caption, LANGUAGE.parse, LANGUAGE.vocabulary


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
    attributes["place"] = pick(ARRANGEMENTS if two else tuple(PLACES))
    attributes |= {name: pick(ATTRIBUTES[name]) for name in ("ground", "pattern")}
    flaw = pick(FLAWS[1:]) if rng.random() < spoilt else "clean"
    return Scene(attributes, flaw, int(rng.integers(2**31)))


def sample_prompts(
    count: int, seed: int, *, pairs: float = 0.25, keep: float = 0.8, held_out: bool = False
) -> list[str]:
    """`count` captions of clean random scenes: prompts to train or to judge with. The same seed gives the same list."""
    return LANGUAGE.captions(count, seed, partial(sample_scene, pairs=pairs, held_out=held_out), keep=keep)
