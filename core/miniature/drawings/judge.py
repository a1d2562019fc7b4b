"""The two judges of the drawings: each reads a picture back and says what it shows and how clean it is.

They were trained on renderings alone, through the miniature's VAE, from different seeds and with different networks:
settings are chosen by one (`choosing`) and reported by the other (`reporting`), so that nothing is praised by the
judge it was chosen to please. They are asked what the caption names (`core.miniature.drawings.scene.parse`).
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
from core.miniature.drawings.scene import Asked
from core.miniature.drawings.words import ATTRIBUTES, FLAWS, PLACES

SIDE = 96
FEATURES = 128
_TWO = torch.tensor([place in ("beside", "above") for place in PLACES])


class Heads(nn.Module):
    """One linear head an attribute, and one for the flaw."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = nn.ModuleDict({name: nn.Linear(FEATURES, len(v)) for name, v in ATTRIBUTES.items()})
        self.flaw = nn.Linear(FEATURES, len(FLAWS))

    def forward(self, features: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits of each attribute, and of the flaw, from features (batch, 128)."""
        return {name: head(features) for name, head in self.attributes.items()}, self.flaw(features)


class ChoosingReader(nn.Module):
    """Strided 3 x 3 convolutions, five levels: pictures (batch, 3, 96, 96) in [-1, 1] to features (batch, 128)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3, 24, 48, 96, 128, 128)
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=2), nn.GroupNorm(8, after), nn.SiLU()]
            if before != 3:
                layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 9, FEATURES), nn.SiLU())
        self.heads = Heads()

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Features, logits of each attribute, logits of the flaw."""
        features = self.body(images)
        return features, *self.heads(features)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(1, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ReportingReader(nn.Module):
    """Patches of 4 x 4 and residual blocks, pooled over thirds of the picture: (batch, 3, 96, 96) to (batch, 128)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (56, 104, 160)
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 6, stride=4, padding=1), nn.ReLU()]
        for level, width in enumerate(widths):
            layers += [_Residual(width), _Residual(width)]
            if level < 2:
                layers += [nn.Conv2d(width, widths[level + 1], 2, stride=2)]
        self.body = nn.Sequential(*layers, nn.GroupNorm(1, widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(3))
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * 9, FEATURES), nn.ReLU())
        self.heads = Heads()

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Features, logits of each attribute, logits of the flaw."""
        features = self.embed(self.body(images))
        return features, *self.heads(features)


READERS: dict[str, type[ChoosingReader] | type[ReportingReader]] = {
    "choosing": ChoosingReader,
    "reporting": ReportingReader,
}


@dataclass(frozen=True)
class Scores:
    """Scores of pictures, each (batch,), 0 to 1."""

    things: Tensor
    """Share of the asked things that are named right, of all things there are."""
    accuracy: Tensor
    """Share of everything asked, and of the number of things, that is read right."""
    cleanliness: Tensor
    """Probability that the picture is not spoilt."""
    preference: Tensor
    """Cleanliness times the mean probability of what was asked."""
    features: Tensor
    """(batch, 128) float32, for the Fréchet distance."""


class DrawingsJudge:
    """A trained reader with the statistics of clean scenes.

    Args:
        reader: the network.
        clean: mean and covariance of the features of clean renderings.
        facts: what was measured of it when it was trained.
    """

    def __init__(self, reader: nn.Module, clean: Gaussian, facts: dict[str, float]) -> None:
        self.reader, self.clean, self.facts = reader.eval().requires_grad_(False), clean, facts

    @classmethod
    def load(cls, folder: Path, name: str) -> DrawingsJudge:
        """The judge `name`, one of `READERS`, kept in `folder`.

        Raises:
            StudioError: there is none, or it is damaged.
        """
        try:
            tensors = load_file(folder / f"{name}.safetensors")
            facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            clean = Gaussian(tensors.pop("clean_mean").double(), tensors.pop("clean_covariance").double())
            reader = READERS[name]()
            reader.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise StudioError("The bundled judge is missing or damaged.", "Reinstall the studio.") from error
        return cls(reader, clean, facts)

    @torch.no_grad()
    def score(self, images: Tensor, asked: Sequence[Asked]) -> Scores:
        """Scores pictures against what their captions ask for.

        Args:
            images: (batch, 3, height, width) in [-1, 1]; other sizes than 96 are resized.
            asked: one for each picture; where nothing was asked, `things` and `accuracy` are 1.
        """
        if images.shape[-2:] != (SIDE, SIDE):
            images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        features, logits, flaw = self.reader(images.float())
        chances = {name: value.softmax(-1) for name, value in logits.items()}
        cleanliness = flaw.softmax(-1)[:, 0]
        things, accuracy, mean_chance = [], [], []
        for row, wanted in enumerate(asked):
            picked = {name: chances[name][row, ATTRIBUTES[name].index(value)] for name, value in wanted.items()}
            right = {name: bool(chance >= chances[name][row].max()) for name, chance in picked.items()}
            if wanted:
                two = chances["place"][row][_TWO].sum()
                picked["count"] = two if "second_thing" in wanted else 1 - two
                right["count"] = bool(picked["count"] >= 0.5)
            named = [value for name, value in right.items() if name.endswith("thing")]
            things.append(sum(named) / len(named) if named else 1.0)
            accuracy.append(sum(right.values()) / len(right) if right else 1.0)
            mean_chance.append(torch.stack(list(picked.values())).mean() if picked else torch.ones(()))
        return Scores(
            things=torch.tensor(things),
            accuracy=torch.tensor(accuracy),
            cleanliness=cleanliness,
            preference=cleanliness * torch.stack(mean_chance),
            features=features,
        )
