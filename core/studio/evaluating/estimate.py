"""The cost of an evaluation before it starts: row-forwards, seconds, bytes. No torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from core.errors import StudioError
from core.studio.evaluating.events import ChunkDone, newest
from core.studio.evaluating.folder import Evaluation, check_room, counted, newest_first
from core.studio.evaluating.settings import EvaluationSettings, columns_of, row_forwards
from core.studio.workspace import Workspace


@dataclass(frozen=True)
class Estimate:
    """What an evaluation costs, before it starts.

    Args:
        row_forwards: of the denoiser, the measuring of guidance included.
        seconds: at the pace of the newest evaluation of this base and size on this machine, or at the pace that was handed
            in; None where neither is known.
        disk: bytes of the pictures and figures that are kept.
        prompts: how many there are.
        columns: how many settings each is rendered under.
        like: the id of the evaluation whose pace it is; empty where there is none.
    """

    row_forwards: int
    seconds: float | None
    disk: int
    prompts: int
    columns: int
    like: str


def estimate_of(workspace: Workspace, settings: EvaluationSettings, pace: float | None = None) -> Estimate:
    """The cost of an evaluation; nothing is made.

    Args:
        pace: seconds of one row-forward, for example of Compare's last rendering; used where no evaluation tells.

    Raises:
        StudioError: prompts that cannot be read (the line is named), or not enough room on the disk.
    """
    settings = counted(settings)
    disk = check_room(workspace, settings, (settings.height or 64) * (settings.width or 64))
    like = ""
    for evaluation in newest_first(workspace):
        with suppress(StudioError):
            before = evaluation.settings
            alike = all(getattr(before, key) == getattr(settings, key) for key in ("base", "height", "width", "frames"))
            if alike and (known := pace_of(evaluation)) is not None:
                pace, like = known, evaluation.id
                break
    cost = row_forwards(settings)
    return Estimate(
        cost, None if pace is None else cost * pace, disk, settings.count, len(columns_of(settings, -1.0)), like
    )


def pace_of(evaluation: Evaluation) -> float | None:
    """Seconds of one row-forward, scoring included, from its journal; None where it did no chunk yet.

    Raises:
        StudioError: its settings are damaged.
    """
    chunks = [event for event in newest(evaluation.folder) if isinstance(event, ChunkDone) and event.rendering]
    if not chunks:
        return None
    seconds = sum(event.rendering + event.scoring for event in chunks) / len(chunks)
    return seconds * evaluation.chunks / max(1, row_forwards(evaluation.settings))
