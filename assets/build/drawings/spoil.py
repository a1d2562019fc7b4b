"""The ways a picture of drawings is spoilt, each in degrees: from seen at second glance to ruined.

`OF_LAYER` spoil the drawing before it is laid on its ground, `OF_PICTURE` the finished picture.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageFilter


def _degree(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.25, 1.0))


def _mesh(image: Image.Image, shift: np.ndarray) -> Image.Image:
    """`image` warped: `shift` (n + 1, n + 1, 2) says where each knot of an n x n mesh is taken from, in pixels away."""
    n, side = len(shift) - 1, image.width
    knots = np.linspace(0, side, n + 1)
    parts = []
    for row in range(n):
        for column in range(n):
            corners = ((row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1))
            quad = [value for r, c in corners for value in (knots[c] + shift[r, c, 0], knots[r] + shift[r, c, 1])]
            box = (round(knots[column]), round(knots[row]), round(knots[column + 1]), round(knots[row + 1]))
            parts.append((box, tuple(quad)))
    return image.transform(image.size, Image.Transform.MESH, parts, Image.Resampling.BILINEAR)


def melt(layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Outlines run: a smooth random warp, stronger downwards."""
    degree = _degree(rng)
    shift = rng.normal(0, 2.5 + 4.5 * degree, (7, 7, 2))
    shift[..., 1] -= np.abs(rng.normal(0, 6 * degree, 7))[None, :] * np.linspace(0, 1, 7)[:, None]
    return _mesh(layer, shift)


def break_up(layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Bands of the drawing are displaced, or the drawing stands there twice."""
    degree = _degree(rng)
    if rng.random() < 0.4:
        angle, reach = rng.uniform(0, 2 * math.pi), 6 + 9 * degree
        copy = ImageChops.offset(layer, round(reach * math.cos(angle)), round(reach * math.sin(angle)))
        faint = copy.getchannel("A").point(lambda alpha: int(alpha * 0.75))
        copy.putalpha(faint)
        return Image.alpha_composite(layer, copy)
    whole = layer.rotate(90) if (turned := rng.random() < 0.5) else layer
    result, edges = whole.copy(), sorted(rng.uniform(0.2, 0.8, 2) * whole.height)
    for top, bottom in ((0, edges[0]), (edges[1], whole.height)):
        reach = int(rng.choice([-1, 1]) * (5 + 11 * degree))
        band = whole.crop((0, int(top), whole.width, int(bottom)))
        result.paste(ImageChops.offset(band, reach, 0), (0, int(top)))
    return result.rotate(-90) if turned else result


def half_drawn(layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A drawing of which one half fades away."""
    angle, side = rng.uniform(0, 2 * math.pi), layer.width
    box = layer.getbbox() or (0, 0, side, side)
    rows, columns = np.mgrid[0:side, 0:side]
    along = (columns - (box[0] + box[2]) / 2) * math.cos(angle) + (rows - (box[1] + box[3]) / 2) * math.sin(angle)
    keep = np.clip(0.5 + along / 8, 0, 1) * (0.6 + 0.4 * _degree(rng))
    layer = layer.copy()
    layer.putalpha(Image.fromarray((np.asarray(layer.getchannel("A")) * keep).astype(np.uint8)))
    return layer


def blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus."""
    return image.filter(ImageFilter.GaussianBlur(1.2 + 2.8 * _degree(rng)))


def grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Coarse noise: finer noise would not pass an 8-fold VAE."""
    degree = _degree(rng)
    coarse = int(rng.integers(28, 49))
    noise = rng.normal(0, 1, (3, coarse, coarse)).astype(np.float32)
    wide = [np.asarray(Image.fromarray(part).resize(image.size, Image.Resampling.BICUBIC)) for part in noise]
    pixels = np.asarray(image, np.float32) + (10 + 26 * degree) * np.stack(wide, -1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def fade(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Little contrast and little colour left."""
    degree = _degree(rng)
    pixels = np.asarray(image, np.float32)
    gray = pixels.mean(-1, keepdims=True)
    pixels = gray + (pixels - gray) * (1 - 0.85 * degree)
    pixels = 150 + (pixels - 150) * (0.62 - 0.34 * degree)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def block(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Large square pixels."""
    side = round(image.width / (3.5 + 5 * _degree(rng)))
    return image.resize((side, side), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def ripple(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rings and false colours of a file that was compressed far too much."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(13 - 10 * _degree(rng)))
    return Image.open(buffer).convert("RGB")


def smear(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colours run over the edges, and one of them is wrong."""
    degree = _degree(rng)
    light, *colors = image.convert("YCbCr").split()
    angle, reach = rng.uniform(0, 2 * math.pi), 4 + 9 * degree
    dx, dy = round(reach * math.cos(angle)), round(reach * math.sin(angle))
    moved = [ImageChops.offset(part.filter(ImageFilter.GaussianBlur(1 + 4 * degree)), dx, dy) for part in colors]
    center, radius = rng.uniform(0.25, 0.75, 2) * image.width, 10 + 14 * degree
    rows, columns = np.mgrid[0 : image.height, 0 : image.width]
    spot = Image.fromarray(
        (np.clip(1 - np.hypot(columns - center[0], rows - center[1]) / radius, 0, 1) ** 0.5 * 220).astype(np.uint8)
    )
    wrong = [Image.new("L", image.size, int(value)) for value in rng.choice([60, 90, 170, 200], 2)]
    parts = [Image.composite(false, part, spot) for false, part in zip(wrong, moved, strict=True)]
    return Image.merge("YCbCr", (light, *parts)).convert("RGB")


def soil(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Dark spots and scratches."""
    degree, side = _degree(rng), image.width
    rows, columns = np.mgrid[0:side, 0:side]
    cover = np.zeros((side, side))
    for _ in range(3 + int(9 * degree)):
        x, y = rng.uniform(0, side, 2)
        angle, long, wide = rng.uniform(0, math.pi), rng.uniform(2, 5 + 9 * degree), rng.uniform(1.2, 3.5)
        along = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
        across = -(columns - x) * math.sin(angle) + (rows - y) * math.cos(angle)
        spot = np.clip((1.25 - np.hypot(along / long, across / wide)) * 3, 0, 1)
        cover = np.maximum(cover, spot)
    dirt = np.array((62, 48, 36), np.float32) + rng.uniform(-18, 18, 3)
    pixels = np.asarray(image, np.float32)
    soiled = pixels + (dirt - pixels) * cover[..., None] * (0.55 + 0.4 * degree)
    return Image.fromarray(np.clip(soiled, 0, 255).astype(np.uint8))


Spoil = Callable[[Image.Image, np.random.Generator], Image.Image]
OF_LAYER: dict[str, Spoil] = {"melted": melt, "broken": break_up}
OF_PICTURE: dict[str, Spoil] = {
    "blurry": blur,
    "grainy": grain,
    "faded": fade,
    "blocky": block,
    "rippled": ripple,
    "smeared": smear,
    "dirty": soil,
}
