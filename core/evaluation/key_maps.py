"""Names of published checkpoints' tensors as those of the same architecture in transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from core.errors import StudioError

_CLIP_NAMES = (
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_1\.", ".layer_norm1."),
    (r"\.ln_2\.", ".layer_norm2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_BLIP_NAMES = (
    (r"^blip\.visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^blip\.visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"^blip\.visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"^blip\.visual_encoder\.blocks\.", "vision.encoder.layers."),
    (r"^blip\.text_encoder\.", "text."),
    (r"^mlp\.layers\.", "head."),
)
_UNUSED = re.compile(r"position_ids$|^blip\.(vision|text)_proj\.|attn_mask$")
"""Counters that newer networks make themselves, and projections that the reward does not read."""


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in pairs:
        name = re.sub(pattern, replacement, name)
    return name


def from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP of open_clip, as HPSv2.1 is one, as a `CLIPModel` of transformers.

    Query, key and value are one matrix there and three here; the projections are stored transposed.
    """
    mapped: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in ("text_projection", "visual.proj"):
            mapped["text_projection.weight" if name[0] == "t" else "visual_projection.weight"] = tensor.T.contiguous()
        elif fused := re.fullmatch(r"(.*\.)attn\.in_proj_(weight|bias)", name):
            prefix = _renamed(fused[1], _CLIP_NAMES)
            for part, share in zip("qkv", tensor.chunk(3), strict=True):
                mapped[f"{prefix}self_attn.{part}_proj.{fused[2]}"] = share
        elif not _UNUSED.search(name):
            mapped[_renamed(name, _CLIP_NAMES)] = tensor
    return mapped


def from_blip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An ImageReward checkpoint under the names of `core.evaluation.image_reward.RewardNetwork`."""
    return {_renamed(name, _BLIP_NAMES): tensor for name, tensor in state.items() if not _UNUSED.search(name)}


def load_into(network: nn.Module, state: Mapping[str, Tensor], title: str) -> nn.Module:
    """Puts every tensor into its place, and leaves no place empty; the network, ready to use.

    Raises:
        StudioError: tensors are missing, left over or of another shape; the first of them is named.
    """
    own = network.state_dict()
    usable = {name: tensor for name, tensor in state.items() if not _UNUSED.search(name)}
    wrong = [name for name in own if name not in usable or usable[name].shape != own[name].shape]
    wrong += [name for name in usable if name not in own]
    wrong = [name for name in wrong if not _UNUSED.search(name)]
    if wrong:
        raise StudioError(
            "The weights of {title} do not fit its network: {count} tensors differ, for example {first}.",
            "Download them again at the revision that the scorer requires.",
            title=title,
            count=len(wrong),
            first=wrong[0],
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in usable:
                tensor.copy_(usable[name])
    return network.eval().requires_grad_(False)
