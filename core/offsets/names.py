"""How other programs name the denoiser's modules, and what diffusers calls them.

flat        dots as underscores: down_blocks_0_attentions_1_proj_in (kohya, LyCORIS, OneTrainer)
original    the block names of the first UNet: input_blocks.4.1.proj_in, flat as well
"""

from __future__ import annotations

import re

_WORDS = (
    "down_blocks up_blocks mid_block attentions resnets transformer_blocks downsamplers upsamplers attn1 attn2 attn "
    "to_q to_k to_v to_out ff_context ff net proj_in proj_out proj conv_shortcut conv1 conv2 conv_in conv_out conv "
    "conv_norm_out time_emb_proj time_embedding add_embedding linear_1 linear_2 linear norm1_context norm1 norm2 norm3 "
    "norm_out norm_final norm norm_q norm_k add_q_proj add_k_proj add_v_proj to_add_out patch_embed text_proj "
    "context_embedder time_text_embed timestep_embedder text_embedder norm_added_q norm_added_k"
).split()
_ORIGINAL_WORDS = (
    "input_blocks output_blocks middle_block in_layers out_layers emb_layers skip_connection op time_embed label_emb out"
).split()
_ORIGINAL = re.compile(r"(input_blocks|output_blocks|middle_block|time_embed|label_emb|out)[._]\d")


def _tokens(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"({'|'.join(sorted(words, key=len, reverse=True))}|\d+)(?:_|$)")


_TOKEN, _ORIGINAL_TOKEN = _tokens(_WORDS), _tokens([*_WORDS, *_ORIGINAL_WORDS])


def _split(flat: str, token: re.Pattern[str]) -> str | None:
    parts, at = [], 0
    while at < len(flat):
        match = token.match(flat, at)
        if match is None:
            return None
        parts.append(match.group(1))
        at = match.end()
    return ".".join(parts)


def dotted(flat: str) -> str | None:
    """`down_blocks_0_attentions_1_proj_in` as `down_blocks.0.attentions.1.proj_in`; None where a word is unknown."""
    return _split(flat, _TOKEN)


_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def from_original(module: str) -> str | None:
    """A UNet module of the original layout (`input_blocks.4.1.proj_in`) by diffusers' name; None where it has none.

    Holds for SD1.5 and SDXL, which have two layers a block.
    """
    if module in _ENDS:
        return _ENDS[module]
    match = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d)\.(.+)", module)
    if match:
        side, number, place, rest = match.group(1), int(match.group(2)), int(match.group(3)), match.group(4)
        down = side == "input_blocks"
        block, layer = divmod(number - 1, 3) if down else divmod(number, 3)
        name = "down_blocks" if down else "up_blocks"
        if rest == "op" or (down and layer == 2):
            return f"{name}.{block}.downsamplers.0.conv" if rest == "op" else None
        if rest == "conv":
            return f"{name}.{block}.upsamplers.0.conv"
        inner, kind = (_RESNET.get(rest), "resnets") if place == 0 else (rest, "attentions")
        return f"{name}.{block}.{kind}.{layer}.{inner}" if inner else None
    match = re.fullmatch(r"middle_block\.(\d)\.(.+)", module)
    if match:
        place, rest = int(match.group(1)), match.group(2)
        if place == 1:
            return f"mid_block.attentions.0.{rest}"
        return f"mid_block.resnets.{place // 2}.{_RESNET[rest]}" if rest in _RESNET else None
    return None


def of_flat(flat: str) -> str | None:
    """A flat name, in diffusers' or the original's words, by diffusers' name; None where it has none."""
    if not _ORIGINAL.match(flat):
        return dotted(flat)
    original = _split(flat, _ORIGINAL_TOKEN)
    return from_original(original) if original else None


def of_dotted(name: str) -> str | None:
    """A dotted name, diffusers' or the original's, by diffusers' name; None for an original one without any."""
    return from_original(name) if _ORIGINAL.match(name) else name
