"""Scenes of one or two shapes, the captions that describe them, and the way back from a caption to what it asks for.

A caption names some of the scene's attributes; `parse` returns those and only those, so that a picture is judged
by what was asked, no more. NumPy alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from core.errors import StudioError

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "moon")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white")
SIZES = ("small", "large")
TEXTURES = ("matte", "shiny", "striped")
GROUNDS = ("gray", "black", "brown", "pink", "teal")
PATTERNS = ("plain", "dotted", "checked")
LIGHTS = ("left", "right")
LAYOUTS = ("left", "right", "top", "bottom", "middle", "beside", "above")
"""Where one object stands; `beside` and `above` are the two arrangements of two objects, first left or on top."""

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

Asked = dict[str, str]
"""Attribute name to value, for the attributes a caption names."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Args:
        attributes: one value for every name of `ATTRIBUTES`; those of a second object only where there are two.
        flaw: one of `FLAWS`.
        seed: fixes everything the caption does not say: exact place, tilt, strength of the flaw.
    """

    attributes: Asked
    flaw: str = "clean"
    seed: int = 0

    @property
    def objects(self) -> int:
        """1 or 2."""
        return 2 if "second_shape" in self.attributes else 1


def sample_scene(rng: np.random.Generator, *, pairs: float = 0.25, spoilt: float = 0.0) -> Scene:
    """A random scene.

    Args:
        pairs: share of scenes with two objects, 0 to 1.
        spoilt: share of scenes with a flaw, 0 to 1.
    """

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    two = rng.random() < pairs
    attributes = {f"first_{name}": pick(values) for name, values in OBJECT_ATTRIBUTES.items()}
    if two:
        attributes |= {f"second_{name}": pick(values) for name, values in OBJECT_ATTRIBUTES.items()}
    attributes["layout"] = pick(LAYOUTS[5:] if two else LAYOUTS[:5])
    attributes |= {name: pick(values) for name, values in SCENE_ATTRIBUTES.items() if name != "layout"}
    flaw = pick(FLAWS[1:]) if rng.random() < spoilt else "clean"
    return Scene(attributes, flaw, int(rng.integers(2**31)))


_PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
}


def _object_words(asked: Asked, which: str) -> str:
    words = [asked[f"{which}_{name}"] for name in ("size", "texture", "color", "shape") if f"{which}_{name}" in asked]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def describe(asked: Asked) -> str:
    """The caption that asks for these attributes. `parse(describe(asked)) == asked`.

    At least the shape of each object must be among them.
    """
    text = _object_words(asked, "first")
    if "second_shape" in asked:
        joint = {"beside": "left of", "above": "above"}.get(asked.get("layout", ""), "and")
        text += f" {joint} {_object_words(asked, 'second')}"
    elif "layout" in asked:
        text += f" {_PLACES[asked['layout']]}"
    ground = [asked[name] for name in ("pattern", "ground") if name in asked]
    if ground:
        text += f", {' '.join(ground)} background"
    if "light" in asked:
        text += f", lit from the {asked['light']}"
    return text


def caption(scene: Scene, rng: np.random.Generator, *, keep: float = 0.8, tell_flaw: float = 0.0) -> str:
    """A caption as a person might give: shapes always, other attributes each with probability `keep`.

    Args:
        tell_flaw: probability that a spoilt picture's caption says so ("…, blurry").
    """
    asked = {k: v for k, v in scene.attributes.items() if k.endswith("shape") or rng.random() < keep}
    text = describe(asked)
    if scene.flaw != "clean" and rng.random() < tell_flaw:
        text += f", {scene.flaw}"
    return text


_OBJECT = (
    rf"an?(?: (?P<size>{'|'.join(SIZES)}))?(?: (?P<texture>{'|'.join(TEXTURES)}))?"
    rf"(?: (?P<color>{'|'.join(COLORS)}))? (?P<shape>{'|'.join(SHAPES)})"
)
_JOINTS = {"left of": "beside", "above": "above", "and": None}
_HEAD = re.compile(
    _OBJECT.replace("?P<", "?P<first_")
    + rf"(?: (?P<place>{'|'.join(_PLACES.values())})| (?P<joint>{'|'.join(_JOINTS)}) "
    + _OBJECT.replace("?P<", "?P<second_")
    + ")?"
)
_GROUND = re.compile(rf"(?:(?P<pattern>{'|'.join(PATTERNS)}) ?)?(?P<ground>{'|'.join(GROUNDS)})? ?background")
_LIGHT = re.compile(rf"lit from the (?P<light>{'|'.join(LIGHTS)})")


def parse(text: str) -> Asked:
    """What a caption asks for.

    Raises:
        StudioError: the caption is not of this world's grammar.
    """
    head, *rest = [part.strip() for part in text.strip().lower().rstrip(".").split(",")]
    match = _HEAD.fullmatch(head)
    if match is None:
        raise StudioError(
            "“{text}” is not a sentence of the miniature's world.",
            "Write for example: a large shiny red circle on the left, plain gray background, lit from the left",
            text=text[:80],
        )
    groups = match.groupdict()
    place, joint = groups.pop("place"), groups.pop("joint")
    asked = {name: value for name, value in groups.items() if value}
    if place:
        asked["layout"] = next(name for name, words in _PLACES.items() if words == place)
    if joint and (layout := _JOINTS[joint]):
        asked["layout"] = layout
    for part in rest:
        if (ground := _GROUND.fullmatch(part)) or (ground := _LIGHT.fullmatch(part)):
            asked |= {name: value for name, value in ground.groupdict().items() if value}
        elif part not in FLAWS:
            raise StudioError("“{text}” is not a phrase of the miniature's world.", "Leave it out.", text=part[:80])
    return asked


def vocabulary() -> list[str]:
    """Every word a caption may hold, sorted."""
    words = set("a an and of above background lit from the on at in left right top bottom middle , ".split())
    for values in (*ATTRIBUTES.values(), FLAWS):
        words |= set(values)
    return sorted(words - {"beside"})


def sample_prompts(count: int, seed: int, *, pairs: float = 0.25, keep: float = 0.8) -> list[str]:
    """`count` captions of clean random scenes: prompts to train or to judge with. The same seed gives the same list."""
    rng = np.random.default_rng(seed)
    return [caption(sample_scene(rng, pairs=pairs), rng, keep=keep) for _ in range(count)]
