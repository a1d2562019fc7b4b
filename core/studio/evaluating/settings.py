"""What an evaluation compares: one setting of guidance, and the columns it is compared with. No torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import StudioError
from core.generation.axes import parse_axis
from core.generation.settings import COLUMN, Settings
from core.method.guidance import GuidanceWeights
from core.studio.library.choose import BUNDLED

NPO = "NPO"
RANDOM_SEED = 17
"""Of the random offset that the control is drawn with."""
OWN = ("negative", "positive", "steps", "scheduler", "negative_prompt")
"""What a column may set for itself besides its guidance."""
CELLS = 64
"""Cells of a sweep at most."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """An evaluation as a person sets it up; two with the same settings give the same figures on one machine.

    Args:
        base, positive, negative: names in the library; the offsets may be empty.
        omega, alpha, beta, beta_split, beta_late: the setting that is evaluated.
        further: other settings of its guidance, by the names that Compare has for a column.
        columns: further columns, each an object with a name and what differs from the setting that is evaluated: settings of
            guidance, offsets, steps, scheduler, negative_prompt.
        sweep_x, sweep_y: a sweep over one or two settings, written "beta=0,0.5,1" or "omega=1:4:0.5"; 64 cells at most.
        choosing: share of the prompts, spread evenly, on which the best CFG and the best cell are chosen; every figure that is
            reported is of the others. 0 chooses on the pairs that are reported, which favours what was chosen.
        prompts: a file or folder of prompts; empty for those that come with a bundled miniature.
        first, count: how many prompts of it are skipped and how many are used, 1 to 1,000,000.
        seeds: images of each prompt and column, 1 to 64.
        seed: of the first image; every image has its own.
        reference: a folder of pictures that the distribution is measured to; empty for the judge's clean renderings
            alone, which have a Fréchet distance and nothing else, or none.
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
    further: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[Mapping[str, Any], ...] = ()
    sweep_x: str = ""
    sweep_y: str = ""
    choosing: float = 0.25
    prompts: str = ""
    first: int = 0
    count: int = 40
    seeds: int = 1
    seed: int = 1_000_000
    reference: str = ""
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
        if not 0 <= self.choosing <= 0.9:
            raise StudioError(
                "choosing is {value:g}, outside 0 to 0.9.", "Choose a share of the prompts.", value=self.choosing
            )
        columns_of(self)  # checks the ranges of every column

    @property
    def weights(self) -> GuidanceWeights:
        """The setting that is evaluated."""
        return self.with_changes({}).weights

    def with_changes(self, changes: Mapping[str, Any]) -> Settings:
        """The setting that is evaluated with some of Compare's settings changed, as Compare has it.

        Raises:
            StudioError: an unknown name, or a value outside its range.
        """
        own = {name: getattr(self, name) for name in (*_GUIDANCE, *OWN)}
        return Settings.from_values({**own, **self.further, **changes, "base": self.base, "images": 1})

    def chooses(self, prompt: int) -> bool:
        """Whether a prompt, counted from 0, serves to choose; such prompts are spread evenly, so that a part of the work
        has its share of them."""
        return math.floor((prompt + 1) * self.choosing + 1e-9) > math.floor(prompt * self.choosing + 1e-9)

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
        known: dict[str, Any] = {
            about.name: {} if about.name == "further" else about.default for about in dataclasses.fields(cls)
        }
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


_GUIDANCE = ("omega", "alpha", "beta", "beta_split", "beta_late")
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
    if name in ("further", "columns"):
        return _objects(name, value)
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


def _objects(name: str, value: Any) -> Any:
    """`further` or `columns`, each key checked.

    Raises:
        StudioError: not an object or a list of them, or a key that a column cannot have; the nearest is named.
    """
    if name == "columns":
        if not isinstance(value, list | tuple):
            raise StudioError(
                "“{value}” is not a valid {name}.", "Correct the value.", value=str(value)[:60], name=name
            )
        return tuple(_objects("column", one) for one in value)
    known = COLUMN if name == "further" else ("name", *COLUMN, *OWN)
    if not isinstance(value, Mapping):
        raise StudioError("“{value}” is not a valid {name}.", "Correct the value.", value=str(value)[:60], name=name)
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise StudioError(
                "A column has no setting “{name}”.",
                "Did you mean {near}?" if near else "Choose one of {known}.",
                name=str(key)[:60],
                near=near[0] if near else "",
                known=", ".join(known),
            )
    return dict(value)


@dataclass(frozen=True)
class Column:
    """One setting that every prompt is rendered under.

    Args:
        name: as tables and file names have it.
        role: "npo", "random", "reversed", "column", "cell" (of the sweep), "cfg" or "effective".
        offset: which negative offset is in it: "own", "random", or "" for none.
        own: what it sets for itself besides its guidance; see `OWN`.
    """

    name: str
    role: str
    weights: GuidanceWeights
    offset: str = ""
    own: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str, settings: EvaluationSettings) -> Any:
        """A setting of `OWN` as this column has it."""
        return self.own.get(name, getattr(settings, name))


