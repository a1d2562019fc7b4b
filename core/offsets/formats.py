"""The dialects of LoRA files and of whole checkpoints, told apart by their keys and shapes, never by a file's name.

diffusers, PEFT   unet.<module>.lora_A.weight, base_model.model.<module>.lora_A.weight, older .lora.down.weight
kohya             lora_unet_<module with underscores>.lora_down.weight, with .alpha; SDXL also in the original
                  model's block names (lora_unet_input_blocks_4_1_...)
dense parts       <module>.diff and .diff_b: whole changes of a weight and a bias (LyCORIS' names)
whole networks    diffusers' names, or the original model.diffusion_model.… names
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.errors import StudioError

Format = Literal["diffusers", "peft", "kohya", "full", "original"]

_DOWN = (
    ".lora_A.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    ".lora_linear_layer.down.weight",
    "_lora.down.weight",
)
_UP = (".lora_B.weight", ".lora_up.weight", ".lora.up.weight", ".lora_linear_layer.up.weight", "_lora.up.weight")
_PREFIXES = ("base_model.model.", "unet.", "transformer.", "denoiser.")
_WRAPPERS = ("module.", "ema.", "model_ema.", "ema_model.", "state_dict.", "_orig_mod.")
_TEXT = re.compile(r"^(lora_te\d?_|text_encoder|te\d?\.|text_model|conditioner\.|cond_stage_model\.)")
_OTHER_KINDS = {
    "hada_w1_a": "a LoHa",
    "lokr_w1": "a LoKr",
    "lokr_w1_a": "a LoKr",
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "lora_mid": "a LoCon with a core (Tucker)",
    "oft_blocks": "an OFT",
}
_WORDS = (
    "down_blocks up_blocks mid_block attentions resnets transformer_blocks downsamplers upsamplers attn1 attn2 attn "
    "to_q to_k to_v to_out ff_context ff net proj_in proj_out proj conv_shortcut conv1 conv2 conv_in conv_out conv "
    "time_emb_proj time_embedding add_embedding linear_1 linear_2 linear norm1_context norm1 norm2 norm3 norm_out norm "
    "add_q_proj add_k_proj add_v_proj to_add_out patch_embed text_proj context_embedder"
).split()
_TOKEN = re.compile(rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))}|\d+)(?:_|$)")


@dataclass(frozen=True)
class LoraKeys:
    """The keys of one layer's low-rank part; `alpha` is a key too, or None."""

    down: str
    up: str
    alpha: str | None = None


@dataclass(frozen=True)
class Contents:
    """What a weights file holds, by its keys.

    Args:
        format: its dialect.
        lora: module of the denoiser to the keys of its low-rank part.
        dense: parameter of the denoiser ("mid_block.norm.weight") to the key of its whole change, or of its weight in
            a whole network.
        text: how many tensors belong to text encoders; they are left out, for the negative branch has no text of its own.
        notes: what was done to the names, in words.
    """

    format: Format
    lora: Mapping[str, LoraKeys] = field(default_factory=dict)
    dense: Mapping[str, str] = field(default_factory=dict)
    text: int = 0
    notes: tuple[str, ...] = ()


def dotted(flat: str) -> str | None:
    """`down_blocks_0_attentions_1_proj_in` as `down_blocks.0.attentions.1.proj_in`; None where a word is unknown."""
    parts, at = [], 0
    while at < len(flat):
        match = _TOKEN.match(flat, at)
        if match is None:
            return None
        parts.append(match.group(1))
        at = match.end()
    return ".".join(parts)


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


_FLAT_ORIGINAL = re.compile(r"(input_blocks|output_blocks|middle_block)_")
_ORIGINAL_WORDS = re.compile(
    r"(input_blocks|output_blocks|middle_block|in_layers|out_layers|emb_layers|skip_connection|op|\d+)(?:_|$)"
)


def _kohya_module(flat: str) -> str | None:
    if not _FLAT_ORIGINAL.match(flat):
        return dotted(flat)
    parts, at = [], 0
    while at < len(flat):
        match = _ORIGINAL_WORDS.match(flat, at) or _TOKEN.match(flat, at)
        if match is None:
            return None
        parts.append(match.group(1))
        at = match.end()
    return from_original(".".join(parts))


def _unwrapped(key: str) -> tuple[str, str]:
    """The key without what training frameworks put in front, and what that was."""
    gone = ""
    while True:
        wrapper = next((w for w in _WRAPPERS if key.startswith(w)), None)
        if wrapper is None:
            return key, gone
        key, gone = key.removeprefix(wrapper), gone + wrapper


def _end(key: str, endings: tuple[str, ...]) -> str | None:
    """The key without the ending it has; attention processors of the first diffusers LoRAs stand apart."""
    for ending in endings:
        if key.endswith(ending):
            stem = key.removesuffix(ending)
            stem = re.sub(r"\.processor\.(to_[qkv])$", r".\1", stem)
            return re.sub(r"\.processor\.to_out$", ".to_out.0", stem)
    return None


