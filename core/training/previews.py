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
"""(offset so far, "plain" or "guided") -> pictures at the run's preview prompts and seeds, on the pristine base; None
when it was asked to stop on the way."""


def draw_previews(
    folder: Path, step: int, student: Student, preview: Preview
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Draws and keeps the previews of a step: (plain, guided) as names inside the run folder.

    None when the preview was asked to stop on the way; then nothing of the unfinished kind is kept. The base's pictures
    do not change: they are drawn once.

    Cost: as `preview`; twice that the first time.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    low_rank = student.low_rank()
    # the pictures are whole when the first, which is kept last, is there
    plain_files = sorted(path.name for path in (folder / FOLDER).glob("plain-*.png"))
    plain: tuple[str, ...] | None = (
        tuple(f"{FOLDER}/{name}" for name in plain_files) if "plain-000.png" in plain_files else None
    )
    if plain is None:
        plain = _drawn(folder, "plain-", student, lambda: preview(low_rank, "plain"))
    if plain is None:
        return None
    guided = _drawn(folder, f"guided-{step:07d}-", student, lambda: preview(low_rank, "guided"))
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
