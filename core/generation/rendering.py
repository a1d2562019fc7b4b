"""Renders the same prompt and seeds under several guidance settings, side by side, through the stock pipeline.

All columns that share an omega are one batch behind the row gate. Every image has its own random generator, so
its start does not depend on the batch; the arithmetic of a batch may round in the last bits otherwise than that of
another batch size, which leaves a pixel value equal or one level of 255 away.

Cost of an image: the rows of its form a step, 2 with the papers' one and 1 where omega = 0, whatever alpha and beta are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import Sentence, StudioError
from core.families.base import Conditioning, FamilySpec, Size
from core.generation.comparison import Comparison
from core.generation.decoding import decode, rough_images
from core.generation.guided import PIPELINE_SCALE, guided_rows
from core.generation.inputs import InputImage, arguments_with, callback_for, fitting, pipeline_with, steps_with
from core.generation.limits import check_against_own, check_size
from core.generation.prompt_syntax import named_inversions
from core.generation.prompt_weights import WEIGHING, encode_weighted
from core.generation.textual_inversion import Inversion, place
from core.generation.watch import Cancelled, RenderedImage, StepPreview, Watch
from core.method.guidance import GuidanceWeights
from core.method.schedule import NoiseSchedule
from core.offsets.offset import Offset
from core.offsets.row_gate import RowGate, row_gate


@dataclass(frozen=True)
class Texts:
    """The prompt and the negative prompt as the denoiser reads them, one row each."""

    cond: Conditioning
    negative_cond: Conditioning

    def to(self, device: torch.device) -> Texts:
        """The same on another device."""
        cond, negative = (
            {name: tensor.to(device) for name, tensor in part.items()} for part in (self.cond, self.negative_cond)
        )
        return Texts(cond, negative)


def encode(
    pipe: Any,
    family: FamilySpec,
    prompt: str,
    negative_prompt: str,
    size: Size,
    inversions: Mapping[str, Inversion] = {},  # noqa: B006 it is never changed
) -> Texts:
    """Encodes the texts of a comparison, its textual inversions by name."""
    return Texts(
        encode_weighted(pipe, family, prompt, size, inversions=inversions),
        encode_weighted(pipe, family, negative_prompt, size, negative=True, inversions=inversions),
    )


def size_of(pipe: Any, family: FamilySpec, comparison: Comparison) -> Size:
    """The size a comparison is rendered at: what it asks for, the model's own where it asks for none."""
    return family.defaults(pipe).size.with_chosen(comparison.height, comparison.width, comparison.frames)


