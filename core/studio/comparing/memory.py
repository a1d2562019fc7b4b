"""How renderings are made to fit a card: from the computed table of `assets.build.memory`. No torch at import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.studio.memory import RESERVE, architecture, table


@dataclass(frozen=True)
class RenderingNeeds:
    """Bytes that rendering with a true architecture takes at one size, computed in half precision.

    Args:
        fixed: the weights of all parts; `largest`: of the largest, where parts take turns on the card.
        row: of each row of a forward.
        picture: decoding one picture or video; `tiled`: the same in tiles.
    """

    fixed: int
    largest: int
    row: int
    picture: int
    tiled: int

    def rows_within(self, room: int, most: int) -> int:
        """The rows of a forward that fit in `room` bytes: an even number from 2 to `most`."""
        return max(2, min(most, (room - int(RESERVE)) // self.row // 2 * 2))

    def in_tiles(self, room: int) -> bool:
        """Whether a picture must be decoded in tiles to fit in `room` bytes."""
        return self.picture + RESERVE > room

    def total(self, rows: int, *, in_turns: bool, in_tiles: bool) -> int:
        """The peak of a rendering."""
        weights = self.largest if in_turns else self.fixed
        return weights + max(rows * self.row, self.tiled if in_tiles else self.picture)


def rendering(base: Path, height: int | None, width: int | None, frames: int | None) -> RenderingNeeds | None:
    """What rendering takes at a size in pixels, None for the model's own; None where the architecture is not in the table.

    Activations grow in proportion to the latent's positions: attention is computed without its matrix.
    """
    computed = {row["model"]: row for row in table()["rendering"]}.get(architecture(base))
    if computed is None:
        return None
    own_frames, own_height, own_width = computed["latent"]
    asked = (frames and (frames - 1) // 4 + 1, height and height // 8, width and width // 8)
    share = 1.0
    for positions, own in zip(asked, (own_frames, own_height, own_width), strict=True):
        share *= (positions or own) / own
    sized = {part: int(computed[part] * share) for part in ("row", "picture", "tiled")}
    return RenderingNeeds(fixed=computed["fixed"], largest=computed["largest"], **sized)


def card_room() -> int:
    """Bytes of the card that are free or that torch keeps for itself."""
    import torch

    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
