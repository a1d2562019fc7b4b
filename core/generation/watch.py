"""Who looks on while something renders: its steps, its finished images, its notes, and whether it is to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import nn

from core.errors import StudioError
from core.families.compiling import inside_compiled
from core.method.guidance import GuidanceWeights

OFTEN = 0.1
"""Seconds between two questions whether the rendering is cancelled."""


class Cancelled(StudioError):
    """The rendering was stopped; nothing is wrong."""

    def __init__(self) -> None:
        super().__init__("Stopped.")


@dataclass(frozen=True)
class RenderedImage:
    """One finished image, or video of several frames; `column` counts in the comparison's columns."""

    column: int
    seed: int
    weights: GuidanceWeights
    frames: tuple[Image.Image, ...]

    @property
    def image(self) -> Image.Image:
        """The image; of a video its middle frame."""
        return self.frames[len(self.frames) // 2]


@dataclass(frozen=True)
class StepPreview:
    """A step is done. `images` are rough pictures in the order column by column, seed by seed, of the current batch;
    `columns` and `seeds` are those in it. `step` counts over all batches."""

    step: int
    steps: int
    columns: tuple[int, ...]
    seeds: tuple[int, ...]
    images: tuple[Image.Image, ...]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who looks on while it renders.

    Args:
        step: called after every step with rough pictures; None draws none.
        image: called with each image as its batch is finished.
        note: called with a sentence where something was done otherwise than asked.
        cancelled: asked after every step, and within a step before the next layer; true ends the rendering there.
    """

    step: Callable[[StepPreview], None] | None = None
    image: Callable[[RenderedImage], None] = lambda image: None
    note: Callable[[str], None] = lambda note: None
    cancelled: Callable[[], bool] = lambda: False

    @contextmanager
    def over(self, *networks: nn.Module) -> Iterator[None]:
        """Within it, layers of these networks ask whether the rendering is cancelled, at most every `OFTEN` seconds: one
        step of a large model may take minutes. Layers within compiled blocks do not: the question would be part of the graph."""

        asked = time.monotonic()

        def ask(module: nn.Module, inputs: Any) -> None:
            nonlocal asked
            if time.monotonic() - asked < OFTEN:
                return
            asked = time.monotonic()
            if self.cancelled():
                raise Cancelled

        layers = [
            layer
            for net in networks
            for layer in set(net.modules()) - inside_compiled(net)
            if next(layer.parameters(recurse=False), None) is not None
        ]
        handles = [layer.register_forward_pre_hook(ask) for layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
