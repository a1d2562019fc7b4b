"""Previews of a run: the same prompts and seeds without and with the growing offset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from core.events import PreviewDue, PreviewSaved, TrainEvent
from core.files import whole_file
from core.offsets.offset import Offset
from core.training.clock import Clock, is_due
from core.training.student import Student
from core.training.trainer import Trainer

FOLDER = "previews"
Preview = Callable[[Offset, str], list[Image.Image] | None]
"""(offset so far, "plain", "guided" or "last") -> pictures at the run's preview prompts and seeds, on the pristine base; None
when it was asked to stop meanwhile. "last" is guided, after a stop: only a pause cuts it short."""


@dataclass
class Shows:
    """Draws the previews of a run and reports them: the base's at the beginning, with the offset later.

    Args:
        preview: draws them; None draws none.
    """

    folder: Path
    trainer: Trainer
    preview: Preview | None
    clock: Clock
    shown_at: int = -1

    def base(self) -> Iterator[TrainEvent]:
        """Before the first step: the offset does nothing yet, both kinds are the base's."""
        if self.preview is None or not self.trainer.config.preview_every or self.trainer.steps_done:
            return
        yield PreviewDue(**self.clock.at(0))
        if pictures := draw_base(self.folder, self.trainer.student, self.preview):
            yield PreviewSaved(**self.clock.at(0), plain=pictures, guided=pictures)

    def when_due(self) -> Iterator[TrainEvent]:
        """Each `preview_every` steps, and after the last."""
        config = self.trainer.config
        if is_due(self.trainer.steps_done, config.preview_every, config.steps):
            yield from self.now()

    def now(self, kind: str = "guided") -> Iterator[TrainEvent]:
        """After this step, where it is not shown already."""
        step = self.trainer.steps_done
        if self.preview is None or not self.trainer.config.preview_every or self.shown_at == step:
            return
        yield PreviewDue(**self.clock.at(step))
        if pictures := draw_previews(self.folder, step, self.trainer.student, self.preview, kind):
            self.shown_at = step
            yield PreviewSaved(**self.clock.at(step), plain=pictures[0], guided=pictures[1])


def draw_base(folder: Path, student: Student, preview: Preview) -> tuple[str, ...] | None:
    """The base's pictures, drawn once and kept: names inside the run folder; None when asked to stop meanwhile.

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

    None when the preview was asked to stop meanwhile; then nothing of the unfinished kind is kept.

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
        with whole_file(folder / name) as staged:
            picture.save(staged, format="PNG")
    return names
