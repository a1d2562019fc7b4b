"""The recipes: what each sets in which it differs from the defaults, and what it is, in a sentence. Plain data."""

from __future__ import annotations

from typing import Any

OFFICIAL: dict[str, Any] = {
    "weights": "full",
    "start": "images",
    "pool_size": 0,
    "sampling": "epochs",
    "latents": "sample",
    "ddim_grid": 25,
    "grid_spacing": "trailing",
    "rollout_end": "zero",
    "rollout_steps": 5,
    "rollout_guidance": -1.0,
    "reference": "ema",
    "ema_decay": 0.999,
    "loss": "pseudo_huber",
    "loss_on": "x0",
    "huber_c": 0.001,
    "learning_rate": 1e-6,
    "weight_decay": 1e-3,
    "warmup_steps": 0,
    "clip_norm": 1.0,
    "precision": "fp16",
    "steps": 1000,
    "batch_size": 20,
    "caption_dropout": 0.0,
}
"""The published SD1.5 script. Two things differ: its AdamW keeps 8-bit moments, and it writes whole weights alone."""

DIFFUSION_NPO: dict[str, Any] = {
    "method": "pairs",
    "start": "pairs",
    "sampling": "epochs",
    "pool_size": 0,
    "rank": 8,
    "beta_dpo": 500.0,
    "learning_rate": 5e-6,
    "warmup_steps": 0,
    "weight_decay": 1e-2,
    "batch_size": 64,
    "steps": 5000,
    "caption_dropout": 0.0,
    "gradient_checkpointing": True,
}
"""The published LoRA run of Diffusion-NPO on SD1.5 (beta_dpo 500; SDXL has 2000 and batches of 60), here in float32."""

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
    # what the published training scripts do; their schedule is constant, so that their warm-up setting does nothing
    "official": OFFICIAL,
    "official-sdxl": {
        **OFFICIAL,
        "rollout_guidance": -5.0,
        "learning_rate": 1e-7,
        "weight_decay": 0.0,
        "batch_size": 10,
        "crop": "random",
        "gradient_checkpointing": True,
    },
    # what one does not want, as pictures
    "from-pictures": {
        "method": "fine-tuning",
        "start": "images",
        "pool_size": 0,
        "sampling": "epochs",
        "caption_dropout": 0.5,
        "steps": 200,
        "batch_size": 32,
    },
    # own samples drawn with a flaw in the prompt, learned without it: neither data nor reward
    "from-words": {
        "method": "fine-tuning",
        "start": "own",
        "flaws": "blurry",
        "pool_omega": 2.0,
        "pool_size": 768,
        "steps": 160,
        "batch_size": 32,
    },
    "negative-prompt": {"method": "distillation", "start": "own", "flaws": "blurry", "pool_omega": 2.0},
    # the model's own samples, ranked by a scorer in rounds
    "from-scorer": {
        "method": "ranking",
        "start": "own",
        "scorer": "judge-preference",
        "pool_size": 64,
        "pool_omega": 2.0,
        "sampling": "epochs",
        "beta_dpo": 500.0,
        "learning_rate": 1e-4,
        "caption_dropout": 0.0,
    },
    # the gradient of a scorer through the last step of sampling (DRaFT-K, VADER)
    "from-gradient": {
        "method": "reward",
        "start": "noise",
        "scorer": "judge-preference",
        "gradient_steps": 1,
        "pool_omega": 2.0,
        "batch_size": 8,
        "steps": 100,
        "learning_rate": 1e-4,
        "caption_dropout": 0.0,
    },
    "diffusion-npo": DIFFUSION_NPO,
    "diffusion-dpo": {**DIFFUSION_NPO, "direction": "positive"},
    # the best measured on the bundled miniature: TrainConfig's own defaults
    "studio": {},
}
"""Settings in which each recipe differs from the defaults."""

RECIPE_HELP = {
    "studio": "The best result measured on the bundled miniature. Data-free.",
    "paper": "The paper's text: rollouts from pure noise by the frozen model. Data-free. As a LoRA, with our learning rate.",
    "official": "The published SD1.5 script, to the letter: all weights in fp16, a folder of captioned images, EMA reference.",
    "from-pictures": "Plain fine-tuning on a folder of pictures that you do not want; captions beside them, or none.",
    "from-words": "Own samples drawn with a flaw in the prompt, learned without its words. Neither data nor reward.",
    "negative-prompt": "A negative prompt, distilled into the offset. Neither data nor reward.",
    "from-scorer": "Own samples, ranked by a scorer in rounds: the worst and the best of each prompt are learned as pairs.",
    "from-gradient": "Sampling, scored: the scorer's gradient passes through the last step and lowers the score.",
    "diffusion-npo": "Diffusion-NPO from pairs: reversed Diffusion-DPO, a LoRA as published for SD1.5. Needs pairs.",
    "diffusion-dpo": "Diffusion-DPO from pairs, for a positive offset. Needs pairs.",
    "official-sdxl": "The published SDXL script, to the letter: as official, with w = −5, random crops and a lower rate.",
}

RECIPE_FOR = {
    "nothing": "studio",
    "words": "from-words",
    "pictures": "from-pictures",
    "pairs": "diffusion-npo",
    "votes": "diffusion-npo",
    "scorer": "from-scorer",
}
"""The one recipe proposed for what a person has; a tuned checkpoint needs none."""

OF_VOTES: dict[str, Any] = {"learning_rate": 1e-4, "steps": 200, "gradient_checkpointing": False}
"""In which learning from a person's own votes differs from the published run: some dozens of pairs, not a million."""

RECIPE_FAMILY = {"official": "sd15", "official-sdxl": "sdxl"}
"""The family that a recipe was written for, where it was written for one alone."""
