"""The bundled judges: each reads a picture of a miniature's world back and says what it shows and how clean it is.

They were trained on renderings alone, through the miniature's VAE, never on generated pictures. What a judge is asked is
what the caption names (`core.miniature.language.Language.parse`), and the number of objects.

    accuracy     share of what was asked that is read right, 0 to 1
    named        share of the objects asked for whose name is read right, of all names there are, 0 to 1
    cleanliness  probability that the picture is not spoilt, 0 to 1
    preference   cleanliness times the mean probability of what was asked, 0 to 1: higher is what a person of this
                 world would choose
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import StudioError
from core.evaluation.statistics import Gaussian
from core.miniature.language import ARRANGEMENTS, Asked, Language

FEATURES = 128
"""Features of every judge's network."""


@dataclass(frozen=True)
class Scores:
    """Scores of pictures, each (batch,): see the module's text. `whole` is 1 where everything asked is right."""

    accuracy: Tensor
    named: Tensor
    cleanliness: Tensor
    preference: Tensor
    whole: Tensor
    features: Tensor
    """(batch, 128) float32, for the Fréchet distance."""

    def first(self, count: int) -> Scores:
        """Scores of the first `count` pictures."""
        return Scores(**{each.name: getattr(self, each.name)[:count] for each in fields(self)})

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """Scores of several batches as one."""
        return cls(**{each.name: torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)})


class Judge:
    """A trained reader of a world with the statistics of clean scenes.

    Args:
        reader: the network: pictures to features, logits of each attribute, logits of the flaw.
        language: of the world: what may be asked.
        side: pixels of the pictures that it reads; others are resized.
        clean: mean and covariance of the features of clean renderings.
        facts: what was measured of it when it was trained.
    """

    def __init__(
        self, reader: nn.Module, language: Language, side: int, clean: Gaussian, facts: dict[str, float]
    ) -> None:
        self.reader, self.language, self.side = reader.eval().requires_grad_(False), language, side
        self.clean, self.facts = clean, facts
        self._two = torch.tensor([place in ARRANGEMENTS for place in language.attributes[language.place]])

    @classmethod
    def load(cls, file: Path, make_reader: Callable[[], nn.Module], language: Language, side: int) -> Judge:
        """The judge kept in `file`, a path without ending: its weights as .safetensors, what was measured as .json.

        Raises:
            StudioError: there is none, or it is damaged.
        """
        try:
            tensors = load_file(file.with_suffix(".safetensors"))
            facts = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            clean = Gaussian(tensors.pop("clean_mean").double(), tensors.pop("clean_covariance").double())
            reader = make_reader()
            reader.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise StudioError("The bundled judge is missing or damaged.", "Reinstall the studio.") from error
        return cls(reader, language, side, clean, facts)

    @torch.no_grad()
    def score(self, images: Tensor, asked: Sequence[Asked]) -> Scores:
        """Scores pictures against what their captions ask for; see `with_gradient`."""
        return self.with_gradient(images, asked)

    def with_gradient(self, images: Tensor, asked: Sequence[Asked]) -> Scores:
        """Scores pictures against what their captions ask for. Preference and cleanliness have a gradient of the pictures.

        Args:
            images: (batch, 3, height, width) in [-1, 1]; other sizes than the judge's are resized.
            asked: one for each picture; empty where nothing was asked (everything is then right).
        """
        if images.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        features, logits, flaw = self.reader(images.float())
        chances = {name: value.softmax(-1) for name, value in logits.items()}
        cleanliness = flaw.softmax(-1)[:, 0]
        right, named, mean_chance = [], [], []
        for row, wanted in enumerate(asked):
            picked = {name: chances[name][row, self._index(name, value)] for name, value in wanted.items()}
            hits = {name: bool(chance >= chances[name][row].max()) for name, chance in picked.items()}
            if wanted:
                two = chances[self.language.place][row][self._two].sum()
                picked["count"] = two if f"second_{self.language.noun}" in wanted else 1 - two
                hits["count"] = bool(picked["count"] >= 0.5)
            names = [hit for name, hit in hits.items() if name.endswith(self.language.noun)]
            right.append(torch.tensor(list(hits.values()) or [True]).float())
            named.append(torch.tensor(names or [True]).float().mean())
            mean_chance.append(torch.stack(list(picked.values())).mean() if picked else torch.ones(()))
        return Scores(
            accuracy=torch.stack([each.mean() for each in right]),
            named=torch.stack(named),
            cleanliness=cleanliness,
            preference=cleanliness * torch.stack(mean_chance),
            whole=torch.stack([each.min() for each in right]),
            features=features,
        )

    def _index(self, name: str, value: str) -> int:
        return self.language.attributes[name].index(value)
