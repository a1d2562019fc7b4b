"""The moving part of the miniature's world: one shape that moves, grows, shrinks or changes its colour, or two that
collide. Nine frames of 48 px; captions, the way back from a caption to what it asks for, and the renderer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import StudioError
from core.miniature.language import Asked
from core.miniature.world.render import COLOR_VALUES, GROUND_VALUES, shape_distance, spoil
from core.miniature.world.scene import COLORS, GROUNDS

FRAMES, SIDE = 9, 48
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
MOTIONS = (
    "moving left",
    "moving right",
    "moving up",
    "moving down",
    "growing",
    "shrinking",
    "turning",
    "colliding",
)
FLAWS = ("clean", "blurry", "noisy", "faded")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "color": COLORS,
    "second_shape": SHAPES,
    "second_color": COLORS,
    "motion": MOTIONS,
    "ground": GROUNDS,
}
"""Every attribute of a video. `second_color` is what a turning shape turns to, or the colour of the second shape."""


@dataclass(frozen=True)
class VideoScene:
    """What a video shows; `seed` fixes everything the caption does not say."""

    attributes: Asked
    flaw: str = "clean"
    seed: int = 0


def sample_video(rng: np.random.Generator, *, spoilt: float = 0.0) -> VideoScene:
    """A random video; `spoilt` is the share with a flaw, 0 to 1."""

    def pick(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    attributes = {"shape": pick(SHAPES), "color": pick(COLORS), "motion": pick(MOTIONS), "ground": pick(GROUNDS)}
    if attributes["motion"] in ("turning", "colliding"):
        attributes["second_color"] = pick(tuple(c for c in COLORS if c != attributes["color"]))
    if attributes["motion"] == "colliding":
        attributes["second_shape"] = pick(SHAPES)
    flaw = pick(FLAWS[1:]) if rng.random() < spoilt else "clean"
    return VideoScene(attributes, flaw, int(rng.integers(2**31)))


def describe(asked: Asked) -> str:
    """The caption that asks for these attributes. `parse(describe(asked)) == asked`."""

    def article(word: str) -> str:
        return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"

    text = f"{article(asked['color'])} {asked['shape']}"
    if asked["motion"] == "colliding":
        text += f" and {article(asked['second_color'])} {asked['second_shape']} colliding"
    elif asked["motion"] == "turning":
        text += f" turning {asked['second_color']}"
    else:
        text += f" {asked['motion']}"
    return f"{text}, {asked['ground']} background"


_COLOR, _SHAPE = "|".join(COLORS), "|".join(SHAPES)
_CAPTION = re.compile(
    rf"an? (?P<color>{_COLOR}) (?P<shape>{_SHAPE})"
    rf"(?: and an? (?P<second>{_COLOR}) (?P<second_shape>{_SHAPE}) (?P<both>colliding)"
    rf"| turning (?P<turned>{_COLOR})| (?P<motion>{'|'.join(MOTIONS[:6])})), (?P<ground>{'|'.join(GROUNDS)}) background"
)


def parse(text: str) -> Asked:
    """What a caption asks for.

    Raises:
        StudioError: the caption is not of this world's grammar.
    """
    match = _CAPTION.fullmatch(text.strip().lower().rstrip("."))
    if match is None:
        raise StudioError(
            "“{text}” is not a sentence of the moving miniature's world.",
            "Write for example: a red circle moving right, gray background",
            text=text[:80],
        )
    groups = match.groupdict()
    motion = "colliding" if groups["both"] else "turning" if groups["turned"] else groups["motion"]
    asked = {"shape": groups["shape"], "color": groups["color"], "motion": motion, "ground": groups["ground"]}
    if second := groups["second"] or groups["turned"]:
        asked["second_color"] = second
    if groups["second_shape"]:
        asked["second_shape"] = groups["second_shape"]
    return asked


def vocabulary() -> list[str]:
    """Every word a caption may hold, sorted."""
    words = {"a", "an", "and", "background", ","} | {word for motion in MOTIONS for word in motion.split()}
    for values in (SHAPES, COLORS, GROUNDS):
        words |= set(values)
    return sorted(words)


def sample_prompts(count: int, seed: int) -> list[str]:
    """`count` captions of random videos. The same seed gives the same list."""
    rng = np.random.default_rng(seed)
    return [describe(sample_video(rng).attributes) for _ in range(count)]


def _paths(scenes: Sequence[VideoScene], h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres (batch, frames, 2 shapes, 2), radii (batch, frames, 2), colours (batch, frames, 2, 3), presence (batch, 2)."""
    time = torch.linspace(0, 1, FRAMES)
    count = len(scenes)
    centres, present = torch.zeros(count, FRAMES, 2, 2), torch.zeros(count, 2)
    radii, paint = torch.full((count, FRAMES, 2), 0.39), torch.zeros(count, FRAMES, 2, 3)
    for i, scene in enumerate(scenes):
        a, motion = scene.attributes, scene.attributes["motion"]
        present[i, 0] = 1
        radii[i] *= 0.88 + 0.24 * float(h[i, 0])
        centres[i, :, 0] = (h[i, 1:3] - 0.5) * 0.5
        color = torch.tensor(COLOR_VALUES[a["color"]])
        paint[i, :, 0] = color
        if motion.startswith("moving"):
            direction = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[motion.split()[1]]
            along = torch.tensor(direction, dtype=torch.float32)
            reach = 0.42 + 0.12 * float(h[i, 3])
            across = centres[i, 0, 0] * (1 - along.abs())
            centres[i, :, 0] = across + along * ((2 * time - 1) * reach)[:, None]
        elif motion in ("growing", "shrinking"):
            small, large = 0.14 + 0.05 * float(h[i, 3]), 0.54 + 0.08 * float(h[i, 4])
            ramp = time if motion == "growing" else 1 - time
            radii[i, :, 0] = small + (large - small) * ramp
        elif motion == "turning":
            other = torch.tensor(COLOR_VALUES[a["second_color"]])
            share = ((time - 0.2) / 0.6).clamp(0, 1)[:, None]
            paint[i, :, 0] = color * (1 - share) + other * share
        else:  # the two meet in the middle at half time and go back
            present[i, 1] = 1
            paint[i, :, 1] = torch.tensor(COLOR_VALUES[a["second_color"]])
            radii[i] *= 0.82
            apart = radii[i, 0, 0] + (2 * time - 1).abs() * 0.32
            height = (float(h[i, 5]) - 0.5) * 0.5
            centres[i, :, 0] = torch.stack([-apart, torch.full_like(apart, height)], -1)
            centres[i, :, 1] = torch.stack([apart, torch.full_like(apart, height)], -1)
    return centres, radii, paint, present


