"""Trains the VAE of the drawings: the encoder onto the fixed latents, the decoder back from them, sharp at edges.

    python -m assets.build.drawings.vae WORK --steps 4000

WORK is the folder of `assets.build.drawings.denoiser`. The state is kept in it, so the same command goes on where it was
cut off. The decoder learns on crops of 8 x 8 latents, with noise of up to 0.12 on them, since sampled latents are never
exact. Beside the squared error its loss counts the error of the differences between neighbouring pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from assets.build.drawings.denoiser import save
from assets.build.drawings.latents import PATCH, PatchBasis
from assets.build.drawings.layout import make_vae
from assets.build.drawings.muon import Muon
from assets.build.drawings.render import SIDE, Drawings, as_input, render
from assets.build.vae import psnr
from core.miniature.drawings.scene import sample_scene

CROP = 64


def draw(count: int, seed: int, drawings: Drawings, *, spoilt: float, held_out: bool = False) -> Tensor:
    """Pictures (count, 3, SIDE, SIDE) uint8."""
    rng = np.random.default_rng([seed, 2])
    scenes = [
        sample_scene(rng, spoilt=spoilt, held_out=held_out, pairs=0.0 if held_out else 0.25) for _ in range(count)
    ]
    return torch.cat([render(scenes[start : start + 250], drawings) for start in range(0, count, 250)])


def edge_error(difference: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbouring pixels."""
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


@torch.no_grad()
def measure(vae: AutoencoderKL, basis: PatchBasis, images: Tensor) -> dict[str, float]:
    """Peak signal-to-noise ratios in dB: encoder and decoder, decoder alone, and the linear way back."""
    images, figures = as_input(images), {}
    for name in ("round_trip", "decoder", "linear"):
        parts = []
        for part in images.split(32):
            latents = vae.encode(part).latent_dist.mode() if name == "round_trip" else basis.encode(part)
            parts.append(basis.decode(latents) if name == "linear" else vae.decode(latents).sample)
        figures[name] = round(psnr(torch.cat(parts).clamp(-1, 1) - images), 2)
    return figures


def main() -> None:
    """Reads the command line, trains, measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--spoilt", type=float, default=0.3)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    drawings = Drawings.load(options.work / "drawings.npy")
    basis = PatchBasis.load(options.work / "basis.safetensors")
    torch.manual_seed(options.seed)
    vae = make_vae(basis.scaling_factor)
    optimizer = Muon.of(vae, options.learning_rate)
    average = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    step, log, seen = 0, [], 0.0
    state_file = options.work / "vae-state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, log, seen = state["average"], state["step"], state["log"], state["seconds"]
    images = draw(options.scenes, options.seed, drawings, spoilt=options.spoilt)
    random = torch.Generator().manual_seed(options.seed * 100_003 + step)
    saved, started = time.monotonic(), time.process_time()
    sums = {"encoder": 0.0, "decoder": 0.0}
    while step < options.steps:
        falling = (options.steps - step) / (0.5 * options.steps)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * min(1.0, (step + 1) / 100, falling)
        chosen = torch.randint(0, len(images), (options.batch,), generator=random)
        row, column = (torch.randint(0, (SIDE - CROP) // PATCH + 1, (2,), generator=random) * PATCH).tolist()
        batch = as_input(images[chosen, :, row : row + CROP, column : column + CROP])
        target = basis.encode(batch)
        strength = torch.rand(options.batch, 1, 1, 1, generator=random) * 0.12 / basis.scaling_factor
        noisy = target + strength * torch.randn(target.shape, generator=random)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.encode(batch).latent_dist
            picture = vae.decode(noisy).sample
        # the posterior's mean is the latent; its variance is trained to be negligible
        encoder = (moments.mean.float() - target).square().mean() + 1e-3 * (moments.logvar.float() + 10).square().mean()
        difference = picture.float() - batch
        squared = difference.square().mean()
        optimizer.zero_grad(set_to_none=True)
        (encoder + squared + 0.05 * difference.abs().mean() + 0.05 * edge_error(difference)).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, tensor in vae.state_dict().items():
                average[name].lerp_(tensor, 1 - min(0.998, (1 + step) / (10 + step)))
        sums["encoder"] += float(encoder.detach()) / 100
        sums["decoder"] += float(squared.detach()) / 100
        seconds = round(seen + time.process_time() - started, 1)
        if step % 100 == 0:
            line = {"encoder": round(sums["encoder"], 5), "psnr": round(10 * math.log10(4 / sums["decoder"]), 2)}
            log.append({"step": step, **line, "cpu_seconds": seconds})
            sums = dict.fromkeys(sums, 0.0)
            print(json.dumps(log[-1]), flush=True)
        if time.monotonic() - saved > 240 or step == options.steps:
            saved = time.monotonic()
            state = {"model": vae.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
            save(state_file, state | {"step": step, "log": log, "seconds": seconds})
            save_file({k: v.contiguous() for k, v in average.items()}, options.work / "vae.safetensors")

    vae.load_state_dict(average)
    vae.eval()
    for name, held_out in (("seen drawings, new scenes", False), ("held-out drawings", True)):
        figures = measure(vae, basis, draw(300, options.seed + 991, drawings, spoilt=0.0, held_out=held_out))
        log.append({"measured_on": name, **figures})
        print(json.dumps(log[-1]), flush=True)
    (options.work / "vae.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


if __name__ == "__main__":
    main()
