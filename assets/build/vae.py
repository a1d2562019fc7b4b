"""Trains the miniature's VAE: the encoder onto the fixed latents of `assets.build.latents`, the decoder back from them.

python -m assets.build.vae WORK --steps 5000
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from assets.build.latents import fit_basis
from assets.build.layout import make_vae
from core.miniature.world.render import render
from core.miniature.world.scene import sample_scene


def draw(count: int, seed: int, spoilt: float) -> Tensor:
    """Pictures of the unfiltered world, (count, 3, 64, 64) uint8."""
    rng = np.random.default_rng(seed)
    parts = [render([sample_scene(rng, spoilt=spoilt) for _ in range(128)]) for _ in range(0, count, 128)]
    return (torch.cat(parts) * 255).round().byte()


def psnr(difference: Tensor) -> float:
    """Peak signal-to-noise ratio in decibel of differences between images in [-1, 1]."""
    return 10 * math.log10(4 / float(difference.square().mean()))


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--scenes", type=int, default=12_800)
    parser.add_argument("--spoilt", type=float, default=0.45)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    basis = fit_basis(options.seed, spoilt=options.spoilt)
    images = draw(options.scenes, options.seed + 77, options.spoilt)
    torch.manual_seed(options.seed)
    vae = make_vae(basis.scaling_factor)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    average = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    log: list[dict[str, float | str]] = []
    started = time.monotonic()
    sums = {"encoder": 0.0, "decoder": 0.0}
    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / options.steps))
        chosen = torch.randint(0, len(images), (options.batch,))
        batch = images[chosen].float() / 127.5 - 1
        target = basis.encode(batch)
        # the decoder will be given sampled latents, which are never exact
        noisy = target + 0.02 / basis.scaling_factor * torch.randn_like(target)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.encode(batch).latent_dist
            picture = vae.decode(noisy).sample
        # the posterior's mean is the latent; its variance is trained to be negligible
        encoder = (moments.mean.float() - target).square().mean() + 1e-3 * (moments.logvar.float() + 10).square().mean()
        difference = picture.float() - batch
        decoder = difference.square().mean() + 0.05 * difference.abs().mean()
        optimizer.zero_grad(set_to_none=True)
        (encoder + decoder).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, tensor in vae.state_dict().items():
                average[name].lerp_(tensor, 1 - min(0.998, (1 + step) / (10 + step)))
        sums["encoder"] += float(encoder.detach()) / 100
        sums["decoder"] += float(difference.detach().square().mean()) / 100
        if step % 100 == 0:
            line = {name: round(value, 5) for name, value in sums.items()}
            log.append({"step": step, **line, "seconds": round(time.monotonic() - started, 1)})
            sums = dict.fromkeys(sums, 0.0)
            print(json.dumps(log[-1]), flush=True)
        if step % 500 == 0 or step == options.steps:
            save_file({k: v.contiguous() for k, v in average.items()}, options.work / "vae.safetensors")
            (options.work / "vae.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))

    vae.load_state_dict(average)
    vae.eval()
    for name, spoilt in (("clean", 0.0), ("unfiltered", options.spoilt)):
        held_out = draw(512, options.seed + 991, spoilt).float() / 127.5 - 1
        with torch.no_grad():
            mean = torch.cat([vae.encode(part).latent_dist.mode() for part in held_out.split(64)])
            back = torch.cat([vae.decode(part).sample for part in mean.split(64)])
        log.append({"held_out": name, "round_trip_psnr": round(psnr(back.clamp(-1, 1) - held_out), 2)})
        print(json.dumps(log[-1]), flush=True)
    (options.work / "vae.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


if __name__ == "__main__":
    main()
