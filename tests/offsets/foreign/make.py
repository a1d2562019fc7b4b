"""Makes tests/offsets/foreign/files with LyCORIS' own code, for the test of what arrives of them.

    pip install --no-deps lycoris-lora==4.1.3 einops toml
    python -m tests.offsets.foreign.make

Each file is what LyCORIS' modules save, behind the prefix that its kohya extension writes (lora_unet_) or the one of
SimpleTuner (lycoris_); `outputs.safetensors` has what LyCORIS itself makes of fixed inputs with it, and
`base.safetensors` the weights below.
"""

from pathlib import Path

import torch
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file

from tests.offsets.foreign.layers import CONV, LINEAR, NORM, POINT, WIDE, inputs, layers

FILES = Path(__file__).parent / "files"
WEIGHTS = (LINEAR, WIDE, CONV, POINT)
MADE = {
    "lora": (LoConModule, {"lora_dim": 2, "alpha": 1}),
    "lora-rs": (LoConModule, {"lora_dim": 4, "alpha": 2, "rs_lora": True}),
    "lora-tucker": (LoConModule, {"lora_dim": 3, "alpha": 2, "use_tucker": True}),
    "loha": (LohaModule, {"lora_dim": 2, "alpha": 1}),
    "loha-tucker": (LohaModule, {"lora_dim": 3, "alpha": 2, "use_tucker": True}),
    "lokr": (LokrModule, {"lora_dim": 1, "alpha": 3, "factor": 2}),
    "lokr-both": (LokrModule, {"lora_dim": 1, "alpha": 2, "factor": 4, "decompose_both": True}),
    "lokr-tucker": (LokrModule, {"lora_dim": 1, "alpha": 2, "factor": 2, "use_tucker": True}),
    "lokr-full": (LokrModule, {"lora_dim": 2, "alpha": 1, "factor": 2, "full_matrix": True}),
    "dora": (LoConModule, {"lora_dim": 2, "alpha": 1, "weight_decompose": True, "wd_on_out": True}),
    "dora-columns": (LoConModule, {"lora_dim": 2, "alpha": 1, "weight_decompose": True, "wd_on_out": False}),
    "doha": (LohaModule, {"lora_dim": 2, "alpha": 1, "weight_decompose": True, "wd_on_out": True}),
    "dokr": (LokrModule, {"lora_dim": 1, "alpha": 2, "factor": 2, "weight_decompose": True, "wd_on_out": True}),
    "oft": (DiagOFTModule, {"lora_dim": 4}),
    "oft-bound": (DiagOFTModule, {"lora_dim": 4, "constraint": 0.01, "rescaled": True}),
    "glora": (GLoRAModule, {"lora_dim": 2, "alpha": 1}),
    "ia3": (IA3Module, {}),
    "ia3-inputs": (IA3Module, {"train_on_input": True}),
    "full": (FullModule, {}),
    "norm": (NormModule, {}),
    "boft": (ButterflyOFTModule, {"lora_dim": 2}),
    "boft-bound": (ButterflyOFTModule, {"lora_dim": 2, "constraint": 0.02, "rescaled": True}),
}


def layers_of(kind: type) -> tuple[str, ...]:
    """Those that a kind of LyCORIS can change: its BOFT needs a power of two of blocks."""
    return (NORM,) if kind is NormModule else (LINEAR, WIDE) if kind is ButterflyOFTModule else WEIGHTS


@torch.no_grad()
def main() -> None:
    FILES.mkdir(exist_ok=True)
    save_file(dict(layers().state_dict()), FILES / "base.safetensors")
    results = {}
    for number, (name, (kind, settings)) in enumerate(MADE.items()):
        root = layers()
        state = {}
        for module in layers_of(kind):
            flat = module.replace(".", "_")
            adapter = kind(f"lora_unet_{flat}", root.get_submodule(module), **settings)
            generator = torch.Generator().manual_seed(number)
            for parameter in adapter.parameters():
                parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
            adapter.apply_to()
            prefix = "lycoris" if name == "lokr-full" else "lora_unet"
            state |= {f"{prefix}_{flat}.{key}": tensor.contiguous() for key, tensor in adapter.state_dict().items()}
            results[f"{name}/{module}"] = root.get_submodule(module)(inputs()[module]).contiguous()
        save_file(state, FILES / f"{name}.safetensors")
    save_file(results, FILES / "outputs.safetensors")


if __name__ == "__main__":
    main()
