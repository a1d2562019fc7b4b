"""Measures a training step beside the published schedule, in one run: row-forwards a sample, time and, on a card, memory.

The rival is written from the official SD1.5 script's formulas with stock parts of diffusers: all weights in training, a second network
that is their running average, and both branches of the reference in every rollout step, although w = -1 leaves one alone.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from core.families.base import Conditioning, FamilySpec, join
from core.families.timing import clock_name, interleaved, peak_bytes, plainly, ratio
from core.method.schedule import NoiseSchedule
from core.method.tdft import renoise
from core.training.config import recipe
from core.training.cost import row_forwards_per_sample
from core.training.material import Material, gather
from core.training.self_npo import SelfNpo
from core.training.start_points import StartPoints
from core.training.trainer import Trainer, make_accelerator

ROLLOUT, GRID, DECAY = 5, 25, 0.999
"""K, the steps of the DDIM grid and the decay of the running average, as in the official script."""


class Official:
    """One step of the published schedule: rollout by the running average with both branches, estimate, renoise, pseudo-Huber on x_0,
    AdamW over all weights, average.

    Args:
        x_0: (batch, *latent) start points on the device.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        family: FamilySpec,
        scheduler: Any,
        x_0: Tensor,
        cond: Conditioning,
        empty: Conditioning,
    ) -> None:
        self.family, self.x_0, self.cond, self.both = family, x_0, cond, join(empty, cond)
        self.student = copy.deepcopy(denoiser).requires_grad_(True)
        self.average = copy.deepcopy(denoiser).requires_grad_(False)
        self.parameters = list(self.student.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-6, weight_decay=1e-3)
        self.scheduler = DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing", clip_sample=False)
        self.scheduler.set_timesteps(GRID, device=x_0.device)
        self.schedule = NoiseSchedule.from_scheduler(scheduler).to(x_0.device)

    def step(self) -> Tensor:
        """The loss of a step, after it."""
        batch, w = len(self.x_0), -1.0
        with torch.no_grad():
            first = int(torch.randint(GRID - ROLLOUT - 1, ()))
            levels = self.scheduler.timesteps[first : first + ROLLOUT + 1]
            x = self.scheduler.add_noise(self.x_0, torch.randn_like(self.x_0), levels[:1].expand(batch))
            for place, t in enumerate(levels):
                at = t.expand(2 * batch)
                low, high = self.family.predict(self.average, torch.cat([x, x]), at, self.both).chunk(2)
                output = high + w * (high - low)
                if place < ROLLOUT:
                    x = self.scheduler.step(output, t, x).prev_sample
            t = levels[-1:].expand(batch)
            x0_hat = self.schedule.x0(output, x, t)
            s = torch.randint(int(levels[-1]), self.schedule.timesteps, (batch,), device=x.device)
            x_s = renoise(x, t, s, torch.randn_like(x), self.schedule)
        prediction = self.schedule.x0(self.family.predict(self.student, x_s, s, self.cond), x_s, s)
        loss = (((prediction - x0_hat).float() ** 2 + 1e-6).sqrt() - 1e-3).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for average, now in zip(self.average.parameters(), self.parameters, strict=True):
                average.lerp_(now, 1 - DECAY)
        return loss.detach()


@contextmanager
def _counted(*networks: nn.Module) -> Iterator[Callable[[], int]]:
    """Counts the row-forwards of these networks; one with a gradient counts three times, for its backward."""
    rows = 0

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal rows
        sample = kwargs["sample"] if "sample" in kwargs else args[0] if args else kwargs["hidden_states"]
        rows += len(sample) * (3 if torch.is_grad_enabled() else 1)

    handles = [network.register_forward_pre_hook(count, with_kwargs=True) for network in networks]
    try:
        yield lambda: rows
    finally:
        for handle in handles:
            handle.remove()


