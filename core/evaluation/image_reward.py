"""ImageReward (Xu et al. 2023): a BLIP that reads the prompt with the picture before it, and a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipVisionConfig, BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from core.evaluation.clip_scorers import linear_head
from core.evaluation.key_maps import from_blip, load_into
from core.evaluation.pixels import cropped_for_clip
from core.evaluation.scorer import CARDS

TOKENS = 35
"""A prompt is read up to here."""
_MEAN, _DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of the raw reward over its authors' data: the score counts in standard deviations from their mean."""

VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 16,
    "image_size": 224,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
TEXT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 30524,
    "encoder_hidden_size": 1024,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


class RewardNetwork(nn.Module):
    """BLIP's image encoder (ViT-L/16), its text encoder with cross attention (BERT base), and the head."""

    def __init__(self, vision: Mapping[str, Any] = VISION, text: Mapping[str, Any] = TEXT) -> None:
        super().__init__()
        self.vision = BlipVisionModel(BlipVisionConfig(**vision))
        self.text = BlipTextModel(BlipTextConfig(**text), add_pooling_layer=False)
        self.head = linear_head(text["hidden_size"])

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Raw rewards (batch,) of pixels (batch, 3, 224, 224) with tokens and their mask (batch, 35)."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            is_decoder=False,
        ).last_hidden_state
        return self.head(read[:, 0].float().to(self.head[0].weight.dtype)).squeeze(-1)


class ImageRewardScorer:
    """ImageReward with its tokenizer."""

    card = CARDS["imagereward"]

    def __init__(self, network: RewardNetwork, tokenizer: Any) -> None:
        self.network, self.tokenizer = network, tokenizer

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """(images,) float32."""
        weight = next(self.network.head.parameters())
        side = self.network.vision.config.image_size
        tokens = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(weight.device)
        pixels = cropped_for_clip(images, side).to(weight.device, weight.dtype)
        rewards = self.network(pixels, tokens.input_ids, tokens.attention_mask).float().cpu()
        return (rewards - _MEAN) / _DEVIATION

    def to(self, device: str) -> None:
        """float32 everywhere: it is small, and its head was trained so."""
        self.network.to(device)


def bert_tokenizer(vocabulary: Path) -> BertTokenizer:
    """BERT's uncased tokenizer from its vocabulary file, with the two tokens that BLIP adds: 30,524 pieces."""
    words = vocabulary.read_text(encoding="utf-8").split("\n")
    indices = {word: index for index, word in enumerate(word for word in words if word)}
    tokenizer = BertTokenizer(vocab=indices, do_lower_case=True)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    return tokenizer


def make_image_reward(
    state: Mapping[str, Tensor],
    tokenizer: Any,
    *,
    vision: Mapping[str, Any] = VISION,
    text: Mapping[str, Any] = TEXT,
) -> ImageRewardScorer:
    """The scorer with the weights of its checkpoint.

    Raises:
        StudioError: the weights are of another architecture.
    """
    network = load_into(RewardNetwork(vision, text), from_blip(state), "ImageReward")
    return ImageRewardScorer(network, tokenizer)  # type: ignore[arg-type]
