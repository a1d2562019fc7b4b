"""Trains a miniature's denoiser and text encoders together, on the unfiltered world.

    python -m assets.build.denoiser WORK --steps 7200 11700 --processes 2
    python -m assets.build.denoiser WORK-XL --layout sdxl --steps 1000 --processes 2 --scenes 24000 \
        --teacher assets/miniature-sd15 --learning-rate 5e-4 --wrong-captions 0
    python -m assets.build.denoiser WORK-VIDEO --layout cogvideox --steps 4000 --processes 2 --learning-rate 1e-3

Each number of steps ends a cycle: the learning rate is constant, falls to nothing in the cycle's last part, and the
next cycle begins at the full rate again. WORK keeps the state (`state.pt`, so that the same command goes on), the averaged weights at chosen steps, and the log.
The noise prediction is weighted by min(SNR + 1, 5) / SNR, capped: in units of x_0 the noisy steps, where place and
arrangement are decided, count as much as the others.

With a teacher, a trained miniature of the same latents, the target is what the teacher says for the same caption instead
of the noise, which has far more variance.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from assets.build.latents import fit_basis
from assets.build.layout import TOKENS, asset, make_scheduler, make_text_encoder, make_tokenizer, make_unet
from core.method.schedule import NoiseSchedule, Prediction
from core.miniature.language import Scene
from core.miniature.world.render import render
from core.miniature.world.scene import caption, sample_scene

WARMUP = 200


class Miniature(nn.Module):
    """UNet and text encoder of the SD1.5 layout as one module, so that they are trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(self.tokenizer)
        self.unet = make_unet()
        # on a CPU the plain attention trains faster than the fused one at this size
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, x_t: Tensor, t: Tensor, captions: list[str]) -> Tensor:
        tokens = tokenize(self.tokenizer, captions)
        return self.unet(x_t, t, self.text_encoder(tokens).last_hidden_state).sample


def tokenize(tokenizer, captions: list[str]) -> Tensor:
    """(batch, TOKENS) ids, padded as the pipeline pads."""
    return tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def make_model(layout: str) -> nn.Module:
    """An untrained miniature of that layout; the XL one begins with what the bundled SD1.5 miniature has learned."""
    if layout == "sd15":
        return Miniature()
    if layout == "cogvideox":
        from assets.build.video import MiniatureVideo

        return MiniatureVideo()
    from assets.build.sdxl import MiniatureXL

    model = MiniatureXL()
    model.start_from(asset("miniature-sd15"))
    return model


Teller = Callable[[int, np.random.Generator], str]
"""(index of a training picture, random generator) -> a caption of it."""


def training_data(options: argparse.Namespace, rank: int) -> tuple[Tensor, Teller, Any]:
    """Scaled latents of this process's share of the scenes, how to caption them, and the model's scheduler."""
    seed, count = options.seed + 1000 * (rank + 1), options.scenes // options.processes
    if options.layout == "cogvideox":
        from assets.build import video
        from core.miniature.world.video import describe

        videos, latents = video.draw_videos(count, seed, video.fit_basis())
        return latents, lambda index, rng: describe(videos[index].attributes), video.make_scheduler()
    basis = fit_basis(0, spoilt=options.spoilt)
    scenes, latents = draw_world(count, seed, options.spoilt, options.pairs, basis)

    def tell(index: int, rng: np.random.Generator) -> str:
        return caption(scenes[index], rng, keep=options.keep, tell_flaw=options.tell_flaw)

    return latents, tell, make_scheduler()


def draw_world(count: int, seed: int, spoilt: float, pairs: float, basis) -> tuple[list[Scene], Tensor]:
    """`count` scenes and their scaled latents in float16."""
    rng = np.random.default_rng(seed)
    scenes, latents = [], []
    for _ in range(0, count, 128):
        batch = [sample_scene(rng, pairs=pairs, spoilt=spoilt) for _ in range(128)]
        scenes += batch
        latents.append((basis.encode(render(batch) * 2 - 1) * basis.scaling_factor).half())
    return scenes, torch.cat(latents)


def loss_weight(schedule: NoiseSchedule) -> Tensor:
    """(timesteps,) weight of the squared error. Of v it is one everywhere: in units of x_0 that is SNR + 1."""
    if schedule.prediction is Prediction.V:
        return torch.ones(schedule.timesteps)
    snr = schedule.signal_to_noise(torch.arange(schedule.timesteps))
    return ((snr + 1).clamp(max=5) / snr).clamp(max=30)


def target(schedule: NoiseSchedule, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the network should say: the noise, or v = alpha_t noise - sigma_t x_0."""
    if schedule.prediction is Prediction.EPSILON:
        return noise
    alpha_t, sigma_t = schedule.at(t, x_0)
    return alpha_t * noise - sigma_t * x_0


def load_teacher(folder: Path) -> Callable[[Tensor, Tensor, list[str]], Tensor]:
    """(x_t, t, captions) -> the prediction of a trained miniature of the SD1.5 layout."""
    from core.families import get

    family = get("sd15")
    pipe = family.load(folder)
    pipe.unet.set_attn_processor(AttnProcessor())

    @torch.no_grad()
    def predict(x_t: Tensor, t: Tensor, captions: list[str]) -> Tensor:
        return family.predict(pipe.unet, x_t, t, family.encode_prompt(pipe, captions))

    return predict


def train(rank: int, options: argparse.Namespace) -> None:
    """One process of the training."""
    torch.set_num_threads(1)
    if options.processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{options.work / 'rendezvous'}", rank=rank, world_size=options.processes
        )
    seed = options.seed + 1000 * (rank + 1)
    latents, tell, scheduler = training_data(options, rank)
    torch.manual_seed(options.seed)
    model = make_model(options.layout)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    average = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(trained, lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    step, log, seen_seconds = 0, [], 0.0
    state_file = options.work / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, log, seen_seconds = state["average"], state["step"], state["log"], state["seconds"]
    wrapped = DistributedDataParallel(model) if options.processes > 1 else model
    schedule = NoiseSchedule.from_scheduler(scheduler)
    teacher = load_teacher(options.teacher) if options.teacher else None
    weight = loss_weight(schedule)
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
            order = rng.permutation(len(latents)).tolist()
        chosen, order = order[: options.batch], order[options.batch :]
        captions = []
        for index in chosen:
            if rng.random() < options.wrong_captions:
                index = int(rng.integers(len(latents)))
            empty = rng.random() < 0.1
            captions.append("" if empty else tell(index, rng))
        x_0 = latents[chosen].float()
        t = torch.randint(0, schedule.timesteps, (options.batch,), generator=noise_rng)
        noise = torch.randn(x_0.shape, generator=noise_rng)
        x_t = schedule.noise(x_0, noise, t)
        with torch.autocast("cpu", torch.bfloat16):
            output = wrapped(x_t, t, captions)
            wanted = target(schedule, x_0, noise, t) if teacher is None else teacher(x_t, t, captions)
        difference = output.float() - wanted.float()
        loss = (weight[t] * difference.square().flatten(1).mean(1)).mean()
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
    parser.add_argument("--layout", choices=("sd15", "sdxl", "cogvideox"), default="sd15")
    parser.add_argument("--steps", type=int, nargs="+", default=[7200, 11700], help="where each cycle ends")
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
    parser.add_argument("--teacher", type=Path, help="a trained miniature of the SD1.5 layout to learn from")
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
