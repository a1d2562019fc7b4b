"""Offsets as low-rank layers: attaching a trainable one, reading it off, applying, mixing and imitating it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from core.errors import StudioError

ADAPTER = "default"


class LowRankLayer(NamedTuple):
    """The offset of one layer: up @ down, lora scaling folded into `up`.

    down: (rank, in) for a linear layer, (rank, in, kernel, kernel) for a convolution.
    up: (out, rank), or (out, rank, 1, 1).
    """

    down: Tensor
    up: Tensor

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def dense(self) -> Tensor:
        """The change of the layer's weight, in that weight's shape."""
        flat = self.up.flatten(1) @ self.down.flatten(1)
        return flat.reshape(self.up.shape[0], *self.down.shape[1:])


class DenseLayer(NamedTuple):
    """The whole change of a layer's own parameters: of a norm, of a bias, or of a weight that is kept exactly."""

    weight: Tensor | None = None
    bias: Tensor | None = None


LowRank = Mapping[str, LowRankLayer]
"""Module name inside the denoiser to its offset."""


class OffsetWeights(dict[str, LowRankLayer]):
    """An offset with whole changes beside its low-rank layers: module name to `DenseLayer`."""

    def __init__(
        self, low_rank: Mapping[str, LowRankLayer] | None = None, dense: Mapping[str, DenseLayer] | None = None
    ) -> None:
        super().__init__(low_rank or {})
        self.dense = dict(dense or {})


def dense_of(offset: LowRank) -> dict[str, DenseLayer]:
    """The whole changes of an offset; none of one that is low-rank alone."""
    return offset.dense if isinstance(offset, OffsetWeights) else {}


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


def to_low_rank(denoiser: nn.Module) -> dict[str, LowRankLayer]:
    """A copy of the attached adapter, in float32 on the CPU."""
    return {
        name: LowRankLayer(
            layer.lora_A[ADAPTER].weight.detach().float().cpu().clone(),
            layer.lora_B[ADAPTER].weight.detach().float().cpu() * layer.scaling[ADAPTER],
        )
        for name, layer in _lora_layers(denoiser).items()
    }


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


def _weights(denoiser: nn.Module, low_rank: LowRank) -> dict[str, nn.Parameter]:
    modules = dict(denoiser.named_modules())
    dense = dense_of(low_rank)
    missing = [name for name in {**low_rank, **dense} if name not in modules]
    if missing:
        raise StudioError(
            f"{len(missing)} of the offset's {len({**low_rank, **dense})} layers are not in this model, "
            f"{missing[0]} for one.",
            "The offset belongs to another model: choose one made for this base.",
        )
    found: dict[str, nn.Parameter] = {}
    for name, change in dense.items():
        for part, tensor in (("weight", change.weight), ("bias", change.bias)):
            own = getattr(modules[name], part, None)
            if tensor is not None and (own is None or own.shape != tensor.shape):
                raise StudioError(
                    f"The offset's {part} of {name} does not fit the model's.",
                    "The offset belongs to a model of another size or family: choose one made for this base.",
                )
    for name, layer in low_rank.items():
        weight = modules[name].weight
        shape = (layer.up.shape[0], *layer.down.shape[1:])
        if tuple(weight.shape) != shape:
            raise StudioError(
                f"The offset's layer {name} has shape {shape}, the model's {tuple(weight.shape)}.",
                "The offset belongs to a model of another size or family: choose one made for this base.",
            )
        found[name] = weight
    return found


def check_fits(denoiser: nn.Module, low_rank: LowRank) -> None:
    """Whether the offset's layers are the model's.

    Raises:
        StudioError: a layer is missing or of another shape; says how many and which.
    """
    _weights(denoiser, low_rank)


@contextmanager
def applied(denoiser: nn.Module, low_rank: LowRank, scale: float = 1.0) -> Iterator[None]:
    """The network with `scale` times the offset in its weights; its own weights are put back bit by bit."""
    changes = [(weight, low_rank[name].dense()) for name, weight in _weights(denoiser, low_rank).items()]
    modules = dict(denoiser.named_modules())
    for name, change in dense_of(low_rank).items():
        pairs = ((modules[name].weight, change.weight), (getattr(modules[name], "bias", None), change.bias))
        changes += [(own, tensor) for own, tensor in pairs if tensor is not None]  # type: ignore[misc]
    kept = {id(weight): weight.detach().clone() for weight, _ in changes}
    try:
        with torch.no_grad():
            for weight, change_of_it in changes:
                weight.add_(change_of_it.to(weight), alpha=scale)
        yield
    finally:
        with torch.no_grad():
            for weight, _ in changes:
                weight.copy_(kept[id(weight)])


def random_like(low_rank: LowRank, seed: int) -> dict[str, LowRankLayer]:
    """A random offset of the same rank and the same Frobenius norm, layer by layer: the control of an evaluation."""
    generator = torch.Generator().manual_seed(seed)
    control = {}
    for name, layer in low_rank.items():
        down = torch.randn(layer.down.shape, generator=generator)
        up = torch.randn(layer.up.shape, generator=generator)
        drawn = LowRankLayer(down, up)
        control[name] = LowRankLayer(down, up * (layer.dense().norm() / drawn.dense().norm()))
    return control


def random_of(denoiser: nn.Module, targets: Sequence[str], *, rank: int, seed: int = 0) -> dict[str, LowRankLayer]:
    """A random offset of the network's own linear layers, for measuring: down (rank, in), up (out, rank), entries with a
    standard deviation of 0.01.

    Args:
        targets: suffixes of module names, as of `attach`.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRankLayer(
            0.01 * torch.randn(rank, module.in_features, generator=generator),
            0.01 * torch.randn(module.out_features, rank, generator=generator),
        )
        for name, module in denoiser.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(tuple(f".{target}" for target in targets))
    }


def combine(parts: Sequence[tuple[LowRank, float]]) -> dict[str, LowRankLayer]:
    """The weighted sum of offsets, exactly: ranks side by side. `combine([(a, 0.5), (b, 0.5)])` is their mean."""
    names = dict.fromkeys(name for part, _ in parts for name in part)
    return {
        name: LowRankLayer(
            torch.cat([part[name].down for part, _ in parts if name in part]),
            torch.cat([part[name].up * weight for part, weight in parts if name in part], dim=1),
        )
        for name in names
    }


def extract(change: Tensor, rank: int) -> LowRankLayer:
    """The best low-rank form of a weight change (out, in...), by singular value decomposition."""
    flat = change.detach().float().flatten(1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    rank = min(rank, len(values))
    root = values[:rank].sqrt()
    down = (root[:, None] * right[:rank]).reshape(rank, *change.shape[1:])
    up = (left[:, :rank] * root).reshape(change.shape[0], rank, *(1,) * (change.ndim - 2))
    return LowRankLayer(down.contiguous(), up.contiguous())


def norm(low_rank: LowRank) -> float:
    """Frobenius norm of the whole offset."""
    return float(torch.stack([layer.dense().square().sum() for layer in low_rank.values()]).sum().sqrt())
