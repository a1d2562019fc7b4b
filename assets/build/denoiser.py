"""Trains the miniature's UNet and text encoder together, on the unfiltered world.

    python -m assets.build.denoiser WORK --steps 7200 13200 --processes 2

Each number of steps ends a cycle: the learning rate is constant, falls to nothing in the cycle's last part, and the
next cycle begins at the full rate again. WORK keeps the state (`state.pt`, so that the same command goes on), the averaged weights at chosen steps, and the log.
The noise prediction is weighted by min(SNR + 1, 5) / SNR, capped: in units of x_0 the noisy steps, where place and
arrangement are decided, count as much as the others.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from assets.build.latents import fit_basis
from assets.build.layout import TOKENS, make_scheduler, make_text_encoder, make_tokenizer, make_unet
from core.evaluation.world.render import render
from core.evaluation.world.scene import Scene, caption, sample_scene
from core.method.schedule import NoiseSchedule

WARMUP = 200


class Miniature(nn.Module):
    """UNet and text encoder as one module, so that they are trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(self.tokenizer)
        self.unet = make_unet()
        # on a CPU the plain attention trains faster than the fused one at this size
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x_t, t, self.text_encoder(tokens).last_hidden_state).sample


def tokenize(tokenizer, captions: list[str]) -> Tensor:
    """(batch, TOKENS) ids, padded as the pipeline pads."""
    return tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def draw_world(count: int, seed: int, spoilt: float, pairs: float, basis) -> tuple[list[Scene], Tensor]:
    """`count` scenes and their scaled latents in float16."""
    rng = np.random.default_rng(seed)
    scenes, latents = [], []
    for _ in range(0, count, 128):
        batch = [sample_scene(rng, pairs=pairs, spoilt=spoilt) for _ in range(128)]
        scenes += batch
        latents.append((basis.encode(render(batch) * 2 - 1) * basis.scaling_factor).half())
    return scenes, torch.cat(latents)


def train(rank: int, options: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(1)
    if options.processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{options.work / 'rendezvous'}", rank=rank, world_size=options.processes
        )
    basis = fit_basis(options.seed, spoilt=options.spoilt)
    seed = options.seed + 1000 * (rank + 1)
    scenes, latents = draw_world(options.scenes // options.processes, seed, options.spoilt, options.pairs, basis)
    torch.manual_seed(options.seed)
    model = Miniature()
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, log, seen_seconds = 0, [], 0.0
    state_file = options.work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, log, seen_seconds = state["average"], state["step"], state["log"], state["seconds"]
    wrapped = DistributedDataParallel(model) if options.processes > 1 else model
    schedule = NoiseSchedule.from_scheduler(make_scheduler())
    snr = schedule.signal_to_noise(torch.arange(schedule.timesteps))
    weight = ((snr + 1).clamp(max=5) / snr).clamp(max=30)
    rng = np.random.default_rng([seed, step])
    noise_rng = torch.Generator().manual_seed(seed * 100_003 + step)
    order: list[int] = []
    started, losses = time.monotonic(), []
    while step < options.steps[-1]:
        begin = max((end for end in options.steps if end <= step), default=0)
        end = min(end for end in options.steps if end > step)
        rate = min(1.0, (step - begin + 1) / WARMUP, (end - step) / max(1.0, options.decay * (end - begin)))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate
        if len(order) < options.batch:
            order = rng.permutation(len(scenes)).tolist()
        chosen, order = order[: options.batch], order[options.batch :]
        captions = []
        for index in chosen:
            told = scenes[index]
            if rng.random() < options.wrong_captions:
                told = scenes[int(rng.integers(len(scenes)))]
            empty = rng.random() < 0.1
            captions.append("" if empty else caption(told, rng, keep=options.keep, tell_flaw=options.tell_flaw))
        x_0 = latents[chosen].float()
        t = torch.randint(0, schedule.timesteps, (options.batch,), generator=noise_rng)
        noise = torch.randn(x_0.shape, generator=noise_rng)
        with torch.autocast("cpu", torch.bfloat16):
            output = wrapped(schedule.noise(x_0, noise, t), t, tokenize(model.tokenizer, captions))
        loss = (weight[t] * (output.float() - noise).square().mean((1, 2, 3))).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(0.9985, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                average[name].lerp_(tensor, 1 - keep) if tensor.is_floating_point() else average[name].copy_(tensor)
        losses.append(loss.detach())
        if rank == 0 and step % 50 == 0:
            seconds = seen_seconds + time.monotonic() - started
            log.append(
                {"step": step, "loss": round(float(torch.stack(losses).mean()), 5), "seconds": round(seconds, 1)}
            )
            losses = []
            print(json.dumps(log[-1]), flush=True)
        if rank == 0 and (step % 500 == 0 or step in {*options.snapshots, *options.steps}):
            whole = {name: tensor.contiguous() for name, tensor in average.items()}
            if step in {*options.snapshots, *options.steps}:
                save_file(whole, options.work / f"average-{step}.safetensors")
            save_file(whole, options.work / "average-latest.safetensors")
            seconds = seen_seconds + time.monotonic() - started
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
                "log": log,
                "seconds": seconds,
            }
            torch.save(state, options.work / "state.tmp")
            (options.work / "state.tmp").replace(state_file)
            (options.work / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def main() -> None:
    """Reads the command line and starts the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[7200, 13200], help="where each cycle ends")
    parser.add_argument("--batch", type=int, default=32, help="per process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=80_000)
    parser.add_argument("--spoilt", type=float, default=0.45, help="share of spoilt pictures")
    parser.add_argument("--wrong-captions", type=float, default=0.2, help="share of captions of another picture")
    parser.add_argument("--tell-flaw", type=float, default=0.25, help="share of spoilt pictures whose caption says so")
    parser.add_argument("--pairs", type=float, default=0.25, help="share of scenes with two objects")
    parser.add_argument("--keep", type=float, default=0.85, help="probability that a caption names an attribute")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--decay", type=float, default=0.3, help="last share of a cycle, in which the rate falls to 0")
    parser.add_argument("--snapshots", type=int, nargs="*", default=[500, 2000])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "rendezvous").unlink(missing_ok=True)
    if options.processes > 1:
        mp.spawn(train, (options,), nprocs=options.processes)
    else:
        train(0, options)


if __name__ == "__main__":
    main()
