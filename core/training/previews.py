"""Previews of a run: the same prompts and seeds without and with the growing offset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from core.offsets.offset import Offset
from core.training.student import Student

FOLDER = "previews"
Preview = Callable[[Offset, str], list[Image.Image] | None]
"""(offset so far, "plain", "guided" or "last") -> pictures at the run's preview prompts and seeds, on the pristine base; None
when it was asked to stop on the way. "last" is guided, after a stop: only a pause cuts it short."""


def draw_base(folder: Path, student: Student, preview: Preview) -> tuple[str, ...] | None:
    """The base's pictures, drawn once and kept: names inside the run folder; None when asked to stop on the way.

    Cost: as `preview`, the first time.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    # the pictures are whole when the first, which is kept last, is there
    files = sorted(path.name for path in (folder / FOLDER).glob("plain-*.png"))
    if "plain-000.png" in files:
        return tuple(f"{FOLDER}/{name}" for name in files)
    return _drawn(folder, "plain-", student, lambda: preview(student.low_rank(), "plain"))


def draw_previews(
    folder: Path, step: int, student: Student, preview: Preview, kind: str = "guided"
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Draws and keeps the previews of a step: (plain, guided) as names inside the run folder.

    None when the preview was asked to stop on the way; then nothing of the unfinished kind is kept.

    Args:
        kind: "guided", or "last" after a stop.

    Cost: as `preview`; twice that where the base's are not there yet.
    """
    plain = draw_base(folder, student, preview)
    if plain is None:
        return None
    low_rank = student.low_rank()
    guided = _drawn(folder, f"guided-{step:07d}-", student, lambda: preview(low_rank, kind))
    return None if guided is None else (plain, guided)


def _drawn(
    folder: Path, prefix: str, student: Student, draw: Callable[[], list[Image.Image] | None]
) -> tuple[str, ...] | None:
    with student.pristine(), torch.no_grad():
        pictures = draw()
    if pictures is None:
        return None
    names = tuple(f"{FOLDER}/{prefix}{index:03d}.png" for index in range(len(pictures)))
    for name, picture in reversed(list(zip(names, pictures, strict=True))):
        picture.save(folder / f"{name}.tmp", format="PNG")
        os.replace(folder / f"{name}.tmp", folder / name)
    return names
