"""Scorers on CLIP: PickScore and HPSv2.1 (ViT-H/14), CLIPScore and the LAION aesthetic predictor (ViT-L/14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from core.evaluation.key_maps import from_open_clip, load_into
from core.evaluation.pixels import cropped_for_clip, padded_for_clip
from core.evaluation.scorer import CARDS, ScorerCard

VIT_H_14: dict[str, Any] = {
    "projection_dim": 1024,
    "text_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "projection_dim": 1024,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "hidden_act": "gelu",
        "projection_dim": 1024,
    },
}
"""Laion's CLIP ViT-H/14, with the exact GELU."""

VIT_L_14: dict[str, Any] = {
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "hidden_act": "quick_gelu",
        "projection_dim": 768,
    },
}
"""OpenAI's CLIP ViT-L/14."""


def _pooled(output: Any) -> Tensor:
    """The projected embedding: transformers 5 returns it inside an output object."""
    return output if isinstance(output, Tensor) else output.pooler_output


class ClipEncoder:
    """A CLIP with its tokenizer: unit vectors of pictures and texts.

    Args:
        model: the network.
        tokenizer: pads and cuts texts at its own length.
        prepare: (images, side) -> pixels; how this scorer's pictures were prepared in training.
    """

    def __init__(self, model: CLIPModel, tokenizer: Any, prepare: Callable[..., Tensor] = cropped_for_clip) -> None:
        self.model, self.tokenizer, self.prepare = model, tokenizer, prepare

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """(images, width) float32 on the CPU, each of length 1."""
        pixels = self.prepare(images, self.model.config.vision_config.image_size).to(
            self.model.device, self.model.dtype
        )
        return nn.functional.normalize(
            _pooled(self.model.get_image_features(pixel_values=pixels)).float(), dim=-1
        ).cpu()

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, width) float32 on the CPU, each of length 1."""
        tokens = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        encoded = self.model.get_text_features(input_ids=tokens.input_ids.to(self.model.device))
        return nn.functional.normalize(_pooled(encoded).float(), dim=-1).cpu()

    def to(self, device: str) -> None:
        """Half precision on a graphics card, float32 elsewhere."""
        self.model.to(device, torch.float16 if device == "cuda" else torch.float32)  # type: ignore[arg-type]


class ClipScorer:
    """100 times the cosine of picture and prompt; `floor` cuts it off below, as CLIPScore does at 0."""

    def __init__(self, card: ScorerCard, encoder: ClipEncoder, floor: float | None = None) -> None:
        self.card, self.encoder, self.floor = card, encoder, floor

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """(images,) float32."""
        cosines = 100 * (self.encoder.images(images) * self.encoder.texts(prompts)).sum(-1)
        return cosines if self.floor is None else cosines.clamp(min=self.floor)

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """(images, width) float32, for distances between sets of pictures."""
        return self.encoder.images(images)

    def to(self, device: str) -> None:
        self.encoder.to(device)


class AestheticScorer:
    """The improved LAION predictor: a linear head on the unit vector of CLIP ViT-L/14; it does not read the prompt."""

    card = CARDS["aesthetic"]

    def __init__(self, encoder: ClipEncoder, head: nn.Module) -> None:
        self.encoder, self.head = encoder, head

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """(images,) float32."""
        with torch.no_grad():
            return self.head(self.encoder.images(images)).squeeze(-1)

    def to(self, device: str) -> None:
        self.encoder.to(device)


def linear_head(width: int) -> nn.Sequential:
    """Five linear layers without activations, dropout between them: the aesthetic predictor's and ImageReward's head.

    Its names are those of the checkpoints: 0, 2, 4, 6 and 7.
    """
    return nn.Sequential(
        nn.Linear(width, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )


def load_clip(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    title: str,
    *,
    prepare: Callable[..., Tensor] = cropped_for_clip,
    tokenizer: Any,
) -> ClipEncoder:
    """A CLIP of that architecture with these weights, under transformers' names.

    Raises:
        StudioError: the weights are of another architecture.
    """
    model = load_into(CLIPModel(CLIPConfig(**config)), state, title)
    return ClipEncoder(model, tokenizer, prepare)  # type: ignore[arg-type]


def make_pickscore(state: Mapping[str, Tensor], tokenizer: Any, config: Mapping[str, Any] = VIT_H_14) -> ClipScorer:
    """PickScore (Kirstain et al. 2023): its checkpoint has transformers' names."""
    return ClipScorer(CARDS["pickscore"], load_clip(config, state, "PickScore", tokenizer=tokenizer))


def make_hpsv2(state: Mapping[str, Tensor], tokenizer: Any, config: Mapping[str, Any] = VIT_H_14) -> ClipScorer:
    """HPSv2.1 (Wu et al. 2023): its checkpoint has open_clip's names, and pictures are padded, not cut."""
    encoder = load_clip(config, from_open_clip(state), "HPSv2.1", prepare=padded_for_clip, tokenizer=tokenizer)
    return ClipScorer(CARDS["hpsv2"], encoder)


def make_clipscore(state: Mapping[str, Tensor], tokenizer: Any, config: Mapping[str, Any] = VIT_L_14) -> ClipScorer:
    """CLIPScore (Hessel et al. 2021) with ViT-L/14, as 100 max(cos, 0)."""
    return ClipScorer(CARDS["clipscore"], load_clip(config, state, "CLIPScore", tokenizer=tokenizer), floor=0.0)


def make_aesthetic(
    clip_state: Mapping[str, Tensor],
    head_state: Mapping[str, Tensor],
    tokenizer: Any,
    config: Mapping[str, Any] = VIT_L_14,
) -> AestheticScorer:
    """The improved aesthetic predictor: CLIP's weights, and those of the head as `layers.N`."""
    encoder = load_clip(config, clip_state, "CLIP ViT-L/14", tokenizer=tokenizer)
    named = {name.removeprefix("layers."): tensor for name, tensor in head_state.items()}
    head = load_into(linear_head(encoder.model.config.projection_dim), named, "the aesthetic predictor")
    return AestheticScorer(encoder, head)
