"""Trains the bundled offsets: delta by Self-NPO with the page's own loop, eta towards clean, rightly captioned scenes.

python -m assets.build.offsets negative OUT.safetensors [KEY=VALUE ...]
python -m assets.build.offsets negative OUT.safetensors [KEY=VALUE ...] --base miniature-sdxl
python -m assets.build.offsets positive OUT.safetensors --steps 500
python -m assets.build.offsets early WORK/base/average-2500.safetensors WORK/step-2500
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file

from app.cli import parse_pairs
from assets.build.denoiser import draw_world, loss_weight
from assets.build.latents import fit_basis
from assets.build.layout import asset
from core.events import RunFinished, StepDone
from core.families import detect, get
from core.method.schedule import NoiseSchedule
from core.miniature.world.scene import caption
from core.offsets.adapter import attach, offset_of
from core.offsets.files import load_lora, read_offset
from core.offsets.writing import save_offset
from core.studio.library.choose import prompts_of
from core.training.config import recipe
from core.training.loop import train


def negative(out: Path, pairs: list[str], name: str, recipe_name: str = "studio") -> None:
    """A recipe of the page, by default Self-NPO as the studio has it, with some settings changed."""
    base = asset(name)
    family = get(detect(base))
    options = {"base": name, "family": family.name, "preview_every": 0, "checkpoint_every": 10_000}
    config = recipe(recipe_name, **{**options, **parse_pairs(pairs)})
    folder = Path(tempfile.mkdtemp())
    losses = []
    for event in train(config, folder, family.load(base), family, prompts_of(base), cpu=True):
        if isinstance(event, StepDone):
            losses.append(event.loss)
            if event.step % 25 == 0:
                progress = {
                    "step": event.step,
                    "loss": round(sum(losses[-25:]) / 25, 5),
                    "seconds": round(event.elapsed),
                }
                print(json.dumps(progress), flush=True)
        if isinstance(event, RunFinished):
            made = folder / event.offset
            facts = {**read_offset(made).provenance}
            save_offset(out, load_lora(made), family=family.name, provenance=facts, dtype=torch.float16)
    shutil.rmtree(folder)


def positive(out: Path, steps: int, rank: int, seed: int = 1) -> None:
    """Ordinary fine-tuning of a LoRA on clean scenes with right captions."""
    torch.set_num_threads(1)
    family = get("sd15")
    pipe = family.load(asset("miniature-sd15"))
    pipe.unet.set_attn_processor(AttnProcessor())
    scenes, latents = draw_world(12_800, seed, 0.0, 0.25, fit_basis(0, spoilt=0.45))
    parameters = attach(pipe.unet, family.lora_targets, rank=rank, lora_alpha=rank, seed=seed)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler)
    weight = loss_weight(schedule)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        chosen = rng.integers(len(scenes), size=32)
        captions = ["" if rng.random() < 0.1 else caption(scenes[i], rng, keep=0.85) for i in chosen]
        cond = family.encode_prompt(pipe, captions)
        x_0, t = latents[chosen].float(), torch.randint(0, schedule.timesteps, (32,))
        noise = torch.randn_like(x_0)
        with torch.autocast("cpu", torch.bfloat16):
            output = family.predict(pipe.unet, schedule.noise(x_0, noise, t), t, cond)
        loss = (weight[t] * (output.float() - noise).square().mean((1, 2, 3))).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(json.dumps({"step": step + 1, "loss": round(float(loss.detach()), 4)}), flush=True)
    facts = {"base": "miniature-sd15", "recipe": "supervised on clean scenes", "steps": str(steps), "seed": str(seed)}
    save_offset(out, offset_of(pipe.unet), family="sd15", provenance=facts, dtype=torch.float16)


def early(average: Path, folder: Path) -> None:
    """Splits the averaged weights of an early step into the denoiser and its text encoder, in float16."""
    folder.mkdir(exist_ok=True)
    weights = load_file(average)
    for part in ("unet", "text_encoder"):
        mine = {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
        half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in mine.items()}
        save_file(half, folder / f"{part}.safetensors")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    self_npo = commands.add_parser("negative")
    self_npo.add_argument("out", type=Path)
    self_npo.add_argument("pairs", nargs="*")
    self_npo.add_argument("--base", default="miniature-sd15")
    self_npo.add_argument("--recipe", default="studio")
    tuned = commands.add_parser("positive")
    tuned.add_argument("out", type=Path)
    tuned.add_argument("--steps", type=int, default=500)
    tuned.add_argument("--rank", type=int, default=8)
    kept = commands.add_parser("early")
    kept.add_argument("average", type=Path)
    kept.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.command == "negative":
        negative(options.out, options.pairs, options.base, options.recipe)
    elif options.command == "positive":
        positive(options.out, options.steps, options.rank)
    else:
        early(options.average, options.folder)


if __name__ == "__main__":
    main()
