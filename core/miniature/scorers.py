"""The bundled judges as scorers: they need no download, and read pictures of their own world alone."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from core.evaluation.pixels import as_signed
from core.evaluation.scorer import ScorerCard
from core.evaluation.statistics import Gaussian
from core.miniature.judge import Judge
from core.miniature.scorer_cards import CARDS, SECOND


class JudgeScorer:
    """One figure of a judge.

    Args:
        judge: it may be shared between the scorers.
        name: of the scorer, "judge-preference" for instance.
    """

    def __init__(self, judge: Judge, name: str) -> None:
        self.judge, self.figure = judge, name.rpartition("-")[2]
        self.card: ScorerCard = {**CARDS, **SECOND}[name]

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """(images,) float32, 0 to 1.

        Raises:
            StudioError: a prompt is not a sentence of the judge's world.
        """
        scores = self.judge.score(as_signed(images), [self.judge.language.parse(prompt) for prompt in prompts])
        return getattr(scores, self.figure).float()

    def reward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """The same of (images, 3, height, width) in [-1, 1], with a gradient of the pictures where the figure has one.

        Raises:
            StudioError: as `score`.
        """
        asked = [self.judge.language.parse(prompt) for prompt in prompts]
        return getattr(self.judge.with_gradient(images.cpu(), asked), self.figure).float().to(images.device)

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """(images, 128) float32, for the Fréchet distance."""
        return self.judge.score(as_signed(images), [{}] * len(images)).features

    @property
    def reference(self) -> Gaussian:
        """Features of clean renderings: what the Fréchet distance is measured to."""
        return self.judge.clean

    def to(self, device: str) -> None:
        """The judge is small and stays on the CPU."""
