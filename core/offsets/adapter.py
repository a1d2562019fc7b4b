"""The trainable form of an offset: a PEFT adapter, attached, switched off for the reference, and read off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import Offset

ADAPTER = "default"


def attach(
    denoiser: nn.Module, targets: Sequence[str], *, rank: int, lora_alpha: float, seed: int, freeze_down: bool = False
) -> list[nn.Parameter]:
    """Adds a trainable LoRA adapter that changes nothing yet, and freezes everything else.

    Args:
        targets: suffixes of module names.
        freeze_down: train the up matrices alone; then an average of them is exactly the average of the products.

    Returns:
        the trainable parameters, in the network's order.
    """
    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(  # type: ignore[operator]
            LoraConfig(r=rank, lora_alpha=lora_alpha, target_modules=list(targets), init_lora_weights="gaussian"),
            adapter_name=ADAPTER,
        )
    if freeze_down:
        for layer in _lora_layers(denoiser).values():
            layer.lora_A[ADAPTER].requires_grad_(False)
    return [parameter for parameter in denoiser.parameters() if parameter.requires_grad]


def _lora_layers(denoiser: nn.Module) -> dict[str, LoraLayer]:
    return {name: module for name, module in denoiser.named_modules() if isinstance(module, LoraLayer)}


def offset_of(denoiser: nn.Module) -> Offset:
    """A copy of the attached adapter, in float32 on the CPU."""
    return Offset(
        {
            name: LowRankLayer(
                layer.lora_A[ADAPTER].weight.detach().float().cpu().clone(),
                layer.lora_B[ADAPTER].weight.detach().float().cpu() * layer.scaling[ADAPTER],
            )
            for name, layer in _lora_layers(denoiser).items()
        }
    )


@contextmanager
def adapter_disabled(denoiser: nn.Module) -> Iterator[None]:
    """The network without its adapter: the frozen reference. Run backward before entering, never inside: gradient
    checkpointing would recompute with the wrong weights."""
    layers = _lora_layers(denoiser).values()
    for layer in layers:
        # the attribute behind `enable_adapters`, which would also flip requires_grad
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False