def classify(shapes: Mapping[str, tuple[int, ...]], name: str) -> Contents:
    """What a file holds, from the names of its tensors.

    Args:
        name: of the file, for what is said.

    Raises:
        StudioError: it is a kind that cannot be read, or none of its keys is known.
    """
    for key in shapes:
        for mark, kind in _OTHER_KINDS.items():
            if mark in key.split("."):
                raise StudioError(
                    f"“{name}” is {kind}, which has no low-rank form.",
                    "Merge it into its model with the program that made it, then use `offset extract` on the result.",
                )
    lora: dict[str, dict[str, str]] = {}
    dense: dict[str, str] = {}
    text, notes, strangers, formats = 0, [], [], set()
    for raw in shapes:
        key, wrapper = _unwrapped(raw)
        if wrapper and (said := f"“{wrapper.rstrip('.')}” in front of names was left out") not in notes:
            notes.append(said)
        if _TEXT.match(key):
            text += 1
            continue
        kohya = key.startswith("lora_unet_")
        prefix = next((p for p in _PREFIXES if key.startswith(p)), "")
        body = key.removeprefix("lora_unet_") if kohya else key.removeprefix(prefix)
        part: tuple[str, str] | None = next(
            (
                (stem, what)
                for what, ends in (("down", _DOWN), ("up", _UP), ("alpha", (".alpha",)))
                if (stem := _end(body, ends))
            ),
            None,
        )
        if part is None:
            for suffix, parameter in ((".diff", "weight"), (".diff_b", "bias")):
                if body.endswith(suffix):
                    part = (body.removesuffix(suffix), parameter)
        if part is None:
            strangers.append(raw)
            continue
        module = _kohya_module(part[0]) if kohya else part[0]
        if module is None:
            strangers.append(raw)
        elif part[1] in ("weight", "bias"):
            dense[f"{module}.{part[1]}"] = raw
        else:
            lora.setdefault(module, {})[part[1]] = raw
            formats.add("kohya" if kohya else "peft" if prefix == "base_model.model." else "diffusers")
    if not lora and not dense:
        return _whole_network(shapes, name)
    broken = [module for module, keys in lora.items() if not {"down", "up"} <= keys.keys()]
    if strangers or broken or len(formats) > 1:
        first = (strangers or [next(iter(lora[broken[0]].values()))] if strangers or broken else ["mixed dialects"])[0]
        fit = len(shapes) - text - len(strangers) - len(broken)
        raise StudioError(
            f"“{name}” is no LoRA this studio reads whole: {fit} of its {len(shapes)} tensors fit, “{first[:80]}” does not.",
            "Choose a LoRA of the denoiser in the diffusers, PEFT or kohya layout.",
        )
    if text:
        notes.append(f"{text} tensors of text encoders were left out: the negative branch changes the denoiser alone")
    keys = {module: LoraKeys(k["down"], k["up"], k.get("alpha")) for module, k in lora.items()}
    return Contents(next(iter(formats), "diffusers"), keys, dense, text, tuple(notes))  # type: ignore[arg-type]


def _whole_network(shapes: Mapping[str, tuple[int, ...]], name: str) -> Contents:
    dense, notes, text = {}, [], 0
    for raw in shapes:
        key, wrapper = _unwrapped(raw)
        if wrapper and (said := f"“{wrapper.rstrip('.')}” in front of names was left out") not in notes:
            notes.append(said)
        if key.startswith("model.diffusion_model."):
            body = key.removeprefix("model.diffusion_model.")
            module, _, parameter = body.rpartition(".")
            if found := from_original(module):
                dense[f"{found}.{parameter}"] = raw
            continue
        if _TEXT.match(key) or key.startswith(("first_stage_model.", "vae.")):
            text += 1
            continue
        body = next((key.removeprefix(p) for p in _PREFIXES if key.startswith(p)), key)
        if re.match(
            r"(down_blocks|up_blocks|mid_block|conv_in|conv_out|conv_norm_out|time_embedding|transformer_blocks|add_embedding|patch_embed|proj_out|norm_out|norm_final|context_embedder|time_text_embed|pos_embed)\b",
            body,
        ):
            dense[body] = raw
    if not dense:
        first = next(iter(shapes), "nothing")
        raise StudioError(
            f"“{name}” is no offset and no denoiser this studio knows: it holds “{first[:80]}”.",
            "Choose a LoRA or the weights of a denoiser.",
        )
    original = any("model.diffusion_model." in key for key in dense.values())
    return Contents("original" if original else "full", {}, dense, text, tuple(notes))


def family_of(contents: Contents, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the family by modules and shapes; empty where they do not tell (a miniature, or self-attention alone)."""
    widths, names = set(), set(contents.lora) | {name.rpartition(".")[0] for name in contents.dense}
    for module, keys in contents.lora.items():
        if module.endswith(("attn2.to_k", "attn2.to_v")):
            widths.add(shapes[keys.down][1])
    for parameter, key in contents.dense.items():
        if parameter.endswith("attn2.to_k.weight"):
            widths.add(shapes[key][1])
    if any(name.startswith("transformer_blocks.") for name in names):
        joint = any(".add_k_proj" in name or ".ff_context" in name for name in names)
        return "sd3" if joint else "cogvideox"
    return {frozenset({768}): "sd15", frozenset({2048}): "sdxl"}.get(frozenset(widths), "")
