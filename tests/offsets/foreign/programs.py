"""Which keys of an adapter file other programs act on, as facts read from their code in November 2026.

ComfyUI (comfy/lora.py, comfy/utils.py, comfy/weight_adapter/lora.py): a layer is found by its flat name behind lora_unet_
or lycoris_, or by its dotted name, bare or behind unet., in which to_q is processor.to_q.
Forge (packages_3rdparty/comfyui_lora_collection/lora.py at 5e1dcd3): the same names; of the endings it lacks .lora_B alone.
sd-scripts (networks/lora.py): modules are made for the linear and convolution layers inside transformers, resnets,
down- and upsamplers, by flat names behind lora_unet_; for SDXL diffusers' names are turned into the original ones.
A1111 (extensions-builtin/Lora): flat names behind lora_unet_ are matched by pattern.
"""

import re
from collections.abc import Iterable

_RESNET = r"(norm1|conv1|time_emb_proj|norm2|conv2|conv_shortcut)"
_ATTENTION = (
    r"(norm|proj_in|proj_out|transformer_blocks\.\d+\."
    r"(norm[123]|attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.0\.proj|ff\.net\.2))"
)
_UNET = [
    rf"(down|up)_blocks\.\d+\.resnets\.\d+\.{_RESNET}",
    rf"mid_block\.resnets\.[01]\.{_RESNET}",
    rf"((down|up)_blocks\.\d+|mid_block)\.attentions\.\d+\.{_ATTENTION}",
    r"down_blocks\.\d+\.downsamplers\.0\.conv",
    r"up_blocks\.\d+\.upsamplers\.0\.conv",
    r"conv_in|conv_out|conv_norm_out|time_embedding\.linear_[12]|add_embedding\.linear_[12]",
]
_COMFYUI_UP = (
    ".lora_up.weight", "_lora.up.weight", ".lora_B.weight", ".lora.up.weight", ".lora_B", ".lora_linear_layer.up.weight",
)  # fmt: skip
_SD_SCRIPTS = [*_UNET[:5]]
_A1111 = [
    r"conv_in", r"conv_out", r"time_embedding_linear_\d+",
    r"(down|up)_blocks_\d+_(attentions|resnets)_\d+_.+", r"mid_block_(attentions|resnets)_\d+_.+",
    r"down_blocks_\d+_downsamplers_0_conv", r"up_blocks_\d+_upsamplers_0_conv",
]  # fmt: skip


def _any(patterns: Iterable[str], text: str) -> bool:
    return any(re.fullmatch(pattern, text) for pattern in patterns)


def comfyui(keys: set[str], modules: list[str], endings: tuple[str, ...] = _COMFYUI_UP) -> set[str]:
    """The modules that ComfyUI changes by these keys."""
    read = set()
    for module in (module for module in modules if _any(_UNET, module)):
        flat = module.replace(".", "_")
        names = [f"lora_unet_{flat}", f"lycoris_{flat}"]
        for prefix in ("", "unet."):
            name = prefix + module.replace(".to_", ".processor.to_")
            names.append(name.removesuffix(".0") if name.endswith(".to_out.0") else name)
        if any(f"{name}{ending}" in keys for name in names for ending in endings):
            read.add(module)
    return read


def forge(keys: set[str], modules: list[str]) -> set[str]:
    """The modules that Forge changes."""
    return comfyui(keys, modules, tuple(ending for ending in _COMFYUI_UP if ending != ".lora_B"))


def sd_scripts(keys: set[str], modules: list[str]) -> set[str]:
    """The modules that sd-scripts changes."""
    inside = [module for module in modules if _any(_SD_SCRIPTS, module) and not re.search(r"norm\d?$", module)]
    return {module for module in inside if f"lora_unet_{module.replace('.', '_')}.lora_up.weight" in keys}


def a1111(keys: set[str], modules: list[str]) -> set[str]:
    """The modules that A1111 changes."""
    flat = {module.replace(".", "_"): module for module in modules}
    known = [name for name in flat if _any(_A1111, name)]
    return {flat[name] for name in known if f"lora_unet_{name}.lora_up.weight" in keys}


PROGRAMS = {"ComfyUI": comfyui, "Forge": forge, "sd-scripts": sd_scripts, "A1111": a1111}
