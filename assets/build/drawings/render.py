"""Draws scenes of drawn things at 96 px: ground, soft shadow, one or two drawings, and the flaw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from assets.build.drawings import spoil
from core.miniature.drawings.words import GROUNDS, STYLES, THINGS
from core.miniature.language import Scene

SIDE = 96
SIZES = {(1, "small"): (38, 48), (1, "large"): (62, 80), (2, "small"): (30, 36), (2, "large"): (42, 50)}
"""(things in the scene, size word) -> range of the longer side in pixels."""
_STYLE_NAMES = tuple(STYLES)
_SHIFTS = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "middle": (0, 0)}


@dataclass(frozen=True)
class Drawings:
    """The drawings at two sizes, so that a small one is not aliased: (styles, things, side, side, 4) uint8."""

    fine: np.ndarray
    coarse: np.ndarray

    @classmethod
    def load(cls, file: Path) -> Drawings:
        """What `assets.build.drawings.sets` wrote."""
        fine = np.load(file)
        side = fine.shape[2] // 2
        coarse = np.empty((*fine.shape[:2], side, side, 4), np.uint8)
        for row, column in np.ndindex(*fine.shape[:2]):
            picture = Image.fromarray(fine[row, column]).convert("RGBa").reduce(2).convert("RGBA")
            coarse[row, column] = np.asarray(picture)
        return cls(fine, coarse)

    def get(self, thing: str, style: str, size: float) -> Image.Image:
        """The drawing, at the size that is nearest above `size` pixels."""
        source = self.coarse if size <= self.coarse.shape[2] * 0.75 else self.fine
        return Image.fromarray(source[_STYLE_NAMES.index(style), THINGS.index(thing)])


def place_drawing(
    picture: Image.Image, center: tuple[float, float], size: float, turn: float, *, mirror: bool
) -> Image.Image:
    """A layer (RGBA, SIDE x SIDE) with the drawing `size` pixels long at `center`, turned by `turn` radians."""
    scale = picture.width / size
    cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
    flip = -1 if mirror else 1
    x, y = center
    middle = picture.width / 2
    matrix = (
        flip * cos,
        flip * sin,
        middle - flip * (cos * x + sin * y),
        -sin,
        cos,
        middle + sin * x - cos * y,
    )
    return picture.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)


def draw_ground(color: tuple[int, int, int], pattern: str, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) float32, 0 to 255."""
    base = np.clip(np.array(color, np.float32) + rng.uniform(-7, 7, 3), 0, 255)
    bright = float(base.mean())
    other = base * rng.uniform(0.76, 0.84) if bright > 90 else base + (255 - base) * rng.uniform(0.2, 0.28)
    if pattern == "plain":
        cover = np.zeros((SIDE, SIDE), np.float32)
    elif pattern == "dotted":
        step, radius = rng.uniform(13, 17), rng.uniform(3, 4)
        x = (_COLUMNS + rng.uniform(0, step)) % step - step / 2
        y = (_ROWS + rng.uniform(0, step)) % step - step / 2
        cover = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)
    elif pattern == "striped":
        step, angle = rng.uniform(13, 18), rng.choice([math.pi / 4, -math.pi / 4])
        along = (_COLUMNS * math.cos(angle) + _ROWS * math.sin(angle) + rng.uniform(0, step)) % step
        cover = np.clip(step / 4 - np.abs(along - step / 2) + 0.5, 0, 1)
    else:
        step = rng.uniform(11, 15)
        x = np.abs((_COLUMNS + rng.uniform(0, 2 * step)) % (2 * step) - step) - step / 2
        y = np.abs((_ROWS + rng.uniform(0, 2 * step)) % (2 * step) - step) - step / 2
        x, y = np.clip(x, -0.5, 0.5) + 0.5, np.clip(y, -0.5, 0.5) + 0.5
        cover = x * y + (1 - x) * (1 - y)
    return base + (other - base) * cover[..., None]


def _centers(scene: Scene, sizes: list[float], rng: np.random.Generator) -> list[tuple[float, float]]:
    half, place = SIDE / 2, scene.attributes["place"]
    if scene.objects == 1:
        dx, dy = _SHIFTS[place]
        room = max(10.0, half - sizes[0] / 2 - 1)
        reach = room * rng.uniform(0.8, 1.0)
        return [(half + dx * reach + rng.uniform(-3, 3), half + dy * reach + rng.uniform(-3, 3))]
    along = [half - 23 + rng.uniform(-2, 2), half + 23 + rng.uniform(-2, 2)]
    across = [half + rng.uniform(-5, 5) for _ in range(2)]
    return list(zip(along, across, strict=True)) if place == "beside" else list(zip(across, along, strict=True))


def render_scene(scene: Scene, drawings: Drawings) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8. The same scene gives the same picture."""
    rng = np.random.default_rng(scene.seed)
    facts = scene.attributes
    ground = draw_ground(GROUNDS[facts["ground"]], facts["pattern"], rng)
    names = ("first", "second")[: scene.objects]
    sizes = [float(rng.uniform(*SIZES[scene.objects, facts[f"{name}_size"]])) for name in names]
    layers = Image.new("RGBA", (SIDE, SIDE))
    for name, size, center in zip(names, sizes, _centers(scene, sizes, rng), strict=True):
        picture = drawings.get(facts[f"{name}_thing"], facts[f"{name}_style"], size)
        turn = float(np.clip(rng.normal(0, 0.14), -0.35, 0.35))
        layer = place_drawing(picture, center, size, turn, mirror=bool(rng.random() < 0.5))
        layers = Image.alpha_composite(layers, layer)
    if scene.flaw in spoil.OF_LAYER:
        layers = spoil.OF_LAYER[scene.flaw](layers, rng)
    elif scene.flaw == "cluttered":
        thing, style = THINGS[int(rng.integers(len(THINGS)))], _STYLE_NAMES[int(rng.integers(len(_STYLE_NAMES)))]
        size, center = rng.uniform(34, 56), (rng.uniform(12, SIDE - 12), rng.uniform(12, SIDE - 12))
        extra = place_drawing(drawings.get(thing, style, size), center, size, rng.uniform(-3, 3), mirror=False)
        layers = Image.alpha_composite(layers, spoil.half_drawn(extra, rng))
    alpha = layers.getchannel("A")
    shadow = Image.new("L", (SIDE, SIDE))
    shadow.paste(alpha.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 3))), (2, int(rng.integers(2, 5))))
    darkness = np.asarray(shadow, np.float32)[..., None] / 255 * rng.uniform(0.25, 0.45)
    picture = Image.fromarray((ground * (1 - darkness)).round().astype(np.uint8)).convert("RGBA")
    image = Image.alpha_composite(picture, layers).convert("RGB")
    if scene.flaw in spoil.OF_PICTURE:
        image = spoil.OF_PICTURE[scene.flaw](image, rng)
    return np.asarray(image)


def render(scenes: list[Scene], drawings: Drawings) -> Tensor:
    """(scenes, 3, SIDE, SIDE) uint8."""
    pixels = np.stack([render_scene(scene, drawings) for scene in scenes])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def as_input(images: Tensor) -> Tensor:
    """uint8 pictures as networks take them: float32 in [-1, 1]."""
    return images.float() / 127.5 - 1
