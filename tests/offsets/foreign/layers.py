"""A few layers of a UNet, small and by diffusers' names, on which adapters of other programs are made and read."""

import torch
from torch import Tensor, nn

BLOCK = "mid_block.attentions.0.transformer_blocks.0"
LINEAR = f"{BLOCK}.attn1.to_q"
WIDE = f"{BLOCK}.ff.net.2"
CONV = "mid_block.resnets.0.conv1"
POINT = "mid_block.resnets.0.conv_shortcut"
NORM = "conv_norm_out"


def layers(seed: int = 0) -> nn.Module:
    """Nested as in a UNet, so that its names are a UNet's."""
    torch.manual_seed(seed)
    kinds: dict[str, nn.Module] = {
        LINEAR: nn.Linear(8, 8, bias=False),
        WIDE: nn.Linear(16, 8),
        CONV: nn.Conv2d(8, 12, 3, padding=1),
        POINT: nn.Conv2d(8, 12, 1),
        NORM: nn.GroupNorm(4, 8),
    }
    root = nn.Module()
    for name, layer in kinds.items():
        place = root
        *parents, last = name.split(".")
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, nn.Module())
            place = getattr(place, parent)
        place.add_module(last, layer)
    for parameter in root.parameters():
        parameter.data = torch.randn(parameter.shape)
    return root


def inputs() -> dict[str, Tensor]:
    """What each layer is given."""
    generator = torch.Generator().manual_seed(9)
    return {
        LINEAR: torch.randn(3, 8, generator=generator),
        WIDE: torch.randn(3, 16, generator=generator),
        CONV: torch.randn(2, 8, 5, 5, generator=generator),
        POINT: torch.randn(2, 8, 5, 5, generator=generator),
        NORM: torch.randn(2, 8, 5, 5, generator=generator),
    }


@torch.no_grad()
def outputs(root: nn.Module) -> dict[str, Tensor]:
    """What each layer makes of it."""
    return {name: root.get_submodule(name)(x) for name, x in inputs().items()}