def cfg_name(omega: float) -> str:
    """The name of a plain column."""
    return f"CFG ω {omega:g}"


def _changed(settings: EvaluationSettings, name: str, role: str, changes: Mapping[str, Any]) -> Column:
    """A column that differs in these settings from the one that is evaluated."""
    asked = settings.with_changes(changes)
    own = {key: getattr(asked, key) for key in OWN if key in changes}
    offset = "own" if asked.negative and not asked.weights.is_plain else ""
    return Column(name, role, asked.weights, offset, own)


def sweep_of(settings: EvaluationSettings) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """The axes of the sweep, (setting, values) each: none, one, or x and y.

    Raises:
        StudioError: a setting that a column cannot have, values that it cannot have, or too many cells.
    """
    texts = [text.partition("=") for text in (settings.sweep_x, settings.sweep_y) if text]
    axes = tuple(parse_axis(name.strip(), values) for name, _, values in texts)
    for name, _ in axes:
        if name not in (*COLUMN, *OWN):
            raise StudioError(
                "“{name}” cannot be swept.", "Choose one of {known}.", name=name[:40], known=", ".join((*COLUMN, *OWN))
            )
    if len(axes) == 2 and axes[0][0] == axes[1][0]:
        raise StudioError("Both axes of the sweep change the same setting.", "Choose another for one of them.")
    if (cells := math.prod(len(values) for _, values in axes)) > CELLS:
        raise StudioError(
            "The sweep has {cells} cells, more than {most}.", "Choose fewer values.", cells=cells, most=CELLS
        )
    return axes


def cells_of(settings: EvaluationSettings) -> dict[tuple[int, int], Column]:
    """The cells of the sweep by their place (x, y). One that is plain CFG in every respect is that column.

    Raises:
        StudioError: as `sweep_of`, or a value outside its range.
    """
    axes = sweep_of(settings)
    if not axes:
        return {}
    (x_name, x_values), (y_name, y_values) = axes if len(axes) == 2 else (axes[0], ("", (None,)))
    cells = {}
    for i, x in enumerate(x_values):
        for j, y in enumerate(y_values):
            changes = {x_name: x, **({y_name: y} if y_name else {})}
            column = _changed(settings, ", ".join(f"{k} {_shown(v)}" for k, v in changes.items()), "cell", changes)
            if column.weights == GuidanceWeights(omega=column.weights.omega) and not column.own:
                column = Column(cfg_name(column.weights.omega), "cfg", column.weights)
            elif column.weights == settings.weights and not column.own:
                column = Column(NPO, "npo", settings.weights, "own" if settings.negative else "")
            cells[i, j] = column
    return cells


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"


def columns_of(settings: EvaluationSettings, effective_omega: float | None = None) -> tuple[Column, ...]:
    """The columns in the order of the tables: the setting, its controls, further columns, the sweep, plain CFG by ω.

    Args:
        effective_omega: measured; None before it was, or where nothing could be.

    Raises:
        StudioError: a column's value outside its range, or two columns of one name.
    """
    weights = settings.weights
    columns = [Column(NPO, "npo", weights, "own" if settings.negative else "")]
    if settings.controls and settings.negative and weights.beta:
        columns.append(Column("random offset", "random", weights, "random"))
        columns.append(Column("β reversed", "reversed", dataclasses.replace(weights, beta=-weights.beta), "own"))
    for number, changes in enumerate(settings.columns, 1):
        rest = {key: value for key, value in changes.items() if key != "name"}
        columns.append(_changed(settings, str(changes.get("name") or f"column {number}")[:60], "column", rest))
    cells = cells_of(settings)
    columns += [column for column in cells.values() if column.role == "cell"]
    omegas = {*settings.cfg, settings.omega, *(c.weights.omega for c in cells.values() if c.role == "cfg")}
    for omega in sorted(omegas):
        columns.append(Column(cfg_name(omega), "cfg", GuidanceWeights(omega=omega)))
    if settings.effective and effective_omega is not None:
        omega = round(min(30.0, max(0.0, effective_omega)), 2)
        if cfg_name(omega) not in [column.name for column in columns]:
            columns.append(Column(cfg_name(omega), "effective", GuidanceWeights(omega=omega)))
    names = [column.name for column in columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StudioError("Two columns are called “{name}”.", "Give each its own name.", name=twice)
    return tuple(columns)


def offsets_of(settings: EvaluationSettings) -> tuple[str, ...]:
    """The names of all offsets that its columns take."""
    columns = columns_of(settings)
    names = {str(column.value(key, settings)) for column in columns for key in ("positive", "negative")}
    return tuple(sorted(names))


def row_forwards(settings: EvaluationSettings) -> int:
    """Its cost, the measuring included; CFG at the effective scale is counted whether it turns out to be new or not."""
    each = sum(column.weights.row_forwards(column.value("steps", settings)) for column in columns_of(settings))
    each += 2 * settings.steps if settings.effective and not settings.weights.is_plain else 0
    return settings.count * settings.seeds * each + 3 * settings.steps * min(settings.probe, settings.count)
