"""The networks of the two judges of the drawings.

They were trained from different seeds and with different networks: settings are chosen by one (`choosing`) and reported
by the other (`reporting`), so that nothing is praised by the judge it was chosen to please.
"""

from __future__ import annotations

from torch import Tensor, nn

from core.miniature.drawings.words import ATTRIBUTES, FLAWS
from core.miniature.judge import FEATURES

SIDE = 96


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