def render_video(scenes: Sequence[VideoScene]) -> Tensor:
    """Videos of the scenes: (scenes, frames, 3, side, side) float in [0, 1]. A scene always gives the same video."""
    h = torch.stack([torch.from_numpy(np.random.default_rng(scene.seed).random(16)) for scene in scenes]).float()
    grid = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    ground = torch.tensor([GROUND_VALUES[s.attributes["ground"]] for s in scenes]) * (0.93 + 0.14 * h[:, 6:7])
    lit = 1.0 + 0.10 * x - 0.06 * y
    videos = (ground[:, None, :, None, None] * lit).expand(-1, FRAMES, -1, -1, -1).clone()
    centres, radii, paint, present = _paths(scenes, h)
    tilt = (h[:, 7:9] - 0.5) * 0.35
    for j, name in enumerate(("shape", "second_shape")):
        for shape in SHAPES:
            rows = [i for i, s in enumerate(scenes) if present[i, j] > 0 and s.attributes.get(name) == shape]
            if not rows:
                continue
            index = torch.tensor(rows)
            radius = radii[index, :, j, None, None]
            cos, sin = torch.cos(tilt[index, j])[:, None, None, None], torch.sin(tilt[index, j])[:, None, None, None]

            def local(shift: float) -> tuple[Tensor, Tensor]:
                dx = (x - centres[index, :, j, 0, None, None] - shift * radius) / radius
                dy = (y - centres[index, :, j, 1, None, None] - shift * radius) / radius
                return dx * cos + dy * sin, dy * cos - dx * sin

            depth = 0.5 * (0.5 - shape_distance(shape, *local(0.3)) * radius / 0.10).clamp(0, 1)
            picture = videos[index] * (1 - depth[:, :, None])
            u, v = local(0.0)
            covered = (0.5 - shape_distance(shape, u, v) * radius * SIDE / 2).clamp(0, 1)[:, :, None]
            shade = (0.94 - 0.22 * (u + v))[:, :, None]
            spot = torch.exp(-((u + 0.35) ** 2 + (v + 0.35) ** 2) / 0.09)[:, :, None] * 0.8
            body = paint[index, :, j, :, None, None] * shade
            videos[index] = picture * (1 - covered) + (body + (1 - body) * spot) * covered
    videos = videos.clamp(0, 1)
    for i, scene in enumerate(scenes):
        if scene.flaw != "clean":
            frames = [spoil(frame, scene.flaw, float(h[i, 9]), scene.seed + n) for n, frame in enumerate(videos[i])]
            videos[i] = torch.stack(frames)
    return videos
