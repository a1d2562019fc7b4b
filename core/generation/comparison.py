"""A comparison: what to render, and what of it a picture keeps. No torch here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Sentence, StudioError
from core.generation import limits
from core.generation.settings import FIELDS, OF_THE_FORM, Rendering, Setting, Settings, column_values
from core.method.guidance import GuidanceWeights

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Comparison(Rendering):
    """What to render: every column of every seed.

    Args:
        seeds: one image of each column for each seed, 0 to 2**63 - 1.
        columns: guidance settings, at least one.
        image: a picture to begin from, or with `control` to follow.
        mask: white is redrawn, black is kept; None redraws everything.
        notes: what was done otherwise than asked when it was made; said before it is rendered.

    Raises:
        StudioError: a value outside its range, or more than the limits allow.
    """

    seeds: tuple[int, ...] = (0,)
    columns: tuple[GuidanceWeights, ...] = (GuidanceWeights(omega=2.0),)
    image: Image.Image | None = None
    mask: Image.Image | None = None
    notes: tuple[Sentence, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds or not self.columns:
            raise StudioError("There is nothing to render.", "Choose at least one seed and one column.")
        if self.count > limits.IMAGES:
            raise StudioError(
                "This renders {count} images; at most {most} can be rendered at once.",
                "Choose fewer seeds or columns.",
                count=self.count,
                most=limits.IMAGES,
            )
        seeds = tuple(int(limits.check_number("seed", seed, *limits.SEED, whole=True)) for seed in self.seeds)
        object.__setattr__(self, "seeds", seeds)
        limits.check_size(self.height, self.width, self.frames, self.count)

    @classmethod
    def of(cls, settings: Settings, **changes: Any) -> Comparison:
        """Without and with NPO at the same omega, in this order, for each seed; `changes` to other fields."""
        shared = {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(Rendering)}
        seeds = tuple(range(settings.seed, settings.seed + settings.images))
        columns = (settings.weights.plain(), settings.weights)
        return cls(**{**shared, "columns": columns, "seeds": seeds, **changes})

    @property
    def count(self) -> int:
        """Images: seeds times columns."""
        return len(self.seeds) * len(self.columns)

    @property
    def row_forwards(self) -> int:
        """Its cost: the rows of each column's form, step by step; image-to-image leaves out the steps before its start."""
        steps = int(self.steps * self.strength) if self.image is not None and not self.control else self.steps
        return len(self.seeds) * sum(column.row_forwards(self.steps, made=steps) for column in self.columns)

    @property
    def rows(self) -> int:
        """Rows of its largest forward, if memory allows: the columns of one omega go together."""
        by_omega: dict[float, int] = {}
        for column in self.columns:
            by_omega[column.omega] = by_omega.get(column.omega, 0) + column.most_rows
        return len(self.seeds) * max(by_omega.values())

    @property
    def least_rows(self) -> int:
        """Rows of its largest forward where memory is short: one image of its most costly column."""
        return max(column.most_rows for column in self.columns)

    def applies(self, about: Setting, *, video: bool) -> bool:
        """Whether a setting takes part in this comparison."""
        if about.only == "video":
            return video
        if about.only:
            return self.image is not None and (about.only == "control") == bool(self.control)
        return True

    def facts(self, column: int, seed: int, *, video: bool) -> dict[str, Any]:
        """What a picture of it says of the settings that made it; of a path its last part alone."""
        own = {**column_values(self.columns[column]), "seed": seed}
        taken = [name for name, about in FIELDS.items() if name not in OF_THE_FORM and self.applies(about, video=video)]
        facts = {name: own[name] if name in own else getattr(self, name) for name in taken}
        return {name: Path(value).name if FIELDS[name].is_file else value for name, value in facts.items()}
