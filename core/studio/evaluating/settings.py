"""What an evaluation compares: one setting of guidance, and the columns it is held against. No torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import StudioError
from core.method.guidance import BetaSchedule, GuidanceWeights
from core.studio.library.choose import BUNDLED

NPO = "NPO"
RANDOM_SEED = 17
"""Of the random offset that the control is drawn with."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """An evaluation as a person sets it up; two with the same settings give the same figures on one machine.

    Args:
        base, positive, negative: names in the library; the offsets may be empty.
        omega, alpha, beta, beta_split, beta_late: the setting that is evaluated.
        prompts: a file or folder of prompts; empty for those that come with a bundled miniature.
        first, count: how many prompts of it are skipped and how many are used, 1 to 1,000,000.
        seeds: images of each prompt and column, 1 to 64.
        seed: of the first image; every image has its own.
        scorers: names; empty for those that fit the base.
        cfg: ω of the plain CFG columns; the setting's own ω is always among them.
        controls: render a random offset of the same norm and β with the other sign, too.
        effective: render CFG at the setting's effective scale, too.
        probe: prompts on which guidance is measured step by step before the rest, 0 to 64.
        batch: prompts rendered together, 1 to 64, and with `seeds` at most 64 images. Another value may change pixels in their
            last bit.
        keep: of how many of the first pairs the pictures are kept.
        steps, scheduler, height, width, frames, negative_prompt: as in a comparison; 0 and empty are the model's own.

    Raises:
        StudioError: a value outside its range.
    """

    base: str = BUNDLED
    positive: str = ""
    negative: str = ""
    omega: float = 2.0
    alpha: float = 1.0
    beta: float = 1.0
    beta_split: float = 0.0
    beta_late: float = 1.0
    prompts: str = ""
    first: int = 0
    count: int = 40
    seeds: int = 1
    seed: int = 1_000_000
    scorers: tuple[str, ...] = ()
    cfg: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 8.0)
    controls: bool = True
    effective: bool = True
    probe: int = 4
    batch: int = 8
    keep: int = 200
    steps: int = 25
    scheduler: str = ""
    height: int = 0
    width: int = 0
    frames: int = 0
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise StudioError(
                    "{name} is {value}, outside {low} to {high}.",
                    "Choose a whole number in this range.",
                    name=name,
                    value=repr(value)[:40],
                    low=low,
                    high=high,
                )
        if self.batch * self.seeds > 64:
            raise StudioError(
                "{batch} prompts with {seeds} images each are more than 64 at once.",
                "Choose a smaller batch.",
                batch=self.batch,
                seeds=self.seeds,
            )
        for omega in self.cfg:
            GuidanceWeights(omega=omega)
        self.weights  # noqa: B018 - checks its ranges

    @property
    def weights(self) -> GuidanceWeights:
        """The setting that is evaluated."""
        return GuidanceWeights(
            omega=self.omega,
            alpha=self.alpha,
            beta=self.beta,
            beta_schedule=BetaSchedule(split=self.beta_split, late=self.beta_late),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EvaluationSettings:
        """The settings of these values; the rest are defaults.

        Raises:
            StudioError: an unknown name (the nearest is named), a value of another kind or outside its range.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                raise StudioError(
                    "“{name}” is not a setting of an evaluation.",
                    "Did you mean {near}?" if near else "Remove it.",
                    name=str(name)[:60],
                    near=near[0] if near else "",
                )
            checked[name] = _as_kind(name, value, known[name])
        return cls(**checked)


_RANGES = (
    ("first", 0, 10**9),
    ("count", 1, 1_000_000),
    ("seeds", 1, 64),
    ("seed", 0, 2**62),
    ("probe", 0, 64),
    ("batch", 1, 64),
    ("keep", 0, 1_000_000),
    ("steps", 1, 200),
)


def _as_kind(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        parts = [part.strip() if isinstance(part, str) else part for part in parts if part != ""]
        return tuple(_as_kind(name, part, 0.0) for part in parts) if name == "cfg" else tuple(map(str, parts))
    if isinstance(default, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif type(value) is type(default):
        return value
    raise StudioError("“{value}” is not a valid {name}.", "Correct the value.", value=str(value)[:60], name=name)


@dataclass(frozen=True)
class Column:
    """One setting that every prompt is rendered under.

    Args:
        name: as tables and file names have it.
        role: "npo", "cfg", "effective", "random" or "reversed".
        offset: which negative offset is in it: "own", "random", or "" for none.
    """

    name: str
    role: str
    weights: GuidanceWeights
    offset: str = ""


def cfg_name(omega: float) -> str:
    """The name of a plain column."""
    return f"CFG ω {omega:g}"


def columns_of(settings: EvaluationSettings, effective_omega: float | None = None) -> tuple[Column, ...]:
    """The columns in the order of the tables: the setting, its controls, plain CFG by ω.

    Args:
        effective_omega: measured; None before it was, or where nothing could be.
    """
    weights = settings.weights
    columns = [Column(NPO, "npo", weights, "own" if settings.negative else "")]
    if settings.controls and settings.negative and weights.beta:
        columns.append(Column("random offset", "random", weights, "random"))
        columns.append(Column("β reversed", "reversed", dataclasses.replace(weights, beta=-weights.beta), "own"))
    for omega in sorted({*settings.cfg, settings.omega}):
        columns.append(Column(cfg_name(omega), "cfg", GuidanceWeights(omega=omega)))
    if settings.effective and effective_omega is not None:
        omega = round(min(30.0, max(0.0, effective_omega)), 2)
        if cfg_name(omega) not in [column.name for column in columns]:
            columns.append(Column(cfg_name(omega), "effective", GuidanceWeights(omega=omega)))
    return tuple(columns)


def row_forwards(settings: EvaluationSettings) -> int:
    """Its cost, the measuring included; CFG at the effective scale is counted whether it turns out to be new or not."""
    columns = columns_of(settings)
    each = sum(column.weights.row_forwards(settings.steps) for column in columns)
    each += 2 * settings.steps if settings.effective and not settings.weights.is_plain else 0
    measured = 3 * min(settings.probe, settings.count)
    return settings.count * settings.seeds * each + settings.steps * measured
