"""The judge of the moving miniature: reads a video back. Trained on the renderer alone, through the miniature's VAE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import StudioError
from core.miniature.language import Asked
from core.miniature.world.video import ATTRIBUTES, FLAWS

SEEN = (0, 2, 4, 6, 8)
"""The frames the reader looks at: every second one of nine."""


class VideoReader(nn.Module):
    """One small convolutional network reads each frame; what it finds in them is read together."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 24), (24, 48), (48, 72), (72, 96)):
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=2), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.frame = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 9, 128), nn.SiLU())
        self.together = nn.Sequential(nn.Linear(128 * len(SEEN), 192), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, len(values)) for name, values in ATTRIBUTES.items()})
        self.flaw = nn.Linear(192, len(FLAWS))

    def forward(self, videos: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Logits of each attribute and of the flaw, for videos (batch, frames, 3, 48, 48) in [-1, 1]."""
        seen = videos[:, list(SEEN)]
        features = self.together(self.frame(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}, self.flaw(features)


@dataclass(frozen=True)
class VideoScores:
    """Each (batch,): share of what was asked that is read right; probability of being clean; 1 where all is right."""

    accuracy: Tensor
    cleanliness: Tensor
    whole: Tensor


class VideoJudge:
    """The trained reader; `facts` is what was measured of it when it was trained."""

    def __init__(self, reader: VideoReader, facts: dict[str, float]) -> None:
        self.reader, self.facts = reader.eval().requires_grad_(False), facts

    @classmethod
    def load(cls, folder: Path) -> VideoJudge:
        """The judge kept in `folder`.

        Raises:
            StudioError: there is none, or it is damaged.
        """
        try:
            reader = VideoReader()
            tensors = load_file(folder / "video_judge.safetensors")
            reader.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
            facts = json.loads((folder / "video_judge.json").read_text(encoding="utf-8"))
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise StudioError("The bundled video judge is missing or damaged.", "Reinstall the studio.") from error
        return cls(reader, facts)

    @torch.no_grad()
    def score(self, videos: Tensor, asked: Sequence[Asked]) -> VideoScores:
        """Scores videos (batch, frames, 3, 48, 48) in [-1, 1] against what their captions ask for."""
        logits, flaw = self.reader(videos.float())
        right = []
        for row, wanted in enumerate(asked):
            hits = [logits[name][row].argmax() == ATTRIBUTES[name].index(value) for name, value in wanted.items()]
            right.append(torch.stack(hits).float())
        return VideoScores(
            accuracy=torch.stack([r.mean() for r in right]),
            cleanliness=flaw.softmax(-1)[:, 0],
            whole=torch.stack([r.min() for r in right]),
        )
