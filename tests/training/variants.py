"""The small trainings that several tests run, on a tiny real network."""

from pathlib import Path
from typing import Any

from PIL import Image

from core.events import StepDone, TrainEvent
from core.families import get
from core.training.config import TrainConfig
from core.training.loop import train

FAMILY = get("sd15")
PROMPTS = [f"p{n}" for n in range(6)]
SMALL = {"steps": 6, "batch_size": 3, "rank": 2, "pool_size": 4, "ddim_grid": 6, "rollout_steps": 2}
SMALL |= {"checkpoint_every": 2, "preview_every": 0, "warmup_steps": 2}

VARIANTS: dict[str, dict[str, Any]] = {
    "own": {},
    "noise": {"start": "noise"},
    "trajectory": {"start": "trajectory"},
    "images": {"start": "images"},
    "guided rollout": {"rollout_guidance": 1.0},
    "conditional rollout": {"rollout_guidance": 0.0},
    "ema": {"reference": "ema", "ema_decay": 0.5},
    "full": {"weights": "full", "learning_rate": 1e-4},
    "full with ema": {"weights": "full", "learning_rate": 1e-4, "reference": "ema", "ema_decay": 0.5},
    "pseudo-Huber on x0": {"loss": "pseudo_huber", "loss_on": "x0"},
    "min-SNR on v": {"loss_on": "v", "min_snr_gamma": 5.0},
    "checkpointing": {"gradient_checkpointing": True},
    "bfloat16": {"precision": "bf16"},
    "without prompts": {"caption_dropout": 1.0, "pool_omega": -1.0},
    "half without prompts": {"caption_dropout": 0.5, "pool_omega": 1.0},
    "some noise levels": {"s_min": 0.2, "s_max": 0.6, "start": "trajectory"},
    "frozen down": {"freeze_down": True, "weight_decay": 0.01},
}


def config(**changes: Any) -> TrainConfig:
    """A small training with some settings changed."""
    return TrainConfig(**{**SMALL, **changes})


def run(folder: Path, settings: TrainConfig, **options: Any) -> list[TrainEvent]:
    """All events of a training on a fresh tiny model."""
    return list(train(settings, folder, FAMILY.tiny(), FAMILY, PROMPTS, cpu=True, **options))


def losses(events: list[TrainEvent]) -> list[tuple[int, str, str]]:
    """(step, loss, gradient norm) of each step, to the bit."""
    return [(e.step, e.loss.hex(), e.gradient_norm.hex()) for e in events if isinstance(e, StepDone)]


def captioned_pictures(folder: Path) -> Path:
    """A folder of five captioned pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, colour in enumerate(("red", "green", "blue", "white", "orange")):
        Image.linear_gradient("L").resize((50 + n, 40)).convert("RGB").point(lambda v, n=n: (v * (n + 1)) % 256).save(
            folder / f"{n}.png"
        )
        (folder / f"{n}.txt").write_text(f"p{n} {colour}", encoding="utf-8")
    return folder


METHOD_VARIANTS: dict[str, dict[str, Any]] = {
    "fine-tuning on pictures": {"method": "fine-tuning", "start": "images", "sampling": "epochs", "pool_size": 0},
    "fine-tuning, sampled latents, full": {
        "method": "fine-tuning",
        "start": "images",
        "latents": "sample",
        "crop": "random",
        "weights": "full",
        "learning_rate": 1e-4,
    },
    "from words": {"method": "fine-tuning", "flaws": "blurry | noisy", "pool_omega": 1.0},
    "distillation": {"method": "distillation", "flaws": "blurry"},
    "reversed DPO": {"method": "pairs", "start": "pairs", "beta_dpo": 500.0},
    "forward DPO": {"method": "pairs", "start": "pairs", "direction": "positive", "sampling": "epochs", "pool_size": 0},
}
"""Trainings by other methods than Self-NPO."""


def folder_of_pairs(folder: Path) -> Path:
    """A folder of four pairs of pictures."""
    for part, shift in (("preferred", 0), ("rejected", 90)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for n in range(4):
            picture = Image.linear_gradient("L").resize((40, 44 + n)).convert("RGB")
            picture.point(lambda v, n=n, shift=shift: (v * (n + 1) + shift) % 256).save(folder / part / f"{n}.png")
            (folder / part / f"{n}.txt").write_text(f"p{n}", encoding="utf-8")
    return folder


def settings_of(variant: str, folder: Path) -> TrainConfig:
    """The settings of a variant; its pictures, where it needs some, go into `folder`."""
    changes = {**VARIANTS, **METHOD_VARIANTS}[variant]
    if changes.get("start") == "images":
        changes = {**changes, "images_folder": str(captioned_pictures(folder / "pictures"))}
    if changes.get("start") == "pairs":
        changes = {**changes, "pairs": str(folder_of_pairs(folder / "pairs"))}
    return config(**changes)
