"""Every choice of a Self-NPO training as a named setting, and the recipes: `paper`, `official` and `studio`.

No torch here: the page and the command line read this file for their forms.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import StudioError


def _setting(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, one_of: tuple = ()
) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high, "one_of": one_of})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training, whole. Each field's meaning stands beside it and is what the page shows.

    Raises:
        StudioError: a value of the wrong type or outside its range; the field and the range are named.
    """

    base: str = _setting("miniature-sd15", "Base model: a name from the library, or a folder.")
    family: str = _setting("sd15", "Model family of the base.")
    recipe: str = _setting("studio", "The recipe these settings began with.")
    seed: int = _setting(0, "Seed of everything random in the run.", low=0, high=2**31 - 1)
    steps: int = _setting(150, "Optimiser steps.", low=1, high=1_000_000)
    batch_size: int = _setting(16, "Samples of one step, in each process.", low=1, high=4096)

    weights: str = _setting("lora", "What is trained: a LoRA, or all weights.", one_of=("lora", "full"))
    rank: int = _setting(8, "Rank of the LoRA; of its extraction when all weights are trained.", low=1, high=512)
    lora_alpha: float = _setting(8.0, "LoRA scaling: its strength is lora_alpha / rank.", low=0.01, high=4096)
    freeze_down: bool = _setting(False, "Train the LoRA's up matrices alone.")

    learning_rate: float = _setting(1e-3, "Learning rate of AdamW.", low=1e-9, high=1.0)
    weight_decay: float = _setting(0.0, "Weight decay of AdamW.", low=0.0, high=1.0)
    warmup_steps: int = _setting(10, "Steps over which the learning rate rises from 0.", low=0, high=100_000)
    clip_norm: float = _setting(1.0, "Largest norm of the gradient.", low=1e-6, high=1e6)
    precision: str = _setting("no", "Mixed precision: no is float32.", one_of=("no", "fp16", "bf16"))
    gradient_checkpointing: bool = _setting(False, "Less memory for one more forward a step.")

    start: str = _setting(
        "own",
        "Where rollouts start: pure noise; noised own samples; own whole trajectories; a folder of images.",
        one_of=("noise", "own", "trajectory", "images"),
    )
    images_folder: str = _setting("", "Folder of captioned images, for start = images.")
    prompts_file: str = _setting("", "Text file of prompts, one a line; empty: the prompts that come with the base.")
    pool_size: int = _setting(256, "Prompts used, and own samples drawn once before training.", low=1, high=100_000)
    pool_omega: float = _setting(0.0, "Guidance of the own samples: 0 is none, -1 is unconditional.", low=-1, high=30)
    ddim_grid: int = _setting(25, "Steps of the whole DDIM grid.", low=2, high=1000)
    rollout_steps: int = _setting(5, "K: DDIM steps of a rollout before its estimate.", low=0, high=1000)
    rollout_guidance: float = _setting(
        -1.0, "w of the rollout: cond + w (cond - uncond). -1 is unconditional, 0 conditional.", low=-20, high=20
    )
    reference: str = _setting(
        "frozen", "Who rolls out: the frozen base, or the student's EMA.", one_of=("frozen", "ema")
    )
    ema_decay: float = _setting(0.999, "Decay of the EMA, for reference = ema.", low=0.0, high=0.999999)

    loss: str = _setting("mse", "Distance to the estimate.", one_of=("mse", "pseudo_huber"))
    loss_on: str = _setting("epsilon", "What the distance is taken on.", one_of=("x0", "epsilon", "v"))
    huber_c: float = _setting(0.001, "c of pseudo-Huber.", low=1e-8, high=10.0)
    min_snr_gamma: float = _setting(0.0, "Min-SNR weighting, usually 5; 0 is off.", low=0.0, high=1000.0)
    s_min: float = _setting(0.0, "Least noise level s trained at, as a share of all timesteps.", low=0.0, high=1.0)
    s_max: float = _setting(1.0, "Greatest noise level s trained at.", low=0.0, high=1.0)
    caption_dropout: float = _setting(0.1, "Share of samples trained without their prompt.", low=0.0, high=1.0)
    height: int = _setting(0, "Height in pixels; 0 is the model's own.", low=0, high=8192)
    width: int = _setting(0, "Width in pixels; 0 is the model's own.", low=0, high=8192)
    frames: int = _setting(0, "Frames of a video; 0 is the model's own number.", low=0, high=1000)

    preview_every: int = _setting(50, "Steps between previews; 0 is none.", low=0, high=1_000_000)
    preview_prompts: tuple[str, ...] = _setting((), "Prompts of the previews; empty: the first of the prompts.")
    preview_omega: float = _setting(2.0, "ω of the previews.", low=0.0, high=30.0)
    preview_beta: float = _setting(1.0, "β of the previews.", low=-4.0, high=4.0)
    preview_seed: int = _setting(0, "First seed of the previews.", low=0, high=2**31 - 1)
    checkpoint_every: int = _setting(50, "Steps between checkpoints.", low=1, high=1_000_000)
    keep_checkpoints: int = _setting(2, "Checkpoints kept.", low=2, high=1000)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        if self.s_min >= self.s_max:
            raise StudioError(f"s_min {self.s_min:g} is not below s_max {self.s_max:g}.", "Lower s_min.")
        if self.start == "images" and not self.images_folder:
            raise StudioError("start = images needs images_folder.", "Name a folder of captioned images.")
        if self.rollout_steps >= self.ddim_grid and self.start != "trajectory":
            raise StudioError(
                f"rollout_steps {self.rollout_steps} does not fit a ddim_grid of {self.ddim_grid}.",
                f"Choose rollout_steps up to {self.ddim_grid - 1}: that is the full simulation.",
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {**dataclasses.asdict(self), "preview_prompts": list(self.preview_prompts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The settings that `to_dict` gave, or a part of them.

        Raises:
            StudioError: an unknown key (the nearest known one is named) or a bad value.
        """
        for key in values:
            if key not in FIELDS:
                near = difflib.get_close_matches(str(key), FIELDS, n=1)
                raise StudioError(
                    f"There is no training setting “{str(key)[:60]}”.",
                    f"Did you mean {near[0]}?" if near else "See the list in docs or `train --settings`.",
                )
        return cls(**values)


def _checked(field: dataclasses.Field, value: Any) -> Any:
    rule, kind = field.metadata, str(field.type)
    name = field.name
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind.startswith("tuple"):
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            raise StudioError(f"{name} must be a list of texts.", "Give one text for each.")
        return tuple(value)
    wanted: type = {"int": int, "float": float, "bool": bool, "str": str}[kind]
    if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
        raise StudioError(f"{name} must be a {kind}, not {value!r:.60}.", rule["help"])
    if rule["one_of"] and value not in rule["one_of"]:
        raise StudioError(f"{name} is {value!r:.60}.", f"Choose one of {', '.join(rule['one_of'])}.")
    if rule["low"] is not None and not (
        isinstance(value, int | float) and math.isfinite(value) and rule["low"] <= value <= rule["high"]
    ):
        raise StudioError(
            f"{name} is {value:g}, outside {rule['low']:g} to {rule['high']:g}.", f"Choose {name} within that range."
        )
    return value


FIELDS: dict[str, dataclasses.Field] = {field.name: field for field in dataclasses.fields(TrainConfig)}

FIELD_HELP: dict[str, str] = {name: field.metadata["help"] for name, field in FIELDS.items()}
"""Meaning of each setting in one line, as the page and `train --help` show it."""

RECIPES: dict[str, dict[str, Any]] = {
    # the text of the paper: data-free rollouts from noise by the frozen model
    "paper": {
        "weights": "lora",
        "start": "noise",
        "rollout_steps": 5,
        "rollout_guidance": -1.0,
        "reference": "frozen",
        "loss": "pseudo_huber",
        "loss_on": "x0",
        "learning_rate": 1e-4,
        "steps": 1000,
        "warmup_steps": 50,
    },
    # what the published SD1.5 training script does
    "official": {
        "weights": "full",
        "start": "images",
        "rollout_steps": 5,
        "rollout_guidance": -1.0,
        "reference": "ema",
        "ema_decay": 0.999,
        "loss": "pseudo_huber",
        "loss_on": "x0",
        "huber_c": 0.001,
        "learning_rate": 1e-6,
        "weight_decay": 1e-3,
        "warmup_steps": 500,
        "steps": 1000,
        "batch_size": 20,
        "caption_dropout": 0.0,
    },
    # the best measured on the bundled miniature: TrainConfig's own defaults
    "studio": {},
}
"""Settings in which each recipe differs from the defaults."""

RECIPE_HELP = {
    "studio": "The best we measured on the bundled miniature. Data-free.",
    "paper": "The paper's text: rollouts from pure noise by the frozen model. Data-free. As a LoRA, at a rate of ours.",
    "official": "The published SD1.5 script: all weights, captioned images, EMA reference. Needs a folder of images.",
}


def recipe(name: str, **changes: Any) -> TrainConfig:
    """A recipe with some settings changed.

    Raises:
        StudioError: no such recipe, or a bad change.
    """
    if name not in RECIPES:
        raise StudioError(f"There is no recipe “{name[:40]}”.", f"Choose one of {', '.join(RECIPES)}.")
    return TrainConfig.from_dict({**RECIPES[name], "recipe": name, **changes})


def row_forwards_per_sample(config: TrainConfig) -> float:
    """Cost of one training sample in forwards of one row, with its share of the own samples of one process."""
    spread = row_forwards_of_own_samples(config) / (config.steps * config.batch_size)
    return round(row_forwards_of_step(config) + spread, 2)


def row_forwards_of_step(config: TrainConfig) -> int:
    """Cost of one sample in a training step, in forwards of one row; a backward counts as two.

    Rollout: K steps and the estimate, twice where w mixes two predictions, nothing for stored trajectories.
    Student: 1 forward and its backward, one more forward with gradient checkpointing.
    """
    student = 3 + config.gradient_checkpointing
    rollout = (config.rollout_steps + 1) * _passes(config.rollout_guidance)
    return student + (0 if config.start == "trajectory" else rollout)


def row_forwards_of_own_samples(config: TrainConfig) -> int:
    """Cost of all own samples that are drawn before the first step: `ddim_grid` sampling steps each."""
    drawn = config.start in ("own", "trajectory")
    return config.pool_size * config.ddim_grid * _passes(config.pool_omega) if drawn else 0


def _passes(guidance: float) -> int:
    """Predictions that one guided prediction takes: one where w leaves only one of the two."""
    return 1 if guidance in (-1.0, 0.0) else 2
