"""The start points of rollouts: own samples or trajectories drawn once and kept, or pictures of a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import StudioError
from core.families.base import Conditioning, FamilySpec, Size, join, take
from core.method.schedule import NoiseSchedule
from core.method.tdft import guided_denoiser
from core.training.config import TrainConfig

FILE = "pool.safetensors"


@dataclass(frozen=True)
class Pool:
    """Start points on the CPU.

    Args:
        x_0: (pool, *latent) own samples or encoded pictures; None for start = noise.
        trajectory, estimates: (pool, grid, *latent) every x_t of own trajectories and its x̂_0; start = trajectory alone.
    """

    x_0: Tensor | None = None
    trajectory: Tensor | None = None
    estimates: Tensor | None = None

    def save(self, path: Path) -> None:
        """Keeps the pool, whole or not at all, so that a resumed run trains on the same."""
        staged = path.with_suffix(".tmp")
        named = {"x_0": self.x_0, "trajectory": self.trajectory, "estimates": self.estimates}
        try:
            save_file({name: tensor for name, tensor in named.items() if tensor is not None}, staged)
            os.replace(staged, path)
        except (OSError, SafetensorError) as error:
            staged.unlink(missing_ok=True)
            raise StudioError("The own samples could not be kept.", "Free disk space and start again.") from error

    @classmethod
    def load(cls, path: Path) -> Pool:
        """The pool that `save` kept."""
        try:
            # copies: a mapped file that is cut short later would kill the process
            return cls(**{name: tensor.clone() for name, tensor in load_file(path).items()})
        except (OSError, SafetensorError, TypeError) as error:
            raise StudioError("The run's own samples are damaged.", "Start a new run.") from error


def choose_texts(config: TrainConfig, prompts: Sequence[str]) -> list[str]:
    """One text for each start point: the captions of a folder, or `pool_size` of the prompts in an order of the seed.

    Raises:
        StudioError: there are none, and training is not unconditional.
    """
    if config.start == "images":
        return [text for _, text in read_captioned_images(Path(config.images_folder), config.pool_size)]
    if prompts:
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(config.seed)).tolist()
        return [prompts[order[i % len(order)]] for i in range(config.pool_size)]
    if config.caption_dropout == 1.0:
        return [""] * config.pool_size
    raise StudioError(
        "There are no prompts to train with.",
        "Name a text file with one prompt a line, or set caption_dropout to 1 to train without prompts.",
    )


def conditionings(pipe: Any, family: FamilySpec, texts: Sequence[str], size: Size) -> tuple[Conditioning, Conditioning]:
    """(conditioning of each text, of the empty prompt) on the CPU. Texts that recur are encoded once."""
    unique = list(dict.fromkeys(texts))
    parts = [family.encode_prompt(pipe, unique[i : i + 32], size) for i in range(0, len(unique), 32)]
    place = {text: i for i, text in enumerate(unique)}
    rows = [place[text] for text in texts]
    cond = {name: torch.cat([part[name].cpu() for part in parts])[rows] for name in parts[0]}
    empty = family.encode_prompt(pipe, [""], size, negative=True)
    return cond, {name: tensor.cpu() for name, tensor in empty.items()}


@torch.no_grad()
def draw_pool(
    predict: Callable[[Tensor, Tensor, Conditioning], Tensor],
    cond: Conditioning,
    empty: Conditioning,
    shape: tuple[int, ...],
    grid: Tensor,
    schedule: NoiseSchedule,
    config: TrainConfig,
    device: torch.device,
) -> Iterator[int | Pool]:
    """Own samples: DDIM over the whole grid, one for each row of `cond`, each from a generator of its own.

    Yields the number drawn so far, after every DDIM step, and the pool at the end.

    Cost: `ddim_grid` row-forwards a sample, twice that with guidance.
    """
    count = len(next(iter(cond.values())))
    keep = config.start == "trajectory"
    ends, paths, estimates = [], [], []
    for first in range(0, count, config.batch_size):
        rows = range(first, min(first + config.batch_size, count))
        seeds = [config.seed * 1_000_003 + row for row in rows]
        x = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        x = x.to(device)
        mine = take(cond, slice(rows.start, rows.stop))
        none = {name: tensor.expand(len(rows), *tensor.shape[1:]) for name, tensor in empty.items()}
        guided = guided_denoiser(predict, mine, none, config.pool_omega, join)
        path, estimate = [], []
        for index, level in enumerate(grid.tolist()):
            t = torch.full((len(rows),), level, device=device)
            output = guided(x, t)
            if keep:
                path.append(x.float().cpu())
                estimate.append(schedule.x0(output, x, t).float().cpu())
            following = int(grid[index + 1]) if index + 1 < len(grid) else -1
            x = schedule.ddim_step(output, x, t, torch.full_like(t, following))
            yield rows.start
        ends.append(x.float().cpu())
        if keep:
            paths.append(torch.stack(path, 1))
            estimates.append(torch.stack(estimate, 1))
        yield rows.stop
    yield Pool(torch.cat(ends), torch.cat(paths) if keep else None, torch.cat(estimates) if keep else None)


def read_captioned_images(folder: Path, limit: int) -> list[tuple[Path, str]]:
    """Pictures and captions: `name.txt` beside `name.png`, or `metadata.jsonl` with file_name and text.

    Raises:
        StudioError: no such folder, or no captioned picture in it.
    """
    if not folder.is_dir():
        raise StudioError(f"There is no folder “{folder.name}”.", "Name a folder of captioned images.")
    told: dict[str, str] = {}
    if (folder / "metadata.jsonl").is_file():
        for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                told[str(row["file_name"])] = str(row["text"])
            except (ValueError, KeyError, TypeError) as error:
                raise StudioError("metadata.jsonl has a line that cannot be read.", "Mend that line.") from error
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            continue
        beside = path.with_suffix(".txt")
        if path.name in told:
            found.append((path, told[path.name]))
        elif beside.is_file():
            found.append((path, beside.read_text(encoding="utf-8").strip()))
    if not found:
        raise StudioError(
            f"“{folder.name}” holds no captioned image.",
            "Put name.txt beside each name.png, or a metadata.jsonl with file_name and text.",
        )
    return found[:limit]


def encode_images(pipe: Any, family: FamilySpec, config: TrainConfig, texts: Sequence[str], size: Size) -> Pool:
    """The pictures of the run's folder as latents, cut to the middle and scaled to the size.

    Raises:
        StudioError: a picture cannot be read, or the folder is not the one that `texts` were read from.
    """
    if size.frames != 1:
        raise StudioError("A folder of images cannot start the training of a video model.", "Choose start own.")
    height, width = size.height, size.width
    found = read_captioned_images(Path(config.images_folder), config.pool_size)
    if [text for _, text in found] != list(texts):
        raise StudioError("The folder of images has changed since the run began.", "Start a new run.")
    latents = []
    for path, _ in found:
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise StudioError(f"“{path.name}” is not a readable image.", "Remove it from the folder.") from error
        scale = max(width / image.width, height / image.height)
        image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, height, width, 3)
        latents.append(family.encode_image(pipe, pixels.movedim(-1, 1).float() / 127.5 - 1).float().cpu())
    return Pool(torch.cat(latents))
