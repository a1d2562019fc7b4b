"""The world of shapes in words: scenes of one or two shapes, and the captions that describe them. NumPy alone."""

from __future__ import annotations

from functools import partial

import numpy as np

from core.miniature.language import ARRANGEMENTS, PLACES, Asked, Language, Scene

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "moon")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white")
SIZES = ("small", "large")
TEXTURES = ("matte", "shiny", "striped")
GROUNDS = ("gray", "black", "brown", "pink", "teal")
PATTERNS = ("plain", "dotted", "checked")
LIGHTS = ("left", "right")
LAYOUTS = (*PLACES, *ARRANGEMENTS)

FLAWS = ("clean", "blurry", "noisy", "faded", "blocky", "crooked")
"""How a picture may be spoilt. `clean` is not spoilt; `crooked` is badly drawn."""

OBJECT_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "color": COLORS,
    "size": SIZES,
    "texture": TEXTURES,
}
SCENE_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "layout": LAYOUTS,
    "ground": GROUNDS,
    "pattern": PATTERNS,
    "light": LIGHTS,
}

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **{f"first_{name}": values for name, values in OBJECT_ATTRIBUTES.items()},
    **{f"second_{name}": values for name, values in OBJECT_ATTRIBUTES.items()},
    **SCENE_ATTRIBUTES,
}
"""Every attribute of a scene and its possible values, in the order the judge reads them."""

LANGUAGE = Language(
    attributes=ATTRIBUTES,
    flaws=FLAWS,
    of_object=("size", "texture", "color", "shape"),
    place="layout",
    beside="left of",
    further={"light": "lit from the {}"},
    example="a large shiny red circle on the left, plain gray background, lit from the left",
)
describe, caption, parse, vocabulary = LANGUAGE.describe, LANGUAGE.caption, LANGUAGE.parse, LANGUAGE.vocabulary


def sample_scene(rng: np.random.Generator, *, pairs: float = 0.25, spoilt: float = 0.0) -> Scene:
    """A random scene.

    Args:
        pairs: share of scenes with two objects, 0 to 1.
        spoilt: share of scenes with a flaw, 0 to 1.
    """

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    two = rng.random() < pairs
    attributes: Asked = {f"first_{name}": pick(values) for name, values in OBJECT_ATTRIBUTES.items()}
    if two:
        attributes |= {f"second_{name}": pick(values) for name, values in OBJECT_ATTRIBUTES.items()}
    attributes["layout"] = pick(ARRANGEMENTS if two else tuple(PLACES))
    attributes |= {name: pick(values) for name, values in SCENE_ATTRIBUTES.items() if name != "layout"}
    flaw = pick(FLAWS[1:]) if rng.random() < spoilt else "clean"
    return Scene(attributes, flaw, int(rng.integers(2**31)))


def sample_prompts(count: int, seed: int, *, pairs: float = 0.25, keep: float = 0.8) -> list[str]:
    """`count` captions of clean random scenes: prompts to train or to judge with. The same seed gives the same list."""
    return LANGUAGE.captions(count, seed, partial(sample_scene, pairs=pairs), keep=keep)
