"""The bundled judge: reads a picture of the miniature's world back and says what it shows and how clean it is.

It was trained on the renderer alone, through the miniature's VAE, never on generated pictures. What it is asked is
what the caption names (`core.miniature.world.scene.parse`), and the number of objects.

    accuracy     share of what was asked that is read right, 0 to 1
    cleanliness  probability that the picture is not spoilt, 0 to 1
    preference   cleanliness times the mean probability of what was asked, 0 to 1: higher is what a person of this
                 world would choose
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import StudioError
from core.evaluation.statistics import Gaussian
from core.miniature.world.scene import ATTRIBUTES, FLAWS, LAYOUTS, Asked

FEATURES = 128
_TWO = torch.tensor([layout in ("beside", "above") for layout in LAYOUTS])


class SceneReader(nn.Module):
    """A small convolutional network: pictures (batch, 3, 64, 64) in [-1, 1] to features and one head an attribute."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, stride=2 if before == 3 else 1),
                nn.GroupNorm(8, after),
                nn.SiLU(),
                nn.Conv2d(after, after, 3, padding=1, stride=1 if before == 3 else 2),
                nn.GroupNorm(8, after),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(128 * 16, FEATURES), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(FEATURES, len(v)) for name, v in ATTRIBUTES.items()})
        self.flaw = nn.Linear(FEATURES, len(FLAWS))

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Features (batch, 128), logits of each attribute, logits of the flaw (batch, 6)."""
        features = self.embed(self.body(images))
        return features, {name: head(features) for name, head in self.heads.items()}, self.flaw(features)


@dataclass(frozen=True)
class Scores:
    """Scores of pictures, each (batch,): see the module's text. `whole` is 1 where everything asked is right."""

    accuracy: Tensor
    cleanliness: Tensor
    preference: Tensor
    whole: Tensor
    features: Tensor
    """(batch, 128) float32, for the Fréchet distance."""

    def first(self, count: int) -> Scores:
        """Scores of the first `count` pictures."""
        return Scores(
            self.accuracy[:count],
            self.cleanliness[:count],
            self.preference[:count],
            self.whole[:count],
            self.features[:count],
        )

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """Scores of several batches as one."""
        names = ("accuracy", "cleanliness", "preference", "whole", "features")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class Judge:
    """The trained reader with the statistics of clean scenes.

    Args:
        reader: the network.
        clean: mean and covariance of the features of clean renderings.
        facts: what was measured of it when it was trained.
    """

    def __init__(self, reader: SceneReader, clean: Gaussian, facts: dict[str, float]) -> None:
        self.reader, self.clean, self.facts = reader.eval().requires_grad_(False), clean, facts

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """The judge kept in `folder`.

        Raises:
            StudioError: there is none, or it is damaged.
        """
        try:
            tensors = load_file(folder / "judge.safetensors")
            facts = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
            clean = Gaussian(tensors.pop("clean_mean").double(), tensors.pop("clean_covariance").double())
            reader = SceneReader()
            reader.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise StudioError("The bundled judge is missing or damaged.", "Reinstall the studio.") from error
        return cls(reader, clean, facts)

    @torch.no_grad()
    def score(self, images: Tensor, asked: Sequence[Asked]) -> Scores:
        """Scores pictures against what their captions ask for.

        Args:
            images: (batch, 3, height, width) in [-1, 1]; other sizes than 64 are resized.
            asked: one for each picture; empty where nothing was asked (accuracy is then 1).
        """
        if images.shape[-2:] != (64, 64):
            images = F.interpolate(images, size=(64, 64), mode="bilinear", antialias=True, align_corners=False)
        features, logits, flaw = self.reader(images.float())
        chances = {name: value.softmax(-1) for name, value in logits.items()}
        cleanliness = flaw.softmax(-1)[:, 0]
        right, mean_chance = [], []
        for row, wanted in enumerate(asked):
            picked = [chances[name][row, ATTRIBUTES[name].index(value)] for name, value in wanted.items()]
            best = [chances[name][row].max() for name in wanted]
            if wanted:
                two = chances["layout"][row][_TWO].sum()
                count = two if "second_shape" in wanted else 1 - two
                picked, best = [*picked, count], [*best, torch.maximum(count, 1 - count)]
            if not picked:
                right.append(torch.ones(1))
                mean_chance.append(torch.ones(()))
                continue
            stacked = torch.stack(picked)
            right.append((stacked >= torch.stack(best)).float())
            mean_chance.append(stacked.mean())
        return Scores(
            accuracy=torch.stack([r.mean() for r in right]),
            cleanliness=cleanliness,
            preference=cleanliness * torch.stack(mean_chance),
            whole=torch.stack([r.min() for r in right]),
            features=features,
        )
