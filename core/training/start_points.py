"""The start points of a training: own samples or trajectories drawn once and kept, or pictures of a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.errors import StudioError
from core.families.base import Conditioning, join, take
from core.method.tdft import guided_denoiser
from core.offsets.tensors import write_tensors
from core.training.config import TrainConfig
from core.training.material import Material, captioned_images_of, pairs_of
from core.training.pairs import opened
from core.training.pictures import encode, open_picture

FILE = "pool.safetensors"


@dataclass(frozen=True)
class StartPoints:
    """Start points on the CPU.

    Args:
        x_0: (points, *latent) own samples or encoded pictures; None for start = noise.
        spread: (points, *latent) standard deviation of the encoder's distribution, where latents are drawn from it.
        rejected: (points, *latent) the rejected picture of each pair, beside the preferred one in x_0.
        rows: (points,) which text each point belongs to, where it is not the text at its own place.
        crops: (points, 2) pixels from the top and from the left at which each picture was cut, where places are random.
        trajectory, estimates: (points, grid, *latent) every x_t of own trajectories and its x̂_0; start = trajectory alone.
    """

    x_0: Tensor | None = None
    trajectory: Tensor | None = None
    estimates: Tensor | None = None
    spread: Tensor | None = None
    crops: Tensor | None = None
    rejected: Tensor | None = None
    rows: Tensor | None = None

    def drawn(self, chosen: Tensor, random: torch.Generator) -> Tensor:
        """The chosen points, (rows, *latent); from the encoder's distribution where its spread is kept."""
        assert self.x_0 is not None
        x_0 = self.x_0[chosen]
        if self.spread is None:
            return x_0
        return x_0 + self.spread[chosen] * torch.randn(x_0.shape, generator=random)

    def save(self, path: Path) -> None:
        """Keeps the start points, whole or not at all, so that a resumed run trains on the same.

        Raises:
            DiskFull: there is no room.
            StudioError: one of them is NaN or infinite, or the disk refuses.
        """
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        # some encoders answer in another order of memory, which the file format refuses
        tensors = {name: tensor.contiguous() for name, tensor in named.items() if tensor is not None}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise StudioError(
                "The start points became NaN or infinite; nothing was saved.",
                "Choose precision bf16 or no, and check that the base model renders pictures.",
            )
        write_tensors(path, tensors, {"kind": "start points"})

    @classmethod
    def load(cls, path: Path) -> StartPoints:
        """The start points that `save` kept."""
        try:
            # copies: a mapped file that is cut short later would kill the process
            return cls(**{name: tensor.clone() for name, tensor in load_file(path).items()})
        except (OSError, SafetensorError, TypeError) as error:
            raise StudioError("The run's own samples are damaged.", "Start a new run.") from error


@dataclass(frozen=True)
class DrawnSamples:
    """A batch of own samples is finished: how many there are so far, and the batch as latents, (rows, *latent), on the CPU."""

    done: int
    x_0: Tensor


MOST_AT_ONCE = 64
"""Own samples of one batch on a card."""


