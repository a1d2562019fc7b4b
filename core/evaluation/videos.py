"""Scores of pictures and of videos alike: a video's score is the mean over its frames, unless its scorer reads whole videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor


def score_media(scorer: Any, media: Sequence[Sequence[Image.Image]], prompts: Sequence[str]) -> Tensor:
    """(media,) float32: one figure a picture or video.

    Args:
        scorer: a `core.evaluation.scorer.Scorer`; one that has `score_videos(media, prompts)` is handed whole videos.
        media: the frames of each; a picture is a video of one frame.
    """
    if hasattr(scorer, "score_videos"):
        return scorer.score_videos(media, prompts)
    counts = [len(frames) for frames in media]
    images = [frame for frames in media for frame in frames]
    texts = [prompt for prompt, count in zip(prompts, counts, strict=True) for _ in range(count)]
    return torch.stack([part.mean() for part in scorer.score(images, texts).split(counts)])
