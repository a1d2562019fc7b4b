"""Every setting of a comparison, declared once: default, range, label, meaning, and where it appears elsewhere.

The form, the command line, the keys of a preset, the facts of a picture and the axes of a grid are derived from this
file. A new setting is one line: in `Rendering` where all pictures of a comparison share it, in `Settings` where each
column may have its own. No torch here: the page and the command line read this file.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import Sentence, StudioError
from core.generation import limits
from core.generation.forms import LATE_TITLES, TITLES
from core.method.guidance import (
    ALPHA_RANGE,
    BETA_RANGE,
    LATE_RANGE,
    MOMENTUM_RANGE,
    NORM_RANGE,
    OMEGA_RANGE,
    QUALITY_RANGE,
    SHARE,
    BetaSchedule,
    GuidanceWeights,
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is declared of one setting.

    Args:
        name, kind, default: as the field has them.
        label: what the form calls it; `symbol`: where there is little room.
        help: what it means, in a sentence, in the command line and the documents; `explained`: in the form, too.
        group: part of the form it is in: top, guidance, seeds, model, more, schedule, treatment, video or input.
        wide: it has a row of the form to itself.
        range: least and greatest value; `step`: of its slider, 0 for a box to type in.
        longest: characters of a text.
        lists: what a name is chosen from: base, offset, control or scheduler.
        options: the values that it may have, with what a list calls them; empty where any is valid.
        preset: its key in a preset, `part.key`; empty where presets do not hold it so.
        metadata: its name in the text that other programs read in a picture; empty for none.
        axis: a grid may vary it.
        only: "video", "picture" or "control": it applies to videos, to an input picture that is redrawn, or to one that
            a control network follows.
    """

    name: str = ""
    kind: type = str
    default: Any = None
    label: str
    help: str = ""
    symbol: str = ""
    group: str = "more"
    explained: bool = False
    wide: bool = False
    range: tuple[float, float] = (0, 0)
    step: float = 0
    longest: int = limits.NAME
    lists: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    preset: str = ""
    metadata: str = ""
    axis: bool = False
    only: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it names a file or folder."""
        return self.lists in ("base", "offset", "control")

    @property
    def span(self) -> str:
        """Its range in words, or its options; empty where it has none."""
        if self.options:
            return ", ".join(self.options)
        return f"{limits.shown(self.range[0])} to {limits.shown(self.range[1])}" if any(self.range) else ""

    def checked(self, value: Any) -> Any:
        """The value in its own type.

        Raises:
            StudioError: another type, or outside the range; the setting is named.
        """
        if self.kind is bool:
            return limits.check_switch(self.name, value)
        if self.options:
            return limits.check_choice(self.name, value, tuple(self.options))
        if self.kind is str:
            return limits.check_text(self.name, value, self.longest)
        return limits.check_number(self.name, value, *self.range, whole=self.kind is int)


def _setting(default: Any, label: str, help: str = "", **declared: Any) -> Any:
    about = Setting(label=label, help=help, **declared)
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What all pictures of a comparison share. Names are those of the library; an empty one is none, or the usual one.

    Raises:
        StudioError: a value of the wrong type or outside its range; the setting and the range are named.
    """

    prompt: str = _setting("", "Prompt", "What to draw.", group="top", wide=True, longest=limits.PROMPT, axis=True)
    negative_prompt: str = _setting(
        "", "Negative prompt", "What to steer away from, in words.", group="top", wide=True, longest=limits.PROMPT
    )
    base: str = _setting(
        "miniature-sd15",
        "Base model θ",
        "A name from the library, or a folder.",
        group="model",
        lists="base",
        wide=True,
    )
    negative: str = _setting(
        "", "Negative offset δ", "Trained to be worse; what guidance steers away from.", group="model",
        lists="offset", metadata="NPO negative", axis=True,
    )  # fmt: skip
    positive: str = _setting(
        "", "Positive offset η", "Trained to be better; part of both predictions.", group="model",
        lists="offset", metadata="NPO positive", axis=True,
    )  # fmt: skip
    steps: int = _setting(
        25, "Steps", "Sampling steps.", range=limits.STEPS, step=1, preset="sampler.steps", metadata="Steps", axis=True
    )
    scheduler: str = _setting(
        "", "Scheduler", "dpmsolver++, ddim, euler, unipc; CogVideoX: ddim, dpm. Empty is the model's usual one.",
        lists="scheduler", preset="sampler.scheduler", axis=True,
    )  # fmt: skip
    height: int = _setting(
        0, "Height (0: the model's own)", "Pixels; 0 is the model's own.", range=limits.SIDE, preset="sampler.height"
    )
    width: int = _setting(
        0, "Width (0: the model's own)", "Pixels; 0 is the model's own.", range=limits.SIDE, preset="sampler.width"
    )
    frames: int = _setting(
        0, "Frames (video; 0: its own)", "Frames of a video; 0 is the model's own number.", group="video",
        range=limits.FRAMES, preset="sampler.frames", metadata="Frames", only="video",
    )  # fmt: skip
    fps: int = _setting(
        0, "Frames per second", "Frames per second of a video; 0 is the model's own.", group="video",
        range=limits.FPS, preset="sampler.fps", metadata="FPS", only="video",
    )  # fmt: skip
    dynamic_guidance: bool = _setting(
        False, "Dynamic guidance (CogVideoX)", "CogVideoX: guidance increases during sampling.",
        group="video", wide=True, preset="guidance.dynamic", only="video",
    )  # fmt: skip
    strength: float = _setting(
        0.6, "Strength", "How much noise is added to the picture; 1 keeps nothing of it.", group="input", explained=True, wide=True,
        range=limits.STRENGTH, step=0.01, only="picture",
    )  # fmt: skip
    control: str = _setting(
        "", "Control network", "A ControlNet or T2I-Adapter: the picture then guides the result instead of being redrawn.",
        group="input", explained=True, lists="control", only="control",
    )  # fmt: skip
    control_scale: float = _setting(
        1.0, "Control scale", "How strongly the picture is followed.", group="input", range=limits.CONTROL_SCALE,
        step=0.05, only="control",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            if about := FIELDS.get(entry.name):
                object.__setattr__(self, entry.name, about.checked(getattr(self, entry.name)))


@dataclass(frozen=True, kw_only=True)
class Settings(Rendering):
    """A comparison as a person fills it in, flat: one setting of guidance, and a number of seeds from a first one on."""

    omega: float = _setting(
        2.0, "Strength ω", "How strongly the picture follows the prompt; 0 is not at all.", symbol="ω", group="guidance", explained=True, wide=True, range=OMEGA_RANGE, step=0.1,
        preset="guidance.omega", metadata="NPO omega", axis=True,
    )  # fmt: skip
    alpha: float = _setting(
        1.0, "Shared positive offset α", "How much of the positive offset the negative side shares.", symbol="α",
        group="guidance", explained=True, wide=True, range=ALPHA_RANGE, step=0.05, preset="guidance.alpha", metadata="NPO alpha", axis=True,
    )  # fmt: skip
    beta: float = _setting(
        1.0, "Steer away β", "How hard to steer away from bad pictures; 0 is plain CFG.", symbol="β", group="guidance",
        explained=True, wide=True, range=BETA_RANGE, step=0.05, preset="guidance.beta", metadata="NPO beta", axis=True,
    )  # fmt: skip
    hold_dose: bool = _setting(
        False, "Hold the dose", "β follows ω, so that ω·β stays: a stronger ω alone would make the offset stronger, too.", group="guidance",
        explained=True, wide=True, preset="guidance.hold_dose",
    )  # fmt: skip
    guidance: str = _setting(
        "npo", "Guidance", "Which predictions a step takes, and how they are put together.", group="guidance", wide=True,
        options=TITLES, preset="guidance.form", metadata="NPO guidance", axis=True,
    )  # fmt: skip
    quality: float = _setting(
        1.0, "Away from the worse model s", "How hard to steer away from what the worse model makes of the same prompt.", symbol="s",
        group="guidance", explained=True, wide=True, range=QUALITY_RANGE, step=0.1, preset="guidance.quality", metadata="NPO quality", axis=True,
    )  # fmt: skip
    beta_split: float = _setting(
        0.0, "Noise level down to which β acts", "β acts from pure noise, 1, down to this noise level; 0 is the finished picture. Composition is decided early.",
        group="schedule", explained=True, wide=True, range=(0.0, 1.0), step=0.05, preset="guidance.beta_split", metadata="NPO beta split", axis=True,
    )  # fmt: skip
    beta_late: float = _setting(
        1.0, "Factor on β below that level", "A factor on β below that noise level; 0 is plain CFG for the rest of the way.",
        group="schedule", explained=True, wide=True, range=BETA_RANGE, step=0.05, preset="guidance.beta_late", metadata="NPO beta late", axis=True,
    )  # fmt: skip
    late_guidance: str = _setting(
        "same", "Guidance in the late steps", "Another form once the composition is decided.", group="schedule", explained=True, wide=True,
        options=LATE_TITLES, preset="guidance.late_form", axis=True,
    )  # fmt: skip
    late_from: float = _setting(
        0.5, "Late steps begin at noise level", "1 is pure noise, 0 the finished picture.", group="schedule", explained=True, wide=True,
        range=SHARE, step=0.05, preset="guidance.late_from", axis=True,
    )  # fmt: skip
    late_strength: float = _setting(
        1.0, "Late factor on ω and s", "A factor on both strengths of the late form.", group="schedule", explained=True,
        wide=True, range=LATE_RANGE, step=0.05, preset="guidance.late_strength", axis=True,
    )  # fmt: skip
    interval_low: float = _setting(
        0.0, "Guidance down to noise level", "Below it there is none, and a step costs one row.", group="treatment", explained=True,
        range=SHARE, step=0.05, preset="guidance.interval_low", axis=True,
    )  # fmt: skip
    interval_high: float = _setting(
        1.0, "Guidance from noise level", "Above it there is none, and a step costs one row.", group="treatment", explained=True,
        range=SHARE, step=0.05, preset="guidance.interval_high", axis=True,
    )  # fmt: skip
    cfg_rescale: float = _setting(
        0.0, "CFG rescale", "How much of the contrast that strong guidance adds is taken back.", group="treatment", explained=True,
        range=SHARE, step=0.05, preset="guidance.rescale", axis=True,
    )  # fmt: skip
    apg_parallel: float = _setting(
        1.0, "APG: part along the picture", "Less of it saturates less; 1 is guidance as it is.", group="treatment", explained=True,
        range=SHARE, step=0.05, preset="guidance.apg_parallel", axis=True,
    )  # fmt: skip
    apg_norm: float = _setting(
        0.0, "APG: largest push (0: any)", "The norm of the difference is held below it.", group="treatment", explained=True,
        range=NORM_RANGE, preset="guidance.apg_norm", axis=True,
    )  # fmt: skip
    apg_momentum: float = _setting(
        0.0, "APG: momentum", "Of the push from step to step; its paper takes −0.5.", group="treatment", explained=True,
        range=MOMENTUM_RANGE, step=0.05, preset="guidance.apg_momentum", axis=True,
    )  # fmt: skip
    seed: int = _setting(
        0, "First seed", "Seed of the first pair; each further pair takes the next.", group="seeds",
        range=limits.SEED, metadata="Seed", axis=True,
    )  # fmt: skip
    images: int = _setting(2, "Pairs", "How many seeds.", group="seeds", range=limits.PAIRS, step=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        limits.check_number("seed + images", self.seed + self.images - 1, *limits.SEED, whole=True)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Settings:
        """The settings of some values; defaults for the others.

        Raises:
            StudioError: an unknown name (the nearest known one is named), or a wrong value.
        """
        for name in values:
            if name not in FIELDS:
                near = difflib.get_close_matches(str(name), FIELDS, n=1)
                raise StudioError(
                    "There is no setting “{name}”.",
                    "Did you mean {nearest}?" if near else "Remove it.",
                    name=f"{str(name).encode('ascii', 'replace').decode():.60}",
                    nearest=near[0] if near else "",
                )
        return cls(**values)

    def values(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def weights(self) -> GuidanceWeights:
        """The setting of guidance with the offsets."""
        return weights_of({name: getattr(self, name) for name in COLUMN})


def cut_texts(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Sentence, ...]]:
    """The values with prompts cut to the length that is read, and a sentence for each that was longer."""
    longer = {
        name: text
        for name, text in values.items()
        if name in FIELDS
        and FIELDS[name].longest == limits.PROMPT
        and isinstance(text, str)
        and len(text) > limits.PROMPT
    }
    sentence = "{name} is {length} characters long: only its first {longest} were used."
    notes = [
        Sentence(sentence, name=Sentence(FIELDS[name].label), length=len(text), longest=limits.PROMPT)
        for name, text in longer.items()
    ]
    return {**values, **{name: text[: limits.PROMPT] for name, text in longer.items()}}, tuple(notes)


def weights_of(values: Mapping[str, Any]) -> GuidanceWeights:
    """A column of its settings by their flat names; what is not among them is as `GuidanceWeights` has it."""
    own = {name: value for name, value in values.items() if name in GuidanceWeights.__dataclass_fields__}
    schedule = BetaSchedule(split=values.get("beta_split", 0.0), late=values.get("beta_late", 1.0))
    return GuidanceWeights(**own, beta_schedule=schedule)


def column_values(weights: GuidanceWeights) -> dict[str, Any]:
    """A column as the settings that made it."""
    schedule = {"beta_split": weights.beta_schedule.split, "beta_late": weights.beta_schedule.late}
    return {name: schedule[name] if name in schedule else getattr(weights, name) for name in COLUMN}


def _fields() -> dict[str, Setting]:
    kinds: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
    shared = {entry.name for entry in dataclasses.fields(Rendering)}
    return {
        entry.name: dataclasses.replace(
            entry.metadata["about"], name=entry.name, kind=kinds[str(entry.type)], default=entry.default
        )
        for entry in sorted(dataclasses.fields(Settings), key=lambda entry: entry.name in shared)
    }


FIELDS: dict[str, Setting] = _fields()
"""Every setting by its name: those of guidance, the seeds, then what all pictures of a comparison share."""

DEFAULTS: dict[str, Any] = {name: about.default for name, about in FIELDS.items()}
"""Every setting with its default. 0 and an empty scheduler are the model's own."""

OF_THE_FORM = ("images", "hold_dose")
"""Settings of how the others are filled in: a picture does not have them."""

_SHARED = {*Rendering.__dataclass_fields__, "seed", *OF_THE_FORM}
COLUMN = tuple(name for name in FIELDS if name not in _SHARED)
"""The settings that each column may set for itself."""

METADATA = {name: about.metadata for name, about in FIELDS.items() if about.metadata}
"""The settings that other programs read in a picture, by the names they have there."""


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a version without forms of guidance kept, with the guidance that it had: the papers' form and nothing on top.
    Values that do not say a whole setting of guidance stay as they are."""
    whole = {"omega", "alpha", "beta"} <= set(values) and "guidance" not in values
    return {**{name: DEFAULTS[name] for name in COLUMN}, **values} if whole else dict(values)
