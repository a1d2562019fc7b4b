"""Pairs from a scorer, in rounds: own samples of the network as it is, the best and the worst of each prompt become a pair.

No gradient of the scorer is needed. Diffusion-NPO (arXiv 2505.11245, section 4) inverts the reward, which is what the direction does:
a negative offset learns the worst, a positive one the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core.errors import StudioError
from core.families.base import FamilySpec
from core.training.config import TrainConfig
from core.training.material import Material
from core.training.objective import Predict
from core.training.start_points import DrawnSamples, StartPoints, draw_own_samples

Score = Callable[[Sequence[Image.Image], Sequence[str]], Tensor]
"""(pictures, their prompts) -> (pictures,) figures, higher is better."""


def round_of(config: TrainConfig, step: int) -> int:
    """The round that the step after `step` steps belongs to; -1 of methods without rounds."""
    return step // config.round_steps if config.method == "ranking" else -1


def ranked(samples: Tensor, scores: Tensor, candidates: int) -> StartPoints:
    """Pairs of the best and the worst sample of each prompt.

    Args:
        samples: (prompts * candidates, *latent), the candidates of a prompt one after the other.
        scores: (prompts * candidates,).

    Raises:
        StudioError: a score is NaN or infinite, or all candidates of every prompt score the same.
    """
    if not bool(torch.isfinite(scores).all()):
        raise StudioError(
            "The scorer returned NaN or infinity; earlier checkpoints are kept.", "Choose another scorer."
        )
    by_prompt = scores.reshape(-1, candidates)
    distinct = by_prompt.amax(1) > by_prompt.amin(1)
    if not bool(distinct.any()):
        raise StudioError(
            "The scorer gave all samples of each prompt the same score; there is nothing to learn from.",
            "Choose another scorer, or more candidates.",
        )
    by_sample = samples.reshape(len(by_prompt), candidates, *samples.shape[1:])
    rows = torch.arange(len(by_prompt))
    best, worst = by_sample[rows, by_prompt.argmax(1)], by_sample[rows, by_prompt.argmin(1)]
    # a prompt whose samples are all alike says nothing: another one takes its place
    use = torch.where(distinct, rows, rows[distinct][rows % int(distinct.sum())])
    return StartPoints(best[use], rejected=worst[use], rows=use)


def draw_round(
    predict: Predict,
    pipe: Any,
    family: FamilySpec,
    config: TrainConfig,
    material: Material,
    score: Score,
    number: int,
    device: torch.device,
) -> Iterator[int | StartPoints]:
    """The pairs of a round. Yields the number of samples drawn so far, and the pairs at the end.

    Args:
        predict: (x_t, t, conditioning) -> output of the network as it is.
        number: of the round; its samples have seeds of their own.

    Cost: `candidates` own samples a prompt, and their decoding and scoring.
    """
    wide = material.repeated(config.candidates)
    samples = StartPoints()
    for drawn in draw_own_samples(predict, wide, config, device, first_seed=number * wide.count):
        if isinstance(drawn, StartPoints):
            samples = drawn
        else:
            yield drawn.done if isinstance(drawn, DrawnSamples) else drawn
    assert samples.x_0 is not None
    scores = []
    for first in range(0, wide.count, config.batch_size):
        part = slice(first, first + config.batch_size)
        scores.append(score(pictures_of(pipe, family, samples.x_0[part].to(device)), wide.texts[part]).float().cpu())
    yield ranked(samples.x_0, torch.cat(scores), config.candidates)


@torch.no_grad()
def pictures_of(pipe: Any, family: FamilySpec, latents: Tensor) -> list[Image.Image]:
    """Latents as pictures; of a video its middle frame."""
    images = family.decode_latents(pipe, latents).float().cpu()
    if images.ndim == 5:
        images = images[:, images.shape[1] // 2]
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(1, -1)
    return [Image.fromarray(picture.numpy()) for picture in pixels]
