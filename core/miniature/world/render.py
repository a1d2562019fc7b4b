"""Draws scenes analytically: signed distances, antialiased edges, directed light with shading and shadow, and flaws.

Everything is a batched torch expression on a (batch, height, width) grid of points in [-1, 1], y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.miniature.language import Scene
from core.miniature.world.scene import COLORS, GROUNDS, SHAPES

COLOR_VALUES = {
    "red": (0.86, 0.13, 0.15),
    "orange": (0.97, 0.52, 0.08),
    "yellow": (0.96, 0.86, 0.16),
    "green": (0.16, 0.66, 0.25),
    "blue": (0.13, 0.33, 0.87),
    "purple": (0.55, 0.20, 0.74),
    "white": (0.95, 0.95, 0.95),
}
GROUND_VALUES = {
    "gray": (0.58, 0.60, 0.62),
    "black": (0.10, 0.10, 0.12),
    "brown": (0.45, 0.30, 0.19),
    "pink": (0.94, 0.70, 0.76),
    "teal": (0.23, 0.55, 0.55),
}
_PLACES = {
    "left": (-0.45, 0.0),
    "right": (0.45, 0.0),
    "top": (0.0, -0.45),
    "bottom": (0.0, 0.45),
    "middle": (0.0, 0.0),
}


def _box(x: Tensor, y: Tensor, half_x: float, half_y: float) -> Tensor:
    dx, dy = x.abs() - half_x, y.abs() - half_y
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0)


def _polygon_fold(x: Tensor, y: Tensor, corners: int, inner: float) -> Tensor:
    """Signed distance to the outline of a star with `corners` tips at radius 1 and notches at radius `inner`,
    one tip up, exact near the edges: the plane is folded into one half sector."""
    half = math.pi / corners
    angle = torch.atan2(x, -y)
    angle = ((angle + half) % (2 * half) - half).abs()
    radius = torch.hypot(x, y)
    px, py = radius * torch.cos(angle), radius * torch.sin(angle)
    notch = (inner * math.cos(half), inner * math.sin(half))
    edge = (notch[0] - 1.0, notch[1])
    length = math.hypot(*edge)
    return ((px - 1.0) * edge[1] - py * edge[0]) / length


def shape_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance of points to a shape of about unit radius: negative inside. Any shape of tensors."""
    if shape == "circle":
        return torch.hypot(x, y) - 0.92
    if shape == "square":
        return _box(x, y, 0.8, 0.8)
    if shape == "triangle":
        return _polygon_fold(x, y - 0.2, 3, 0.5) * 1.0 - 0.05
    if shape == "star":
        return _polygon_fold(x, y, 5, 0.42) - 0.04
    if shape == "ring":
        return (torch.hypot(x, y) - 0.66).abs() - 0.26
    if shape == "cross":
        return torch.minimum(_box(x, y, 0.95, 0.32), _box(x, y, 0.32, 0.95))
    if shape == "diamond":
        return (x.abs() * 1.25 + y.abs() - 1.0) / 1.6
    if shape == "moon":
        return torch.maximum(torch.hypot(x, y) - 0.95, 0.78 - torch.hypot(x - 0.45, y + 0.1))
    raise ValueError(shape)


def _hidden(scenes: Sequence[Scene]) -> np.ndarray:
    """Numbers in [0, 1) that the captions do not say: (scenes, 24), from each scene's own seed."""
    return np.stack([np.random.default_rng(scene.seed).random(24) for scene in scenes])


