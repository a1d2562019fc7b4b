"""What a scorer is, and the published scorers that can be loaded. No torch: the cards are shown before anything heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file that a scorer needs.

    Args:
        repo: repository of the Hugging Face Hub, or empty for a file that has an address alone.
        name: of the file in its repository.
        revision: the commit that is fetched, and no other.
        size: bytes; 0 where it is not known exactly.
        sha256: of the file, where it is known; checked after it was fetched.
        url: address of a file outside the Hub.
    """

    repo: str = ""
    name: str
    revision: str = ""
    size: int = 0
    sha256: str = ""
    url: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, as a person reads it."""
        return f"{self.repo}@{self.revision[:12]}" if self.repo else self.url


@dataclass(frozen=True, kw_only=True)
class ScorerCard:
    """The facts of a scorer.

    Args:
        name: short name, as on the command line.
        title: as a person reads it.
        version: of the weights.
        range: the usual values, in words; higher is better in all of them.
        licence: of the weights, as their authors state it.
        files: what has to be on this machine; none for the bundled judges.
        reads: "image and prompt", or "image" where the prompt does not matter.
    """

    name: str
    title: str
    version: str
    range: str
    licence: str
    files: tuple[WeightFile, ...] = ()
    reads: str = "image and prompt"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


class Scorer(Protocol):
    """Gives each image a figure; higher is better."""

    card: ScorerCard

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """(images,) float32 on the CPU: each image against the prompt at the same place."""

    def to(self, device: str) -> None:
        """Moves the network: "cuda", "mps" or "cpu"."""


CLIP_L = WeightFile(
    repo="openai/clip-vit-large-patch14",
    name="model.safetensors",
    revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    size=1_710_540_580,
)
"""The image and text encoder of CLIPScore and of the aesthetic predictor."""

CARDS = {
    card.name: card
    for card in (
        ScorerCard(
            name="pickscore",
            title="PickScore",
            version="v1",
            range="about 17 to 24: 100 times the cosine of image and prompt",
            licence="MIT",
            files=(
                WeightFile(
                    repo="yuvalkirstain/PickScore_v1",
                    name="model.safetensors",
                    revision="a4e4367c6dfa7288a00c550414478f865b875800",
                    size=3_944_517_836,
                ),
            ),
        ),
        ScorerCard(
            name="hpsv2",
            title="HPSv2.1",
            version="v2.1",
            range="about 20 to 34: 100 times the cosine of image and prompt",
            licence="Apache-2.0",
            files=(
                WeightFile(
                    repo="xswu/HPSv2",
                    name="HPS_v2.1_compressed.pt",
                    revision="697403c78157020a1ae59d23f111aa58ced35b0a",
                    size=1_972_000_000,
                    sha256="c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
                ),
            ),
        ),
        ScorerCard(
            name="imagereward",
            title="ImageReward",
            version="v1.0",
            range="about -2 to 2: standard deviations around the mean of its training",
            licence="Apache-2.0",
            files=(
                WeightFile(
                    repo="zai-org/ImageReward",
                    name="ImageReward.pt",
                    revision="5736be03b2652728fb87788c9797b0570450ab72",
                    size=1_790_000_000,
                ),
                WeightFile(
                    repo="google-bert/bert-base-uncased",
                    name="vocab.txt",
                    revision="86b5e0934494bd15c9632b12f734a8a67f723594",
                    size=231_508,
                    sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
            ),
        ),
        ScorerCard(
            name="aesthetic",
            title="LAION aesthetic",
            version="improved predictor, sac+logos+ava1-l14-linearMSE",
            range="about 3 to 8",
            licence="Apache-2.0; the encoder MIT",
            files=(
                CLIP_L,
                WeightFile(
                    name="sac+logos+ava1-l14-linearMSE.pth",
                    url="https://raw.githubusercontent.com/christophschuhmann/improved-aesthetic-predictor/"
                    "6934dd81792f086e613a121dbce43082cb8be85e/sac%2Blogos%2Bava1-l14-linearMSE.pth",
                    size=3_714_759,
                    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
                ),
            ),
            reads="image",
        ),
        ScorerCard(
            name="clipscore",
            title="CLIPScore",
            version="ViT-L/14",
            range="0 to 100, in practice 15 to 35: 100 times the cosine of image and prompt, negative ones 0",
            licence="MIT",
            files=(CLIP_L,),
        ),
    )
}
"""The published scorers, by name. The bundled judges have their cards beside them, in `core.miniature`."""
