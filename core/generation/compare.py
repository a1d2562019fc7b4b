"""Renders the same prompt and seeds under several guidance settings, side by side, through the stock pipeline.

All columns that share an omega are one batch behind the row gate. Every image has a random generator of its own, so
its start does not depend on the batch; the arithmetic of a batch may round in the last bits otherwise than that of
another batch size, which leaves a pixel value equal or one level of 255 away.

Cost of an image: 2 row-forwards a step, 1 where omega = 0, whatever alpha and beta are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.errors import StudioError
from core.families.base import Conditioning, FamilySpec, Size
from core.generation.comparison import Comparison
from core.generation.inputs import InputImage, arguments_with, callback_for, fitting, pipeline_with, steps_with
from core.generation.limits import check_size
from core.method.guidance import GuidanceWeights
from core.offsets.offset import Offset
from core.offsets.row_gate import row_gate


class Cancelled(StudioError):
    """The person stopped the rendering; nothing is wrong."""

    def __init__(self) -> None:
        super().__init__("Stopped.")


@dataclass(frozen=True)
class RenderedImage:
    """One finished image, or video of several frames; `column` counts in the comparison's columns."""

    column: int
    seed: int
    weights: GuidanceWeights
    frames: tuple[Image.Image, ...]

    @property
    def image(self) -> Image.Image:
        """The image; of a video its middle frame."""
        return self.frames[len(self.frames) // 2]


@dataclass(frozen=True)
class StepPreview:
    """A step is done. `images` are rough pictures in the order column by column, seed by seed, of the batch at hand;
    `columns` are the columns in it. `step` counts over all batches."""

    step: int
    steps: int
    columns: tuple[int, ...]
    images: tuple[Image.Image, ...]


def start_latents(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Unit Gaussian latents, one generator for each seed: (seeds, *shape), float32 on the CPU."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


_preview_maps: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()


@torch.no_grad()
def _preview_map(pipe: Any, family: FamilySpec) -> Tensor:
    """The linear map from a latent to its colour, (channels + 1, 3): least squares over smooth random pictures that
    the model's own VAE encodes. Fitted once for each VAE, for any number of latent channels."""
    if pipe.vae not in _preview_maps:
        noise = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
        pictures = F.interpolate(noise, size=(128, 128), mode="bicubic").clamp(-1, 1)
        latents = _one_frame(family.encode_image(pipe, pictures.to(pipe.vae.device)).float().cpu())
        colours = F.adaptive_avg_pool2d(pictures, (latents.shape[2], latents.shape[3])).movedim(1, -1).reshape(-1, 3)
        known = F.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
        _preview_maps[pipe.vae] = torch.linalg.lstsq(known, colours).solution
    return _preview_maps[pipe.vae]


def _one_frame(latents: Tensor) -> Tensor:
    """The latents themselves; of videos (batch, frames, channels, height, width) the middle frame's."""
    return latents[:, latents.shape[1] // 2] if latents.ndim == 5 else latents


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Pictures of (batch, 3, height, width) in [-1, 1], clipped."""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]


def rough_images(pipe: Any, family: FamilySpec, latents: Tensor) -> list[Image.Image]:
    """A cheap picture of each latent, one pixel each, by the linear preview map."""
    known = F.pad(_one_frame(latents).float().cpu().movedim(1, -1), (0, 1), value=1.0)
    return to_images((known @ _preview_map(pipe, family)).movedim(-1, 1))


def decode(
    pipe: Any, family: FamilySpec, latents: Tensor, on_note: Callable[[str], None] = lambda note: None
) -> list[tuple[Image.Image, ...]]:
    """The frames of each of the final latents, a few at a time; tried again in float32 where half precision gives no
    numbers or nothing but black, and `on_note` is told.

    Raises:
        StudioError: the latents or the VAE's output are no numbers.
    """
    if not bool(torch.isfinite(latents).all()):
        raise StudioError("Sampling ended in values that are no numbers.", "Use a smaller ω or β, or full precision.")
    results: list[tuple[Image.Image, ...]] = []
    # decoding takes far more memory than a row of sampling: of a model of 512 pixels one at a time, of a small one several
    at_once = max(1, 64**2 // (latents.shape[-2] * latents.shape[-1])) if latents.ndim == 4 else 1
    for part in latents.split(at_once):
        pixels = family.decode_latents(pipe, part)
        spoilt = not bool(torch.isfinite(pixels).all()) or bool((pixels.flatten(1).amax(1) <= -0.99).any())
        if spoilt and pipe.vae.dtype != torch.float32:
            pipe.vae.to(torch.float32)
            on_note("The VAE gave a black image in half precision; it was decoded again in float32.")
            pixels = family.decode_latents(pipe, part)
        if not bool(torch.isfinite(pixels).all()):
            raise StudioError("The VAE gave values that are no numbers.", "The model's VAE is damaged: fetch it again.")
        results += [tuple(to_images(one if one.ndim == 4 else one[None])) for one in pixels]
    return results


def _batches(comparison: Comparison, max_rows: int | None) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(columns, seeds) of each batch: columns that share omega together, as many seeds as the rows allow."""
    by_omega: dict[float, list[int]] = {}
    for index, column in enumerate(comparison.columns):
        by_omega.setdefault(column.omega, []).append(index)
    batches = []
    for columns in by_omega.values():
        fit = max(1, (max_rows or 2**31) // (2 * len(columns)))
        for start in range(0, len(comparison.seeds), fit):
            batches.append((tuple(columns), comparison.seeds[start : start + fit]))
    return batches


def render(
    pipe: Any,
    family: FamilySpec,
    comparison: Comparison,
    *,
    positive: Offset | None = None,
    negative: Offset | None = None,
    given: InputImage | None = None,
    on_step: Callable[[StepPreview], None] | None = None,
    on_image: Callable[[RenderedImage], None] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    encode_prompt: Callable[..., Conditioning] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    max_rows: int | None = None,
) -> list[RenderedImage]:
    """Every column of every seed, column by column.

    Args:
        pipe: a stock pipeline of the family; left as it was.
        positive, negative: the offsets eta and delta.
        given: a picture to begin from or to follow.
        on_step: called after every step with rough pictures.
        on_image: called with each image as its batch is finished.
        on_note: told in a sentence what was done otherwise than asked.
        encode_prompt: in place of the family's own, where the text encoder has been freed.
        cancelled: asked after every step; true ends the rendering within that step.
        max_rows: most rows of one forward; None is no limit.

    Raises:
        Cancelled: `cancelled` said so. What `on_image` was given is whole.
        StudioError: a setting or an offset does not fit the model.
    """
    standard = family.defaults(pipe)
    size = Size(
        comparison.height or standard.size.height,
        comparison.width or standard.size.width,
        comparison.frames or standard.size.frames,
    )
    check_size(size.height, size.width, size.frames, comparison.count)
    shape = family.latent_shape(pipe, size)
    if comparison.dynamic_guidance and not family.dynamic_guidance:
        raise StudioError(f"{family.title} has no dynamic guidance.", "Turn it off.")
    encode_prompt = encode_prompt or family.encode_prompt
    denoiser = family.denoiser(pipe)
    device, dtype = next((p.device, p.dtype) for p in denoiser.parameters())
    batches = _batches(comparison, max_rows)
    own_scheduler = pipe.scheduler
    steps = steps_with(given, comparison.steps)
    finished: list[RenderedImage] = []
    texts = (
        encode_prompt(pipe, [comparison.prompt], size),
        encode_prompt(pipe, [comparison.negative_prompt], size, negative=True),
    )
    for name, text in (("prompt", comparison.prompt), ("negative prompt", comparison.negative_prompt)):
        if lost := family.left_out(pipe, text):
            on_note(f"The model does not read the end of the {name}: “{lost[:200]}”.")
    try:
        with row_gate(denoiser, positive, negative, train_timesteps=own_scheduler.config.num_train_timesteps) as gate:
            for number, (columns, seeds) in enumerate(batches):
                pipe.scheduler = family.make_scheduler(comparison.scheduler or standard.scheduler, own_scheduler.config)
                weights = [comparison.columns[column] for column in columns]
                gate.set_columns(weights, len(seeds))
                latents = start_latents(seeds, shape).repeat(len(columns), *(1,) * len(shape)).to(device, dtype)
                count = len(latents)
                cond, negative_cond = (
                    {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in told.items()} for told in texts
                )

                def after_step(
                    step: int, at_hand: Tensor, number: int = number, columns: tuple[int, ...] = columns
                ) -> None:
                    if cancelled():
                        raise Cancelled
                    if on_step:
                        rough = tuple(rough_images(pipe, family, at_hand))
                        on_step(StepPreview(number * steps + step + 1, steps * len(batches), columns, rough))

                if cancelled():
                    raise Cancelled
                arguments = {
                    **family.pipeline_arguments(cond, negative_cond, size),
                    **({"use_dynamic_cfg": True} if comparison.dynamic_guidance else {}),
                    # one for each image, for samplers that draw noise on the way
                    "generator": [torch.Generator().manual_seed(seed) for _ in columns for seed in seeds],
                    "num_inference_steps": comparison.steps,
                    "guidance_scale": weights[0].guidance_scale,
                    "output_type": "latent",
                }
                if given is None or given.control is not None:
                    arguments["latents"] = latents
                sampler = pipe
                if given is not None:
                    sampler = pipeline_with(pipe, family, given)
                    arguments = {**fitting(sampler, arguments), **arguments_with(given, size, count)}
                ended = sampler(**arguments, **callback_for(sampler, after_step))[0]
                for row, frames in enumerate(decode(pipe, family, ended, on_note)):
                    column, seed = columns[row // len(seeds)], seeds[row % len(seeds)]
                    finished.append(RenderedImage(column, seed, comparison.columns[column], frames))
                    if on_image:
                        on_image(finished[-1])
    finally:
        pipe.scheduler = own_scheduler
    order = {seed: place for place, seed in enumerate(comparison.seeds)}
    return sorted(finished, key=lambda image: (image.column, order[image.seed]))