def _ground(scenes: Sequence[Scene], x: Tensor, y: Tensor, light: Tensor, h: Tensor) -> Tensor:
    base = torch.tensor([GROUND_VALUES[s.attributes["ground"]] for s in scenes])
    base = base * (0.93 + 0.14 * h[:, :1])
    pattern = [s.attributes["pattern"] for s in scenes]
    cell = 0.36
    u, v = (x + 0.5 * h[:, 1, None, None]) / cell, (y + 0.5 * h[:, 2, None, None]) / cell
    dots = (0.5 - (torch.hypot(u - u.round(), v - v.round()) - 0.27) * cell / 0.03).clamp(0, 1)
    checks = (torch.sin(math.pi * u) * torch.sin(math.pi * v) * 4).clamp(-0.5, 0.5) + 0.5
    kind = torch.tensor([("plain", "dotted", "checked").index(p) for p in pattern])[:, None, None]
    mark = torch.where(kind == 1, dots, torch.where(kind == 2, checks, torch.zeros_like(dots)))
    # marks are lighter on dark grounds and darker on light ones
    sign = torch.where(base.mean(1) < 0.4, 0.16, -0.14)[:, None, None]
    lit = 1.0 + 0.10 * light[:, 0, None, None] * x
    return (base[:, :, None, None] + (sign * mark)[:, None]) * lit[:, None]