def start_latents(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Unit Gaussian latents, one generator for each seed: (seeds, *shape), float32 on the CPU."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@dataclass(frozen=True)
class _Batch:
    """Rows that go through the network together: each of these columns with each of these seeds."""

    columns: tuple[int, ...]
    seeds: tuple[int, ...]


def _batches(comparison: Comparison, max_rows: int | None) -> list[_Batch]:
    """Columns that share omega together, as many of them and then as many seeds as the rows allow."""
    by_omega: dict[float, list[int]] = {}
    for index, column in enumerate(comparison.columns):
        by_omega.setdefault(column.omega, []).append(index)
    most, batches = max_rows or 2**31, []
    for columns in by_omega.values():
        for together in _packed(columns, [comparison.columns[index].most_rows for index in columns], most):
            rows = sum(comparison.columns[index].most_rows for index in together)
            fit = max(1, most // rows)
            for start in range(0, len(comparison.seeds), fit):
                batches.append(_Batch(together, comparison.seeds[start : start + fit]))
    return batches


def _packed(columns: Sequence[int], rows: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Columns in their order, in groups of at most `most` rows, one at least."""
    groups: list[list[int]] = [[]]
    taken = 0
    for column, own in zip(columns, rows, strict=True):
        if groups[-1] and taken + own > most:
            groups.append([])
            taken = 0
        groups[-1].append(column)
        taken += own
    return [tuple(group) for group in groups]


def _rows(cond: Conditioning, count: int) -> Conditioning:
    """One row as many times."""
    return {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in cond.items()}


def sample_batch(
    pipe: Any,
    family: FamilySpec,
    comparison: Comparison,
    batch: _Batch,
    texts: Texts,
    *,
    input_image: InputImage | None,
    after_step: Callable[[int, Tensor], None],
) -> Tensor:
    """The final latents of one batch, column by column, seed by seed, through the stock pipeline.

    The row gate must hold the batch's columns, and the pipeline the scheduler to sample with.

    Args:
        after_step: called with the number of the step, from 0, and the current latents.
    """
    size = size_of(pipe, family, comparison)
    shape = family.latent_shape(pipe, size)
    denoiser: Any = family.denoiser(pipe)
    # of the denoiser and not of a weight of it, which may be stored in fewer bits
    place = {"device": next(denoiser.parameters()).device, "dtype": denoiser.dtype}
    latents = start_latents(batch.seeds, shape).repeat(len(batch.columns), *(1,) * len(shape)).to(**place)
    count = len(latents)
    columns = [comparison.columns[column] for column in batch.columns]
    arguments = {
        **family.pipeline_arguments(_rows(texts.cond, count), _rows(texts.negative_cond, count), size),
        **({"use_dynamic_cfg": True} if comparison.dynamic_guidance else {}),
        # one for each image, for samplers that draw noise at each step
        "generator": [torch.Generator().manual_seed(seed) for _ in batch.columns for seed in batch.seeds],
        "num_inference_steps": comparison.steps,
        "guidance_scale": columns[0].guidance_scale if in_two_rows(columns) else PIPELINE_SCALE,
        "output_type": "latent",
    }
    if input_image is None or input_image.control is not None:
        arguments["latents"] = latents
    sampler = pipe
    if input_image is not None:
        sampler = pipeline_with(pipe, family, input_image)
        arguments = {**fitting(sampler, arguments), **arguments_with(input_image, size, count)}
    ended: Tensor = sampler(**arguments, **callback_for(sampler, after_step))[0]
    return ended


def _pixels(size: Size) -> int:
    return size.height * size.width * size.frames


def in_two_rows(columns: Sequence[GuidanceWeights]) -> bool:
    """Whether the pipeline's own sum of two rows is right for all of these columns."""
    return all(column.is_two_rows for column in columns)


@contextmanager
def _columns_in(
    gate: RowGate, denoiser: nn.Module, columns: Sequence[GuidanceWeights], images: int, schedule: NoiseSchedule | None
) -> Iterator[None]:
    """Within it the denoiser reads these columns, each with so many images, of a stock pipeline's batch."""
    if in_two_rows(columns):
        gate.set_columns(columns, images)
        yield
        return
    with guided_rows(denoiser, gate, columns, images, schedule):
        yield


@contextmanager
def _own_scheduler(pipe: Any) -> Iterator[Any]:
    """The pipeline's scheduler, which is the pipeline's again afterwards."""
    own = pipe.scheduler
    try:
        yield own
    finally:
        pipe.scheduler = own


def render(
    pipe: Any,
    family: FamilySpec,
    comparison: Comparison,
    *,
    positive: Offset | None = None,
    negative: Offset | None = None,
    texts: Texts | None = None,
    inversions: Mapping[str, Inversion] = {},  # noqa: B006 it is never changed
    input_image: InputImage | None = None,
    watch: Watch = Watch(),  # noqa: B008 it is frozen
    max_rows: int | None = None,
) -> list[RenderedImage]:
    """Every column of every seed, column by column.

    Args:
        pipe: a stock pipeline of the family; left as it was.
        positive, negative: the offsets eta and delta.
        texts: encoded already, where the text encoder has been freed; None encodes the comparison's.
        inversions: textual inversions by name, that the texts may call.
        input_image: a picture to begin from or to follow.
        watch: who looks on.
        max_rows: most rows of one forward; None means no limit.

    Raises:
        Cancelled: the watch asked for it. Images that it already has are complete.
        StudioError: a setting or an offset does not fit the model.
    """
    size = size_of(pipe, family, comparison)
    check_size(size.height, size.width, size.frames, comparison.count)
    pixels, own_pixels = _pixels(size), _pixels(family.defaults(pipe).size)
    check_against_own(pixels, own_pixels)
    family.latent_shape(pipe, size)  # before anything is computed
    if max_rows:  # it was meant for the model's own size
        max_rows = max(2, min(max_rows, max_rows * own_pixels // pixels))
    if comparison.dynamic_guidance and not family.dynamic_guidance:
        raise StudioError("{family} does not support dynamic guidance.", "Turn it off.", family=family.title)
    if comparison.dynamic_guidance and not in_two_rows(comparison.columns):
        raise StudioError(
            "Guidance that grows along the way goes with two plain rows a step alone.",
            "Turn it off, or choose the guidance npo, both-branches or cfg without a late form, interval, rescale or APG.",
        )
    steps = steps_with(input_image, comparison.steps)
    if texts is None:
        texts = encode(pipe, family, comparison.prompt, comparison.negative_prompt, size, inversions)
        _note_what_is_not_read(pipe, family, comparison, inversions, watch)
    denoiser, batches = family.denoiser(pipe), _batches(comparison, max_rows)
    projected = any(column.is_projected for column in comparison.columns)
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler) if projected else None
    finished: list[RenderedImage] = []
    with _own_scheduler(pipe) as own, watch.over(denoiser, pipe.vae):
        with row_gate(denoiser, positive, negative, train_timesteps=own.config.num_train_timesteps) as gate:
            for number, batch in enumerate(batches):
                if watch.cancelled():
                    raise Cancelled
                name = comparison.scheduler or family.defaults(pipe).scheduler
                pipe.scheduler = family.make_scheduler(name, own.config)
                columns = [comparison.columns[column] for column in batch.columns]

                def after_step(step: int, latents: Tensor, done: int = number * steps, batch: _Batch = batch) -> None:
                    if watch.cancelled():
                        raise Cancelled
                    if watch.step:
                        rough = tuple(rough_images(pipe, family, latents))
                        watch.step(
                            StepPreview(done + step + 1, steps * len(batches), batch.columns, batch.seeds, rough)
                        )

                with _columns_in(gate, denoiser, columns, len(batch.seeds), schedule):
                    ended = sample_batch(
                        pipe, family, comparison, batch, texts, input_image=input_image, after_step=after_step
                    )
                for row, frames in enumerate(decode(pipe, family, ended, watch.note)):
                    column, seed = batch.columns[row // len(batch.seeds)], batch.seeds[row % len(batch.seeds)]
                    finished.append(RenderedImage(column, seed, comparison.columns[column], frames))
                    watch.image(finished[-1])
    order = {seed: place for place, seed in enumerate(comparison.seeds)}
    return sorted(finished, key=lambda image: (image.column, order[image.seed]))


def _note_what_is_not_read(
    pipe: Any, family: FamilySpec, comparison: Comparison, inversions: Mapping[str, Inversion], watch: Watch
) -> None:
    for name, text in (("prompt", comparison.prompt), ("negative prompt", comparison.negative_prompt)):
        placed = place(pipe, family, text, inversions)
        prompt = placed.prompt
        for remark in placed.notes:
            watch.note(remark)
        for called in named_inversions(text):
            if called.lower() not in {known.lower() for known in inversions}:
                note = "There is no textual inversion “{name}” in the embeddings folder: its name was read as words."
                watch.note(Sentence(note, name=called[:60]))
        if lost := family.left_out(pipe, prompt.text):
            note = "The model ignores the end of the {name}: “{lost}”."
            watch.note(Sentence(note, name=Sentence(name), lost=lost[:200]))
        if prompt.weights and family.name not in WEIGHING:
            note = "Weights such as (word:1.2) do nothing with {family}: the words were read without them."
            watch.note(Sentence(note, family=family.title))
        if prompt.loras:
            note = "<lora:…> in a prompt loads nothing here; choose “{names}” as the positive offset instead."
            watch.note(Sentence(note, names=", ".join(prompt.loras)[:200]))
