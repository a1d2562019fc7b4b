"""The settings of a training, grouped by who owns them. One declaration each: default, range and meaning.

`TrainConfig` is all groups at once and stays flat, as `config.json` and `--set name=value` are; a room takes the group it
needs and nothing else. No torch here: the page and the command line make their forms of this file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

VALIDATION = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _whole(value: Any) -> Any:
    """JSON and number fields may write 5 as 5.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Texts = Annotated[tuple[str, ...], Strict(False)]


def setting(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """One setting: its default, its meaning as the page shows it, and its range with both ends."""
    return Field(default, description=help, ge=low, le=high)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class RunSettings:
    """The run as a whole."""

    base: str = setting("miniature-sd15", "Base model: a name from the library, or a folder.")
    family: str = setting("sd15", "Model family of the base.")
    recipe: str = setting("studio", "The recipe these settings began with.")
    seed: Whole = setting(0, "Seed of everything random in the run.", 0, 2**31 - 1)
    steps: Whole = setting(150, "Optimiser steps.", 1, 1_000_000)
    batch_size: Whole = setting(16, "Samples per step, in each process.", 1, 4096)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class MethodSettings:
    """What the offset learns from."""

    method: Literal["self-npo", "fine-tuning", "distillation", "pairs", "ranking", "reward"] = setting(
        "self-npo",
        "What the offset learns: the model's own worse estimates; pictures as they are; a negative prompt; pairs; a ranking; a scorer's gradient.",
    )
    direction: Literal["negative", "positive"] = setting(
        "negative",
        "Kind of offset: from pairs, a negative one learns what was rejected, a positive one what was preferred.",
    )
    flaws: str = setting(
        "", "Words for what you do not want, several separated by |: drawn with them and learned without; or distilled."
    )
    pairs: str = setting("", "Pairs of pictures: a folder, a JSONL or a Parquet file.")
    scorer: str = setting(
        "", "What scores own samples, for method = ranking or reward: judge-preference, for instance."
    )
    candidates: Whole = setting(4, "Own samples of each prompt that are ranked.", 2, 64)
    round_steps: Whole = setting(50, "Steps between two rounds of drawing and ranking samples.", 1, 1_000_000)
    gradient_steps: Whole = setting(
        1, "K: the last sampling steps that a scorer's gradient passes through, for method = reward.", 1, 1000
    )
    beta_dpo: float = setting(2000.0, "How strongly training on pairs is kept close to the base.", 1e-3, 1e6)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class StudentSettings:
    """What is trained."""

    weights: Literal["lora", "full"] = setting("lora", "What is trained: a LoRA, or all weights.")
    rank: Whole = setting(8, "Rank of the LoRA; of its extraction when all weights are trained.", 1, 512)
    lora_alpha: float = setting(8.0, "LoRA scaling: its strength is lora_alpha / rank.", 0.01, 4096)
    freeze_down: bool = setting(False, "Train only the LoRA's up matrices.")
    gradient_checkpointing: bool = setting(False, "Less memory for one more forward pass per step.")


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class OptimiserSettings:
    """How a step changes the weights."""

    learning_rate: float = setting(1e-3, "Learning rate of AdamW.", 1e-9, 1.0)
    weight_decay: float = setting(0.0, "Weight decay of AdamW.", 0.0, 1.0)
    warmup_steps: Whole = setting(10, "Steps over which the learning rate rises from 0.", 0, 100_000)
    clip_norm: float = setting(1.0, "Largest norm of the gradient.", 1e-6, 1e6)
    precision: Literal["no", "fp16", "bf16"] = setting("no", "Mixed precision: no is float32.")


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class MaterialSettings:
    """What training starts from."""

    start: Literal["noise", "own", "trajectory", "images", "pairs"] = setting(
        "own",
        "Where training starts: pure noise; noised own samples; own whole trajectories; a folder of images; pairs.",
    )
    images_folder: str = setting("", "Folder of captioned images, for start = images.")
    prompts_file: str = setting("", "Text file of prompts, one per line; empty: the prompts bundled with the base.")
    pool_size: Whole = setting(
        256,
        "Number of prompts used, and of own samples drawn once before training; 0: every picture of a folder.",
        0,
        10_000_000,
    )
    sampling: Literal["replacement", "epochs"] = setting(
        "replacement", "How start points are taken: any at any step; or each once before any comes again, shuffled."
    )
    crop: Literal["center", "random"] = setting(
        "center",
        "Which part of a picture of another shape is used. SDXL is conditioned on the position of a random crop.",
    )
    latents: Literal["mode", "sample"] = setting(
        "mode", "Latents of a picture: the mode of the encoder's distribution, or a new sample from it each step."
    )
    pool_omega: float = setting(0.0, "Guidance of the own samples: 0 is none, -1 is unconditional.", -1, 30)
    height: Whole = setting(0, "Height in pixels; 0 is the model's own.", 0, 8192)
    width: Whole = setting(0, "Width in pixels; 0 is the model's own.", 0, 8192)
    frames: Whole = setting(0, "Frames of a video; 0 is the model's own number.", 0, 1000)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class RolloutSettings:
    """How the reference rolls out."""

    ddim_grid: Whole = setting(25, "Steps of the whole DDIM grid.", 2, 1000)
    grid_spacing: Literal["model", "leading", "trailing"] = setting(
        "model",
        "Placement of the grid: as in the model's scheduler; from 1 upwards; or from the noisiest level down.",
    )
    rollout_end: Literal["grid", "zero"] = setting(
        "grid", "Where rollouts end at the latest: at the last level of the grid, or at t = 0."
    )
    rollout_steps: Whole = setting(5, "K: DDIM steps of a rollout before its estimate.", 0, 1000)
    rollout_guidance: float = setting(
        -1.0, "w of the rollout: cond + w (cond - uncond). -1 is unconditional, 0 conditional.", -20, 20
    )
    reference: Literal["frozen", "ema"] = setting(
        "frozen", "Which network rolls out: the frozen base, or the student's EMA."
    )
    ema_decay: float = setting(0.999, "Decay of the EMA, for reference = ema.", 0.0, 0.999999)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class LossSettings:
    """What is learned, and at which noise levels."""

    loss: Literal["mse", "pseudo_huber"] = setting("mse", "Distance to the estimate.")
    loss_on: Literal["x0", "epsilon", "v"] = setting("epsilon", "What the distance is computed on.")
    huber_c: float = setting(0.001, "c of pseudo-Huber.", 1e-8, 10.0)
    min_snr_gamma: float = setting(0.0, "Min-SNR weighting, usually 5; 0 is off.", 0.0, 1000.0)
    s_min: float = setting(0.0, "Least noise level s trained at, as a share of all timesteps.", 0.0, 1.0)
    s_max: float = setting(1.0, "Greatest noise level s trained at.", 0.0, 1.0)
    caption_dropout: float = setting(0.1, "Share of samples trained without their prompt.", 0.0, 1.0)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class PreviewSettings:
    """The pictures that show how far a training is."""

    preview_every: Whole = setting(50, "Steps between previews; 0 is none.", 0, 1_000_000)
    preview_prompts: Texts = setting((), "Prompts of the previews; empty: the first of the prompts.")
    preview_omega: float = setting(2.0, "ω of the previews.", 0.0, 30.0)
    preview_beta: float = setting(1.0, "β of the previews.", -4.0, 4.0)
    preview_seed: Whole = setting(0, "First seed of the previews.", 0, 2**31 - 1)


@dataclass(frozen=True, kw_only=True, config=VALIDATION)
class KeepingSettings:
    """What is kept on disk along the way."""

    checkpoint_every: Whole = setting(50, "Steps between checkpoints.", 1, 1_000_000)
    keep_checkpoints: Whole = setting(2, "Checkpoints kept.", 2, 1000)


GROUPS: tuple[type, ...] = (
    RunSettings,
    MethodSettings,
    StudentSettings,
    OptimiserSettings,
    MaterialSettings,
    RolloutSettings,
    LossSettings,
    PreviewSettings,
    KeepingSettings,
)
"""The owners of settings, in the order in which a form shows them."""