def _places(scenes: Sequence[Scene], h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (batch, 2 objects, 2), radii (batch, 2), presence (batch, 2)."""
    centres, radii, present = torch.zeros(len(scenes), 2, 2), torch.zeros(len(scenes), 2), torch.zeros(len(scenes), 2)
    for i, scene in enumerate(scenes):
        a = scene.attributes
        two = scene.objects == 2
        for j, which in enumerate(("first", "second")[: scene.objects]):
            large = a[f"{which}_size"] == "large"
            jitter = (h[i, 6 + 2 * j : 8 + 2 * j] - 0.5) * 0.12
            if two:
                side = (-1.0, 1.0)[j] * 0.47
                centre = torch.tensor((side, 0.0) if a["layout"] == "beside" else (0.0, side))
                radius = 0.43 if large else 0.27
            else:
                centre = torch.tensor(_PLACES[a["layout"]])
                radius = 0.52 if large else 0.31
            centres[i, j] = centre + jitter
            radii[i, j] = radius * (0.95 + 0.1 * float(h[i, 10 + j]))
            present[i, j] = 1.0
    return centres, radii, present


def _clean(scenes: Sequence[Scene], size: int, h: Tensor) -> Tensor:
    grid = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    x, y = x.expand(len(scenes), -1, -1), y.expand(len(scenes), -1, -1)
    pixel = 2.0 / size
    light = torch.tensor([(-0.8, -0.6) if s.attributes["light"] == "left" else (0.8, -0.6) for s in scenes])
    image = _ground(scenes, x, y, light, h)
    centres, radii, present = _places(scenes, h)

    crooked = torch.tensor([s.flaw == "crooked" for s in scenes], dtype=torch.float32)[:, None, None]
    phase = h[:, 12:16, None, None] * 2 * math.pi
    wobble_x = crooked * 0.13 * (torch.sin(7 * y + phase[:, 0]) + 0.8 * torch.sin(13 * x + 5 * y + phase[:, 1]))
    wobble_y = crooked * 0.13 * (torch.sin(8 * x + phase[:, 2]) + 0.8 * torch.sin(12 * y - 6 * x + phase[:, 3]))

    for j, which in enumerate(("first", "second")):
        rows = [i for i in range(len(scenes)) if present[i, j] > 0]
        if not rows:
            continue
        index = torch.tensor(rows)
        radius = radii[index, j][:, None, None]
        tilt = ((h[index, 16 + j] - 0.5) * 0.35)[:, None, None]
        toward = light[index][:, :, None, None]

        def local(shift_x: Tensor | float, shift_y: Tensor | float) -> tuple[Tensor, Tensor]:
            dx = (x[index] + wobble_x[index] - centres[index, j, 0, None, None] - shift_x) / radius
            dy = (y[index] + wobble_y[index] - centres[index, j, 1, None, None] - shift_y) / radius
            return dx * torch.cos(tilt) + dy * torch.sin(tilt), dy * torch.cos(tilt) - dx * torch.sin(tilt)

        def distance(u: Tensor, v: Tensor) -> Tensor:
            out = torch.empty_like(u)
            kinds = [scenes[i].attributes[f"{which}_shape"] for i in rows]
            for shape in SHAPES:
                mine = [k for k, kind in enumerate(kinds) if kind == shape]
                if mine:
                    out[mine] = shape_distance(shape, u[mine], v[mine])
            return out * radius

        cast = 0.34 * radius
        shadow = distance(*local(-toward[:, 0] * cast, -toward[:, 1] * cast))
        depth = 0.55 * (0.5 - shadow / 0.10).clamp(0, 1)
        image[index] = image[index] * (1 - depth[:, None])

        u, v = local(0.0, 0.0)
        covered = (0.5 - distance(u, v) / pixel).clamp(0, 1)[:, None]
        paint = torch.tensor([COLOR_VALUES[scenes[i].attributes[f"{which}_color"]] for i in rows])
        paint = (paint * (0.94 + 0.12 * h[index, 18 + j, None]))[:, :, None, None].expand(-1, -1, size, size)
        texture = torch.tensor(
            [("matte", "shiny", "striped").index(scenes[i].attributes[f"{which}_texture"]) for i in rows]
        )[:, None, None]
        bands = (torch.sin(v * 2 * math.pi / 0.55 + 6.3 * h[index, 20 + j, None, None]) * 3).clamp(-1, 1) * 0.5 + 0.5
        paint = torch.where((texture == 2)[:, None], paint * (1 - 0.62 * bands[:, None]), paint)
        facing = u * toward[:, 0] + v * toward[:, 1]
        shade = torch.where(texture == 1, 0.92 + 0.34 * facing, 0.90 + 0.26 * facing)
        paint = paint * shade[:, None]
        spot = torch.exp(-((u - 0.42 * toward[:, 0]) ** 2 + (v - 0.42 * toward[:, 1]) ** 2) / 0.075)
        gloss = torch.where(texture == 1, spot, torch.zeros_like(spot))[:, None]
        rim = torch.where(texture == 1, torch.exp(-((facing + 0.75) ** 2) / 0.02) * 0.25, torch.zeros_like(spot))
        paint = paint + (1.0 - paint) * 0.9 * gloss + rim[:, None] * (1 - paint)
        image[index] = image[index] * (1 - covered) + paint * covered
    return image.clamp(0, 1)


def spoil(image: Tensor, flaw: str, strength: float, seed: int) -> Tensor:
    """A picture (3, side, side) with one of the flaws; strength 0 to 1."""
    size = image.shape[-1]
    if flaw == "blurry":
        sigma = (0.028 + 0.02 * strength) * size
        reach = int(3 * sigma) + 1
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        taps = (taps / taps.sum()).expand(3, 1, 1, -1)
        padded = F.pad(image[None], (reach,) * 4, mode="reflect")
        return F.conv2d(F.conv2d(padded, taps, groups=3), taps.transpose(2, 3), groups=3)[0]
    if flaw == "noisy":
        noise = torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed))
        return (image + (0.16 + 0.10 * strength) * noise).clamp(0, 1)
    if flaw == "faded":
        return image + (0.62 + 0.16 * strength) * (torch.tensor([0.80, 0.79, 0.76])[:, None, None] - image)
    if flaw == "blocky":
        cells = size // 8
        return F.interpolate(F.adaptive_avg_pool2d(image[None], cells), size=(size, size), mode="nearest")[0]
    return image  # clean; crooked is drawn so


def render(scenes: Sequence[Scene], size: int = 64) -> Tensor:
    """Pictures of the scenes: (scenes, 3, size, size) float in [0, 1]. A scene always gives the same picture.

    Args:
        size: side in pixels, a multiple of 8.
    """
    hidden = torch.from_numpy(_hidden(scenes)).float()
    images = _clean(scenes, size, hidden)
    for i, scene in enumerate(scenes):
        if scene.flaw != "clean":
            images[i] = spoil(images[i], scene.flaw, float(hidden[i, 22]), scene.seed)
    return images


assert set(COLOR_VALUES) == set(COLORS) and set(GROUND_VALUES) == set(GROUNDS)