class _Batches:
    """How many samples are drawn at once. On a card four times the rows of a step, whose backward takes more memory than
    they do, and half as many whenever there is no room; on a processor larger batches gain nothing."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        many = device.type == "cuda"
        self.rows = max(config.batch_size, min(MOST_AT_ONCE, 4 * config.batch_size)) if many else config.batch_size

    def halve(self, error: RuntimeError) -> None:
        """After a batch found no room: half as many from now on.

        Raises:
            RuntimeError: the error itself, where it is another one, or one sample alone found no room.
        """
        if not should_reduce_batch_size(error) or self.rows == 1:
            raise error
        self.rows = self.rows // 2


@torch.no_grad()
def draw_own_samples(
    predict: Callable[[Tensor, Tensor, Conditioning], Tensor],
    material: Material,
    config: TrainConfig,
    device: torch.device,
    first_seed: int = 0,
) -> Iterator[int | DrawnSamples | StartPoints]:
    """Own samples: DDIM over the whole grid, one for each text of the material, each from its own generator.

    Yields the number drawn so far after every DDIM step, each finished batch, and the start points at the end.

    Args:
        predict: (x_t, t, conditioning) -> output of the base.
        first_seed: added to the seeds, so that rounds of samples differ.

    Cost: `ddim_grid` row-forwards a sample, twice that with guidance.
    """
    conditioning = material.cond
    if config.method == "fine-tuning" and material.flawed is not None:
        conditioning = material.flawed
    keep = config.start == "trajectory"
    ends, paths, estimates = [], [], []
    batches, first = _Batches(config, device), 0
    while first < material.count:
        rows = range(first, min(first + batches.rows, material.count))
        path: list[Tensor] = []
        estimate: list[Tensor] = []
        try:
            x = yield from _ddim(predict, material, config, conditioning, rows, first_seed, device, (path, estimate))
        except RuntimeError as error:
            batches.halve(error)
            continue
        ends.append(x.float().cpu())
        if keep:
            paths.append(torch.stack(path, 1))
            estimates.append(torch.stack(estimate, 1))
        first = rows.stop
        yield DrawnSamples(first, ends[-1])
    yield StartPoints(torch.cat(ends), torch.cat(paths) if keep else None, torch.cat(estimates) if keep else None)


def _ddim(
    predict: Callable[[Tensor, Tensor, Conditioning], Tensor],
    material: Material,
    config: TrainConfig,
    conditioning: Conditioning,
    rows: range,
    first_seed: int,
    device: torch.device,
    kept: tuple[list[Tensor], list[Tensor]],
) -> Generator[int, None, Tensor]:
    """The latents of these rows at the end of the grid; yields the number before them after each step. `kept` gets every x_t and its x̂_0 for start = trajectory."""
    grid, schedule = material.grid, material.schedule
    seeds = [config.seed * 1_000_003 + first_seed + row for row in rows]
    x = torch.stack([torch.randn(material.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    x = x.to(device)
    cond = take(conditioning, slice(rows.start, rows.stop))
    empty = {name: tensor.expand(len(rows), *tensor.shape[1:]) for name, tensor in material.empty.items()}
    guided = guided_denoiser(predict, cond, empty, config.pool_omega, join)
    for index, level in enumerate(grid.tolist()):
        t = torch.full((len(rows),), level, device=device)
        output = guided(x, t)
        if config.start == "trajectory":
            kept[0].append(x.float().cpu())
            kept[1].append(schedule.x0(output, x, t).float().cpu())
        following = int(grid[index + 1]) if index + 1 < len(grid) else -1
        x = schedule.ddim_step(output, x, t, torch.full_like(t, following))
        yield rows.start
    return x


def encoded_pictures(pipe: Any, config: TrainConfig, material: Material) -> StartPoints:
    """The pictures of the run's folder as latents, cut to the middle and scaled to the size.

    Raises:
        StudioError: a picture cannot be read, or the folder is not the one that the texts were read from.
    """
    pictures = captioned_images_of(config)
    check_texts(material.texts, [text for _, text in pictures])
    random = config.crop == "random"
    paths = [path for path, _ in pictures]
    encoded = encode(pipe, map(open_picture, paths), material.size, config.seed if random else None)
    return StartPoints(
        encoded.mode,
        spread=encoded.spread if config.latents == "sample" else None,
        crops=encoded.crops if random else None,
    )


def encoded_pairs(pipe: Any, config: TrainConfig, material: Material) -> StartPoints:
    """The pairs of the run as latents; a picture that recurs is encoded once.

    Raises:
        StudioError: as `read_pairs`; or they are not those that the run began with.
    """
    pairs = pairs_of(config)
    check_texts(material.texts, [pair.prompt for pair in pairs])
    contents = list(dict.fromkeys(content for pair in pairs for content in (pair.preferred, pair.rejected)))
    place = {content: number for number, content in enumerate(contents)}
    encoded = encode(pipe, (opened(content, "") for content in contents), material.size).mode
    preferred, rejected = (
        torch.stack([encoded[place[content]] for content in part])
        for part in ([pair.preferred for pair in pairs], [pair.rejected for pair in pairs])
    )
    return StartPoints(preferred, rejected=rejected)


def check_texts(began_with: Sequence[str], now: Sequence[str]) -> None:
    """Whether a folder still holds what the run began with.

    Raises:
        StudioError: it does not.
    """
    if list(began_with) != list(now):
        raise StudioError("The folder of images has changed since the run began.", "Start a new run.")
