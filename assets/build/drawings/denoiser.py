"""Trains the denoiser and text encoder of the drawings, on scenes drawn while it trains.

    python -m assets.build.drawings.denoiser WORK --steps 100000

WORK holds `drawings.npy` (`assets.build.drawings.sets`), and keeps the latents' basis (`basis.safetensors`), the state
(`state.pt`: the same command goes on from it) and the log. The learning rate is constant, so that training can be cut
off and go on; with `--cool N` it falls to nothing over the last N steps before `--steps`. Every `--chunk` scenes are
drawn once and used three times, with new noise and new captions.

The noise prediction is weighted by min(SNR + 1, 5) / SNR, capped, as the world of shapes had it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from assets.build.denoiser import loss_weight
from assets.build.drawings.latents import PatchBasis, fit_basis
from assets.build.drawings.layout import Miniature
from assets.build.drawings.muon import Muon
from assets.build.drawings.render import Drawings, as_input, render
from assets.build.layout import make_scheduler
from core.method.schedule import NoiseSchedule
from core.miniature.drawings.scene import caption, sample_scene
from core.miniature.language import Scene

WARMUP = 100
PASSES = 3


def draw_chunk(number: int, options: argparse.Namespace, drawings: Drawings, basis: PatchBasis):
    """The scenes of one chunk and their scaled latents in float16; the same number gives the same chunk."""
    rng = np.random.default_rng([options.seed, number])
    scenes: list[Scene] = []
    latents = []
    for start in range(0, options.chunk, 250):
        batch = [
            sample_scene(rng, pairs=options.pairs, spoilt=options.spoilt)
            for _ in range(min(250, options.chunk - start))
        ]
        scenes += batch
        latents.append((basis.encode(as_input(render(batch, drawings))) * basis.scaling_factor).half())
    return scenes, torch.cat(latents)


def save(file: Path, state: dict) -> None:
    """Writes the state so that a cut-off leaves the last one whole."""
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)


def batch_captions(scenes: list[Scene], chosen: list[int], rng: np.random.Generator, options) -> list[str]:
    """A caption for each chosen scene; some are another scene's, some are empty."""
    captions = []
    for index in chosen:
        if rng.random() < options.wrong_captions:
            index = int(rng.integers(len(scenes)))
        empty = rng.random() < 0.1
        captions.append("" if empty else caption(scenes[index], rng, keep=options.keep, tell_flaw=options.tell_flaw))
    return captions


def train(options: argparse.Namespace) -> None:
    """Trains from the kept state, or from nothing."""
    torch.set_num_threads(1)
    drawings = Drawings.load(options.work / "drawings.npy")
    basis_file = options.work / "basis.safetensors"
    if not basis_file.exists():
        fit_basis(drawings, 0, spoilt=0.3).save(basis_file)
    basis = PatchBasis.load(basis_file)
    torch.manual_seed(options.seed)
    model = Miniature()
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = Muon.of(model, options.learning_rate)
    step, log, seen_seconds, fresh = 0, [], 0.0, 0
    state_file = options.work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        average, step, log, seen_seconds = state["average"], state["step"], state["log"], state["seconds"]
        fresh = state.get("fresh", step)
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
    schedule = NoiseSchedule.from_scheduler(make_scheduler())
    weight = loss_weight(schedule)
    rng = np.random.default_rng([options.seed, 1, step])
    noise_rng = torch.Generator().manual_seed(options.seed * 100_003 + step)
    number, scenes, latents = -1, [], torch.empty(0)
    order: list[int] = []
    saved, started = time.monotonic(), time.process_time()
    losses: list[Tensor] = []
    while step < options.steps:
        wanted = step * options.batch // (options.chunk * PASSES)
        if wanted != number:
            number, order = wanted, []
            scenes, latents = draw_chunk(number, options, drawings, basis)
        falling = (options.steps - step) / options.cool if options.cool else 1.0
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * min(1.0, (step - fresh + 1) / WARMUP, falling)
        if len(order) < options.batch:
            order = rng.permutation(len(latents)).tolist()
        chosen, order = order[: options.batch], order[options.batch :]
        captions = batch_captions(scenes, chosen, rng, options)
        x_0 = latents[chosen].float()
        t = torch.randint(0, schedule.timesteps, (options.batch,), generator=noise_rng)
        noise = torch.randn(x_0.shape, generator=noise_rng)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(schedule.noise(x_0, noise, t), t, captions)
        loss = (weight[t] * (output.float() - noise).square().flatten(1).mean(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                keep = min(0.9998, (1 + step) / (10 + step))
                average[name].lerp_(tensor, 1 - keep) if tensor.is_floating_point() else average[name].copy_(tensor)
        losses.append(loss.detach())
        seconds = round(seen_seconds + time.process_time() - started, 1)
        if step % 50 == 0:
            log.append({"step": step, "loss": round(float(torch.stack(losses).mean()), 5), "cpu_seconds": seconds})
            losses = []
            print(json.dumps(log[-1]), flush=True)
        if time.monotonic() - saved > 240 or step in {options.steps, *options.snapshots}:
            saved = time.monotonic()
            state = {"model": model.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
            state |= {"step": step, "log": log, "seconds": seconds, "fresh": fresh}
            save(state_file, state)
            if step in options.snapshots:
                save(options.work / f"state-{step}.pt", state)
            (options.work / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--cool", type=int, default=0, help="last steps in which the learning rate falls to 0")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=24_000)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--spoilt", type=float, default=0.2, help="share of spoilt pictures")
    parser.add_argument("--wrong-captions", type=float, default=0.05, help="share of captions of another picture")
    parser.add_argument("--tell-flaw", type=float, default=0.5, help="share of spoilt pictures whose caption says so")
    parser.add_argument("--pairs", type=float, default=0.2, help="share of scenes with two things")
    parser.add_argument("--keep", type=float, default=0.85, help="probability that a caption names an attribute")
    parser.add_argument("--snapshots", type=int, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    train(options)


if __name__ == "__main__":
    main()
