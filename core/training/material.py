"""What a training is made from, gathered once: its texts and their conditionings, the noise schedule, the grid, the size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from core.errors import StudioError
from core.families.base import Conditioning, FamilySpec, Size, take
from core.method.schedule import NoiseSchedule, ddim_grid
from core.training.config import TrainConfig
from core.training.draws import on_device
from core.training.pairs import Pair, read_pairs
from core.training.pictures import read_captioned_images
from core.training.resume import fingerprint, fixed_texts

PLACES = ("time_ids",)
"""What a conditioning tells of a picture's shape and not of its text: the empty prompt has it as the prompt has."""


@dataclass(frozen=True)
class Material:
    """What every step of a run draws from.

    Args:
        base: fingerprint of the base's denoiser.
        texts: one for each start point.
        cond: conditioning of the texts, one row each, on the CPU.
        empty: conditioning of the empty prompt, one row, on the CPU.
        flawed: conditioning of what one does not want, one row for each text: the text with a flaw, which own samples are drawn
            with, or for distillation the flaw alone; None where the settings name no flaw.
        schedule: of the model, on the training device.
        grid: (ddim_grid,) timesteps, noisiest first.
        size: of the pictures or videos; `shape`: of one latent.
    """

    base: str
    texts: list[str]
    cond: Conditioning
    empty: Conditioning
    flawed: Conditioning | None
    schedule: NoiseSchedule
    grid: Tensor
    size: Size
    shape: tuple[int, ...]

    def at_crops(self, crops: Tensor | None) -> Material:
        """The same material with each picture's place given to a model that takes one (SDXL's time ids: original height
        and width, top and left of the cut, target height and width).

        Args:
            crops: (texts, 2) pixels from the top and from the left, or None for material as it is.
        """
        if crops is None or "time_ids" not in self.cond:
            return self
        ids = self.cond["time_ids"].clone()
        ids[:, 2:4] = crops.to(ids)
        return replace(self, cond={**self.cond, "time_ids": ids})

    def without_prompt(self, cond: Conditioning) -> Conditioning:
        """The empty prompt's conditioning for the rows of `cond`, at their own places in their pictures."""
        rows = len(next(iter(cond.values())))
        empty = {
            name: on_device(one, cond[name].device).expand(rows, *one.shape[1:]) for name, one in self.empty.items()
        }
        return {**empty, **{name: cond[name] for name in PLACES if name in cond}}

    def first(self, count: int) -> Material:
        """The material of the first start points alone."""
        rows = slice(count)
        flawed = self.flawed and take(self.flawed, rows)
        return replace(self, texts=self.texts[rows], cond=take(self.cond, rows), flawed=flawed)

    def repeated(self, times: int) -> Material:
        """The material with each text `times` times, one after the other."""
        cond = {name: tensor.repeat_interleave(times, 0) for name, tensor in self.cond.items()}
        return replace(self, texts=[text for text in self.texts for _ in range(times)], cond=cond, flawed=None)

    @property
    def count(self) -> int:
        """How many start points there are."""
        return len(self.texts)


def gather(
    config: TrainConfig, folder: Path, pipe: Any, family: FamilySpec, prompts: Sequence[str], accelerator: Accelerator
) -> Material:
    """The material of a run; a large text encoder is freed afterwards.

    Args:
        pipe: the pristine pipeline, on the training device.
        prompts: texts to train with, where no folder gives them.

    Raises:
        StudioError: no texts, or the base or the size does not fit the run.
    """
    base = fingerprint(family.denoiser(pipe))
    if accelerator.is_main_process:
        fixed_texts(folder, base, lambda: choose_texts(config, prompts))
    accelerator.wait_for_everyone()
    texts = fixed_texts(folder, base, lambda: choose_texts(config, prompts))
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler).to(accelerator.device)
    size = size_of(config, family.defaults(pipe).size)
    shape = family.latent_shape(pipe, size)
    spacing = config.grid_spacing
    if spacing == "model":
        spacing = pipe.scheduler.config.get("timestep_spacing", "leading")
    grid = ddim_grid(schedule.timesteps, config.ddim_grid, spacing=spacing)
    cond, empty = conditionings(pipe, family, texts, size)
    flawed = conditionings(pipe, family, flawed_texts(config, texts), size)[0] if config.flaw_list else None
    if family.large_text_encoder:
        family.free_text_encoders(pipe)
    return Material(base, texts, cond, empty, flawed, schedule, grid, size, shape)


def size_of(config: TrainConfig, standard: Size) -> Size:
    """The size trained at: the settings', and the model's own where they are 0."""
    return standard.with_chosen(config.height, config.width, config.frames)


def choose_texts(config: TrainConfig, prompts: Sequence[str]) -> list[str]:
    """One text for each start point: the captions of a folder, or `pool_size` of the prompts in an order of the seed.

    Raises:
        StudioError: there are none, and training is not unconditional.
    """
    if config.start == "images":
        return [text for _, text in captioned_images_of(config)]
    if config.start == "pairs":
        return [pair.prompt for pair in pairs_of(config)]
    if prompts:
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(config.seed)).tolist()
        return [prompts[order[i % len(order)]] for i in range(config.pool_size)]
    if config.caption_dropout == 1.0:
        return [""] * config.pool_size
    raise StudioError(
        "There are no prompts to train with.",
        "Choose a text file with one prompt per line, or set caption_dropout to 1 to train without prompts.",
    )


def captioned_images_of(config: TrainConfig) -> list[tuple[Path, str]]:
    """The pictures and captions of the run's folder; rollouts need captions, other methods do not.

    Raises:
        StudioError: as `read_captioned_images`.
    """
    return read_captioned_images(Path(config.images_folder), config.pool_size, config.method == "self-npo")


def pairs_of(config: TrainConfig) -> list[Pair]:
    """The first `pool_size` pairs of the run's source, or all.

    Raises:
        StudioError: as `read_pairs`.
    """
    return read_pairs(Path(config.pairs), config.batch_size)[: config.pool_size or None]


def flawed_texts(config: TrainConfig, texts: Sequence[str]) -> list[str]:
    """What one does not want, for each text: the flaws in turn, behind the text; for distillation alone."""
    flaws = [config.flaw_list[number % len(config.flaw_list)] for number in range(len(texts))]
    if config.method == "distillation":
        return flaws
    return [f"{text}, {flaw}" if text else flaw for text, flaw in zip(texts, flaws, strict=True)]


def conditionings(pipe: Any, family: FamilySpec, texts: Sequence[str], size: Size) -> tuple[Conditioning, Conditioning]:
    """(conditioning of each text, of the empty prompt) on the CPU. Texts that recur are encoded once."""
    unique = list(dict.fromkeys(texts))
    parts = [family.encode_prompt(pipe, unique[i : i + 32], size) for i in range(0, len(unique), 32)]
    place = {text: i for i, text in enumerate(unique)}
    rows = [place[text] for text in texts]
    cond = {name: torch.cat([part[name].cpu() for part in parts])[rows] for name in parts[0]}
    empty = family.encode_prompt(pipe, [""], size, negative=True)
    return cond, {name: tensor.cpu() for name, tensor in empty.items()}
