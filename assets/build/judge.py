"""Trains the judge on renderings that went through the miniature's VAE, and measures it on held-out ones.

python -m assets.build.judge WORK VAE.safetensors --steps 6000
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from assets.build.latents import PatchBasis, fit_basis
from assets.build.layout import make_vae
from core.evaluation.statistics import Gaussian, frechet_distance
from core.miniature.judge import Judge
from core.miniature.language import Scene
from core.miniature.world.judge import SIDE, SceneReader
from core.miniature.world.render import render
from core.miniature.world.scene import ATTRIBUTES, FLAWS, LANGUAGE, sample_scene


@torch.no_grad()
def through_vae(scenes: list[Scene], basis: PatchBasis, vae: AutoencoderKL) -> Tensor:
    """Renderings decoded from their latents: (scenes, 3, 64, 64) uint8."""
    parts = []
    for start in range(0, len(scenes), 64):
        latents = basis.encode(render(scenes[start : start + 64]) * 2 - 1)
        with torch.autocast("cpu", torch.bfloat16):
            picture = vae.decode(latents + 0.02 / basis.scaling_factor * torch.randn_like(latents)).sample
        parts.append(((picture.float().clamp(-1, 1) + 1) * 127.5).round().byte())
    return torch.cat(parts)


def labels(scenes: list[Scene]) -> tuple[dict[str, Tensor], Tensor]:
    """Class indices of every attribute, -100 where the scene has no second object, and of the flaw."""
    indices = {
        name: torch.tensor([values.index(s.attributes[name]) if name in s.attributes else -100 for s in scenes])
        for name, values in ATTRIBUTES.items()
    }
    return indices, torch.tensor([FLAWS.index(s.flaw) for s in scenes])


def as_input(images: Tensor) -> Tensor:
    """uint8 pictures as the reader takes them."""
    return images.float() / 127.5 - 1


def main() -> None:
    """Reads the command line, trains, measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("vae", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--scenes", type=int, default=20_480)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    basis = fit_basis(options.seed, spoilt=0.45)
    vae = make_vae(basis.scaling_factor).eval()
    vae.load_state_dict(load_file(options.vae))
    rng = np.random.default_rng(options.seed + 5)
    scenes = [sample_scene(rng, pairs=0.4, spoilt=0.4) for _ in range(options.scenes)]
    images = through_vae(scenes, basis, vae)
    indices, flaws = labels(scenes)
    reader = SceneReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    started, running = time.monotonic(), 0.0
    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * step / options.steps))
        chosen = torch.randint(0, len(images), (options.batch,))
        batch = as_input(images[chosen])
        # a shift of a pixel or two changes nothing a caption says
        shift = torch.randint(-2, 3, (2,)).tolist()
        batch = torch.roll(F.pad(batch, (2,) * 4, mode="replicate"), shift, (2, 3))[:, :, 2:-2, 2:-2]
        with torch.autocast("cpu", torch.bfloat16):
            _, logits, flaw = reader(batch)
        loss = F.cross_entropy(flaw.float(), flaws[chosen], label_smoothing=0.02)
        for name, value in logits.items():
            wanted = indices[name][chosen]
            if bool((wanted >= 0).any()):
                loss = loss + F.cross_entropy(value.float(), wanted, label_smoothing=0.02)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        running += float(loss.detach()) / 100
        if step % 100 == 0:
            print(
                json.dumps({"step": step, "loss": round(running, 4), "seconds": round(time.monotonic() - started)}),
                flush=True,
            )
            running = 0.0

    clean_rng = np.random.default_rng(options.seed + 6)
    references = through_vae([sample_scene(clean_rng) for _ in range(8192)], basis, vae)
    placeholder = Gaussian(torch.zeros(1), torch.zeros(1, 1))
    judge = Judge(reader, LANGUAGE, SIDE, placeholder, {})
    features = torch.cat([judge.score(as_input(part), [{}] * len(part)).features for part in references.split(256)])
    clean = Gaussian.of(features)
    held_rng = np.random.default_rng(options.seed + 8)
    held = [sample_scene(held_rng) for _ in range(2000)]
    scores = judge.score(as_input(through_vae(held, basis, vae)), [s.attributes for s in held])
    spoilt = [sample_scene(held_rng, spoilt=1.0) for _ in range(1000)]
    spoilt_scores = judge.score(as_input(through_vae(spoilt, basis, vae)), [s.attributes for s in spoilt])
    facts = {
        "accuracy": round(float(scores.accuracy.mean()), 4),
        "scenes_read_whole": round(float(scores.whole.mean()), 4),
        "clean_called_clean": round(float((scores.cleanliness > 0.5).double().mean()), 4),
        "spoilt_called_spoilt": round(float((spoilt_scores.cleanliness < 0.5).double().mean()), 4),
        "preference_of_clean": round(float(scores.preference.mean()), 4),
        "frechet_floor_1000": round(frechet_distance(Gaussian.of(scores.features[:1000]), clean), 4),
        "frechet_floor_2000": round(frechet_distance(Gaussian.of(scores.features), clean), 4),
        "frechet_of_spoilt_1000": round(frechet_distance(Gaussian.of(spoilt_scores.features), clean), 4),
        "reference_scenes": len(references),
        "training_scenes": options.scenes,
        "steps": options.steps,
        "seed": options.seed,
    }
    tensors = {name: tensor.half().contiguous() for name, tensor in reader.state_dict().items()}
    tensors |= {"clean_mean": clean.mean.float(), "clean_covariance": clean.covariance.float().contiguous()}
    save_file(tensors, options.work / "judge.safetensors")
    (options.work / "judge.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
