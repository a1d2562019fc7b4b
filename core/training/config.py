"""Every choice of a training as one flat, checked value. No torch.

The settings themselves are declared in `settings.py`, in groups, and the recipes in `recipes.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError, model_validator
from pydantic.dataclasses import dataclass

from core.errors import Sentence, StudioError
from core.training.recipes import RECIPES
from core.training.settings import (
    GROUPS,
    VALIDATION,
    KeepingSettings,
    LossSettings,
    MaterialSettings,
    MethodSettings,
    OptimiserSettings,
    PreviewSettings,
    RolloutSettings,
    RunSettings,
    StudentSettings,
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a form, a command line or a check needs to know of one setting.

    Args:
        kind: "int", "float", "bool", "str" or "texts".
        group: the class in `settings.py` that owns it.
        low, high: the range with both ends; None where there is none.
        one_of: the values that may be chosen; empty where any of its kind may.
    """

    name: str
    kind: str
    default: Any
    help: str
    group: str
    low: float | None = None
    high: float | None = None
    one_of: tuple[str, ...] = ()


def _described(group: type, name: str, field: Any) -> Setting:
    choices = tuple(typing.get_args(field.annotation)) if typing.get_origin(field.annotation) is typing.Literal else ()
    kind = "str" if choices else getattr(field.annotation, "__name__", "")
    bounds = {key: getattr(rule, key) for rule in field.metadata for key in ("ge", "le") if hasattr(rule, key)}
    return Setting(
        name=name,
        kind=kind if kind in ("int", "float", "bool", "str") else "texts",
        default=field.default,
        help=field.description,
        group=group.__name__,
        low=bounds.get("ge"),
        high=bounds.get("le"),
        one_of=choices,
    )


FIELDS: dict[str, Setting] = {
    name: _described(group, name, field)
    for group in GROUPS
    for name, field in group.__pydantic_fields__.items()  # type: ignore[attr-defined]
}
"""Every setting by name, in the order in which a form shows them."""

PATHS = ("images_folder", "prompts_file", "pairs")
"""Settings that name a file or folder of this machine: they stay out of what people share."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "texts": "a list of texts",
}


def _sentence(name: str, value: Any) -> StudioError:
    """Why a value is not a valid one of the setting."""
    rule = FIELDS[name]
    if rule.one_of and isinstance(value, str):
        return StudioError(
            "{name} is {value}.",
            "Choose one of {choices}.",
            name=name,
            value=f"{value!r:.60}",
            choices=", ".join(rule.one_of),
        )
    ranged = rule.low is not None and rule.high is not None and not isinstance(value, bool)
    if ranged and isinstance(value, int | float) and not rule.low <= value <= rule.high:  # type: ignore[operator]
        return StudioError(
            "{name} is {value:g}, outside {low:g} to {high:g}.",
            "Choose {name} within that range.",
            name=name,
            value=value,
            low=rule.low,
            high=rule.high,
        )
    return StudioError(
        "{name} must be {expected}, not {value}.",
        rule.help,
        name=name,
        expected=Sentence(_KINDS[rule.kind]),
        value=f"{value!r:.60}",
    )


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class TrainConfig(
    KeepingSettings,
    PreviewSettings,
    LossSettings,
    RolloutSettings,
    MaterialSettings,
    OptimiserSettings,
    StudentSettings,
    MethodSettings,
    RunSettings,
):
    """One training, whole.

    Raises:
        StudioError: a value of the wrong type or outside its range; the setting and the range are named.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _in_sentences(cls, values: Any, handler: Any) -> Any:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            if name not in FIELDS:
                raise unknown_setting(name) from None
            value = first["input"] if len(first["loc"]) == 1 else values.kwargs[name]
            raise _sentence(name, value) from None

    def __post_init__(self) -> None:
        if self.s_min >= self.s_max:
            raise StudioError(
                "s_min {s_min:g} is not below s_max {s_max:g}.", "Lower s_min.", s_min=self.s_min, s_max=self.s_max
            )
        if self.start == "images" and not self.images_folder:
            raise StudioError("start = images needs images_folder.", "Choose a folder of captioned images.")
        if self.pool_size == 0 and self.start not in ("images", "pairs"):
            raise StudioError("pool_size 0 needs start = images or pairs.", "Choose how many prompts to use.")
        self._check_method()
        if self.rollout_steps >= self.ddim_grid and self.method == "self-npo" and self.start != "trajectory":
            raise StudioError(
                "rollout_steps {rollout_steps} does not fit a ddim_grid of {ddim_grid}.",
                "Choose rollout_steps up to {most}: that is the full simulation.",
                rollout_steps=self.rollout_steps,
                ddim_grid=self.ddim_grid,
                most=self.ddim_grid - 1,
            )

    def _check_method(self) -> None:
        allowed = {
            "self-npo": ("noise", "own", "trajectory", "images"),
            "fine-tuning": ("own", "images"),
            "distillation": ("own", "images"),
            "pairs": ("pairs",),
            "ranking": ("own",),
            "reward": ("noise",),
        }[self.method]
        if self.start not in allowed:
            raise StudioError(
                "method = {method} cannot start from {start}.",
                "Choose start = {allowed}.",
                method=self.method,
                start=self.start,
                allowed=" or ".join(allowed),
            )
        if self.method == "pairs" and not self.pairs:
            raise StudioError("method = pairs needs pairs.", "Choose a folder, a JSONL file or a Parquet file.")
        if self.method in ("ranking", "reward") and not self.scorer:
            raise StudioError(
                "method = {method} needs a scorer.", "Choose one, judge-preference for instance.", method=self.method
            )
        if self.method == "reward" and self.gradient_steps > self.ddim_grid:
            raise StudioError(
                "gradient_steps {steps} does not fit a ddim_grid of {ddim_grid}.",
                "Choose gradient_steps up to {ddim_grid}.",
                steps=self.gradient_steps,
                ddim_grid=self.ddim_grid,
            )
        if self.method == "distillation" and not self.flaw_list:
            raise StudioError("method = distillation needs flaws.", "Write the words of a negative prompt.")
        if self.flaw_list and self.method not in ("fine-tuning", "distillation"):
            raise StudioError(
                "flaws only applies to the methods fine-tuning and distillation.",
                "Choose one of these methods, or clear flaws.",
            )

    @property
    def flaw_list(self) -> tuple[str, ...]:
        """The flaws, one by one."""
        return tuple(flaw.strip() for flaw in self.flaws.split("|") if flaw.strip())

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(values[name]) if rule.kind == "texts" else values[name] for name, rule in FIELDS.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The settings that `to_dict` gave, or a part of them.

        Raises:
            StudioError: an unknown key (the nearest known one is named) or a bad value.
        """
        for key in values:
            if key not in FIELDS:
                raise unknown_setting(str(key))
        return cls(**values)


def unknown_setting(name: str) -> StudioError:
    """What to say of a setting that does not exist: the nearest one that does."""
    near = difflib.get_close_matches(name, FIELDS, n=1)
    return StudioError(
        "There is no training setting “{name}”.",
        "Did you mean {near}?" if near else "See docs/recipes.md or `train --settings`.",
        name=name[:60],
        near=near[0] if near else "",
    )


def recipe(name: str, **changes: Any) -> TrainConfig:
    """A recipe with some settings changed.

    Raises:
        StudioError: no such recipe, or a bad change.
    """
    if name not in RECIPES:
        raise StudioError(
            "There is no recipe “{name}”.", "Choose one of {choices}.", name=name[:40], choices=", ".join(RECIPES)
        )
    return TrainConfig.from_dict({**RECIPES[name], "recipe": name, **changes})
