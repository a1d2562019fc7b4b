"""The network that reads pictures of the world of shapes."""

from __future__ import annotations

from torch import Tensor, nn

from core.miniature.judge import FEATURES
from core.miniature.world.scene import ATTRIBUTES, FLAWS

SIDE = 64


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
