"""What one key of a weights file says: whose dialect it is, which module of the denoiser it belongs to, and which part of
an adapter its tensor is."""

from __future__ import annotations

import re
from typing import Literal

from core.offsets.names import of_dotted, of_flat

Format = Literal["diffusers", "peft", "kohya", "lycoris", "comfyui", "sat", "full", "original"]

_FLAT = {"lora_unet_": "kohya", "oft_unet_": "kohya", "lycoris_": "lycoris", "lora_transformer_": "kohya"}
DOTTED = {
    "unet.base_model.model.": "peft",
    "base_model.model.": "peft",
    "unet.": "diffusers",
    "transformer.": "diffusers",
    "denoiser.": "diffusers",
    "model.diffusion_model.": "comfyui",
    "diffusion_model.": "comfyui",
    "": "diffusers",
}
_WRAPPERS = ("module.", "ema.", "model_ema.", "ema_model.", "state_dict.", "_orig_mod.")
TEXT = re.compile(
    r"^(lora_te\d?_|oft_te\d?_|lycoris_te\d?_|text_encoder|te\d?\.|text_model|conditioner\.|cond_stage_model\.)"
)
OTHER_PARTS = re.compile(r"^(first_stage_model\.|vae\.|bundle_emb\.)")
_ADAPTER = r"(?:\.(?!weight$|bias$)\w+)?"  # PEFT's name of an adapter, where the file keeps it

_ENDINGS: tuple[tuple[str, str], ...] = (
    (rf"\.lora_A{_ADAPTER}(?:\.weight)?", "down"),
    (rf"\.lora_B{_ADAPTER}(?:\.weight)?", "up"),
    (rf"\.lora_B{_ADAPTER}\.bias", "up_bias"),
    (r"\.lora_down\.weight|\.lora\.down\.weight|\.lora_linear_layer\.down\.weight|_lora\.down\.weight", "down"),
    (r"\.lora_up\.weight|\.lora\.up\.weight|\.lora_linear_layer\.up\.weight|_lora\.up\.weight", "up"),
    (r"\.lora_mid\.weight", "mid"),
    (r"\.alpha", "alpha"),
    (rf"\.dora_scale|\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "dora_scale"),
    (rf"\.(hada_w[12]_[ab]|hada_t[12]){_ADAPTER}", ""),
    (rf"\.(lokr_w[12](?:_[ab])?|lokr_t2){_ADAPTER}", ""),
    (r"\.(oft_blocks|rescale|on_input|diff|diff_b|w_norm|b_norm)", ""),
    (r"\.(a1|a2|b1|b2|bm)\.weight", ""),
    (rf"\.(ia3_l|boft_R|boft_s){_ADAPTER}", ""),
    (rf"\.(oft_R){_ADAPTER}(?:\.weight)?", ""),
)
_ENDING = [(re.compile(rf"^(.+?)(?:{pattern})$"), part) for pattern, part in _ENDINGS]
DENOISER = re.compile(
    r"(down_blocks|up_blocks|mid_block|conv_in|conv_out|conv_norm_out|time_embedding|transformer_blocks|add_embedding|"
    r"patch_embed|proj_out|norm_out|norm_final|context_embedder|time_text_embed|pos_embed)\b"
)
SCALES = (".scale_weight", ".weight_scale")
_SAT = re.compile(
    r"^(?:model\.diffusion_model\.)?transformer\.layers\.(\d+)\.attention\.(query_key_value|dense)\.matrix_([AB])\.([012])$"
)
_SAT_LAYERS = {
    ("query_key_value", "0"): "to_q",
    ("query_key_value", "1"): "to_k",
    ("query_key_value", "2"): "to_v",
    ("dense", "0"): "to_out.0",
}
FP8_MARKS = re.compile(r"(^|\.)(scaled_fp8|scale_input|input_scale)$")


def unwrapped(key: str) -> tuple[str, str]:
    """The key without what training frameworks put in front, and what that was."""
    gone = ""
    while True:
        wrapper = next((w for w in _WRAPPERS if key.startswith(w)), None)
        if wrapper is None:
            return key, gone
        key, gone = key.removeprefix(wrapper), gone + wrapper


def _split(body: str, *, flat: bool, whole_values: bool) -> tuple[str, str] | None:
    """(module as the file names it, part) of a key without its prefix."""
    for pattern, part in _ENDING:
        if match := pattern.match(body):
            # attention processors of the first diffusers LoRAs stand apart
            stem = re.sub(r"\.processor\.(to_[qkv])$", r".\1", match[1])
            stem = re.sub(r"\.processor\.to_out$", ".to_out.0", stem)
            return stem.removesuffix(".base_layer"), part or next(group for group in match.groups()[1:] if group)
    stem, _, parameter = body.rpartition(".")
    if stem and parameter in ("weight", "bias"):
        if flat and parameter == "weight":
            return stem, "ia3_weight"
        if whole_values:
            return stem.removesuffix(".base_layer"), f"value_{parameter}"
    return None


def parsed(key: str, *, whole_values: bool) -> tuple[str, str, Format] | None:
    """(module by diffusers' name, part, dialect) of an adapter's key; None where it is not understood."""
    if match := _SAT.match(key):
        layer = _SAT_LAYERS.get((match[2], match[4]))
        part = "down" if match[3] == "A" else "up"
        return (f"transformer_blocks.{match[1]}.attn1.{layer}", part, "sat") if layer else None
    for prefix, dialect in _FLAT.items():
        if key.startswith(prefix):
            split = _split(key.removeprefix(prefix), flat=True, whole_values=False)
            module = of_flat(split[0]) if split else None
            return (module, split[1], dialect) if split and module else None  # type: ignore[return-value]
    prefix = next(prefix for prefix in DOTTED if key.startswith(prefix))
    split = _split(key.removeprefix(prefix), flat=False, whole_values=whole_values)
    module = of_dotted(split[0]) if split else None
    return (module, split[1], DOTTED[prefix]) if split and module else None  # type: ignore[return-value]


def is_named_as_adapter(raw: str) -> bool:
    """Whether a key is an adapter's by its name, understood or not."""
    key = unwrapped(raw)[0]
    return key.startswith(tuple(_FLAT)) or bool(
        re.search(r"\.lora_|\.oft_|\.boft_|\.vera_|lora_embedding|\.matrix_[A-Z]\.", key)
    )