def bench_training(
    pipe: Any, family: FamilySpec, *, rounds: int = 7, batch: int = 4, cpu: bool = False, threads: int = 1
) -> dict[str, Any]:
    """A step of each training on random start points: the published schedule, the same targets from one branch of a frozen base for a
    LoRA, and own trajectories, whose every x_t is a target without a rollout.

    Args:
        rounds: each is done once in each round, in turn.
        batch: samples of a step.

    Cost: three networks in memory and (15 + 9 + 3) * batch row-forwards a round, and as many to warm up.
    """
    if threads:
        torch.set_num_threads(threads)
    official: dict[str, Any] = {
        "weights": "lora",
        "reference": "frozen",
        "rollout_steps": ROLLOUT,
        "ddim_grid": GRID,
        "rollout_guidance": -1.0,
        "loss": "pseudo_huber",
        "loss_on": "x0",
        "batch_size": batch,
        "pool_size": batch,
        "steps": 1000,
        "caption_dropout": 0.0,
        "gradient_checkpointing": False,
        "precision": "no",
        "rank": 8,
    }
    settings = {
        "same targets, one branch, LoRA": recipe("studio", start="own", **official),
        "own trajectories, LoRA": recipe("studio", start="trajectory", **official),
    }
    first = next(iter(settings.values()))
    accelerator = make_accelerator(first, cpu)
    pipe.to(accelerator.device)
    with tempfile.TemporaryDirectory() as folder:
        material = gather(first, Path(folder), pipe, family, ["a"] * batch, accelerator)
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn((batch, *material.shape), generator=generator)
    paths = torch.randn((2, batch, GRID, *material.shape), generator=generator)
    points = {"own": StartPoints(x_0), "trajectory": StartPoints(x_0, paths[0], paths[1])}
    denoiser = family.denoiser(pipe)
    ours = _trainers(settings, family, denoiser, material, points, accelerator)
    cond = {name: tensor.to(accelerator.device) for name, tensor in material.cond.items()}
    rival = Official(
        denoiser, family, pipe.scheduler, x_0.to(next(denoiser.parameters())), cond, material.without_prompt(cond)
    )
    steps: dict[str, Callable[[], Any]] = {"official schedule": rival.step}
    networks: dict[str, tuple[nn.Module, ...]] = {"official schedule": (rival.student, rival.average)}
    for name, (trainer, objective) in ours.items():
        steps[name] = lambda trainer=trainer, objective=objective: trainer.step(objective)  # type: ignore[misc]
        networks[name] = (trainer.denoiser,)
    counted = {}
    for name, step in steps.items():
        with _counted(*networks[name]) as rows:
            step()
            counted[name] = rows() / batch
    times, _ = interleaved({name: plainly(step) for name, step in steps.items()}, rounds, accelerator.device, warm_up=0)
    pool = {name: row_forwards_per_sample(setting) - counted[name] for name, setting in settings.items()}
    peak = peak_bytes(accelerator.device)
    return {
        "floor": "official schedule",
        "rival": "official schedule",
        "device": str(accelerator.device),
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "clock": clock_name(accelerator.device),
        "rounds": rounds,
        "batch_rows": batch,
        "peak_gib_of_all": None if peak is None else round(peak / 2**30, 2),
        "rows": [
            {
                "way": name,
                "time": ratio(times[name], times["official schedule"]),
                "row_forwards": round(counted[name], 2),
                "with_own_samples": round(counted[name] + max(0.0, pool.get(name, 0.0)), 2),
                "milliseconds": round(1000 * statistics.median(times[name]) / batch, 2),
            }
            for name in steps
        ],
    }


def _trainers(
    settings: dict[str, Any],
    family: FamilySpec,
    denoiser: nn.Module,
    material: Material,
    points: dict[str, StartPoints],
    accelerator: Any,
) -> dict[str, tuple[Trainer, SelfNpo]]:
    """A trainer of each setting on a network of its own."""
    return {
        name: (
            Trainer(setting, family, copy.deepcopy(denoiser), accelerator),
            SelfNpo(setting, material, points[setting.start]),
        )
        for name, setting in settings.items()
    }
