"""Whole weights of a tuned network as an offset from its base: exactly, or as the best low-rank form of it; and back.

exact       every changed parameter kept whole: the twin. Two sets of weights, one forward.
extracted   the linear and convolution weights by singular value decomposition, norms and biases kept whole.
merged      base + scale * offset as one network's weights, for people who want theta - w delta (Neon,
            arXiv 2510.03597) at no cost per step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import StudioError
from core.offsets.files import read_parameters
from core.offsets.low_rank import factorize
from core.offsets.offset import DenseLayer, Offset
from core.offsets.tensors import write_tensors


def difference(denoiser: nn.Module, path: Path, *, family: str) -> dict[str, Tensor]:
    """Parameter name to (tuned - base), float32, for the parameters that differ.

    Args:
        denoiser: the base, of the same architecture.
        path: whole weights: a file, or a folder of shards.

    Raises:
        StudioError: a parameter is missing or of another shape; nothing differs.
    """
    tuned = read_parameters(path, family=family)
    own = dict(denoiser.named_parameters())
    missing = [name for name in own if name not in tuned]
    if missing:
        raise StudioError(
            "“{file}” has {count} of the base's {total} parameters; {name} is missing.",
            "The weights belong to another architecture: choose those of a model tuned from this base."
            if len(missing) > len(own) // 2
            else "The weights are incomplete or belong to a variant of this base: choose those of a model tuned from it.",
            count=len(own) - len(missing),
            total=len(own),
            file=path.name,
            name=missing[0],
        )
    known = {*own, *(name for name, _ in denoiser.named_buffers())}
    if strangers := [name for name in tuned if name not in known]:
        raise StudioError(
            "“{file}” has {count} parameters that the base does not have, for example {name}.",
            "The weights belong to a variant of this base: choose those of a model tuned from it.",
            file=path.name,
            count=len(strangers),
            name=strangers[0],
        )
    changes = {}
    for name, parameter in own.items():
        other = tuned[name].float()
        if other.shape != parameter.shape and other.numel() == parameter.numel():
            other = other.reshape(parameter.shape)  # the original layout writes some projections as convolutions
        if other.shape != parameter.shape:
            raise StudioError(
                "{name} has shape {own} in “{file}” and {shape} in the base.",
                "The weights belong to a model of another size: choose those of a model tuned from this base.",
                name=name,
                own=tuple(other.shape),
                file=path.name,
                shape=tuple(parameter.shape),
            )
        change = other - parameter.detach().float().cpu()
        if bool(change.any()):
            changes[name] = change
    if not changes:
        raise StudioError(
            "“{name}” holds the base's own weights.", "Choose the weights of a tuned model.", name=path.name
        )
    return changes


def _by_module(changes: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    modules: dict[str, dict[str, Tensor]] = {}
    for name, change in changes.items():
        module, _, part = name.rpartition(".")
        if part not in ("weight", "bias"):
            raise StudioError(
                "The weights change {name}, which no offset can hold.", "Use the tuned model as the base.", name=name
            )
        modules.setdefault(module, {})[part] = change
    return modules


def exact(changes: Mapping[str, Tensor]) -> Offset:
    """The difference kept whole: the twin, for those with the memory for two sets of weights."""
    return Offset({}, {module: DenseLayer(**parts) for module, parts in _by_module(changes).items()})


@dataclass(frozen=True)
class Extraction:
    """A low-rank form of a difference and how good it is.

    Args:
        captured: module to the share of its squared change that its low-rank form holds, 0 to 1.
        weight_error: Frobenius norm of what is lost over that of the whole change, 0 to 1.
        rank: the largest rank used.
    """

    offset: Offset
    captured: dict[str, float]
    weight_error: float
    rank: int


def extract_offset(
    changes: Mapping[str, Tensor],
    *,
    rank: int | None = None,
    error: float | None = None,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> Extraction:
    """The best low-rank form of a difference; norms and biases stay whole.

    Args:
        rank: of every layer; or
        error: the smallest rank of each layer whose relative error (Frobenius) stays under this, 0 to 1.
        on_layer: called with (layers done, layers in all).

    Raises:
        StudioError: neither or both of rank and error are given, or one is out of range.
    """
    if (
        (rank is None) == (error is None)
        or (rank is not None and rank < 1)
        or (error is not None and not 0 < error < 1)
    ):
        raise StudioError("Choose a rank of 1 or more, or an error between 0 and 1.", "For example --rank 64.")
    low_rank, dense, captured = {}, {}, {}
    lost = whole = 0.0
    modules = _by_module(changes)
    for done, (module, parts) in enumerate(modules.items(), 1):
        weight = parts.get("weight")
        if weight is None or weight.ndim < 2:
            dense[module] = DenseLayer(**parts)
            continue
        factoring = factorize(weight, rank=rank, error=error)
        low_rank[module] = factoring.layer
        captured[module] = 1 - factoring.lost / factoring.whole
        lost, whole = lost + factoring.lost, whole + factoring.whole
        if "bias" in parts:
            dense[module] = DenseLayer(None, parts["bias"])
        on_layer(done, len(modules))
    largest = max((layer.rank for layer in low_rank.values()), default=0)
    return Extraction(Offset(low_rank, dense), captured, (lost / whole) ** 0.5 if whole else 0.0, largest)


@torch.no_grad()
def prediction_error(
    denoiser: nn.Module, exact_offset: Offset, offset: Offset, predict: Callable[[nn.Module], Tensor]
) -> float:
    """Relative error (RMS) of what the offset changes in the prediction on fixed inputs: 0 is exact, 1 is no offset.

    Args:
        predict: (denoiser) -> output on the fixed inputs.
    """
    plain = predict(denoiser).float()
    with exact_offset.apply(denoiser):
        wanted = predict(denoiser).float() - plain
    with offset.apply(denoiser):
        approximated = predict(denoiser).float() - plain
    return float((approximated - wanted).norm() / wanted.norm().clamp(min=1e-12))


@torch.no_grad()
def merged_state(denoiser: nn.Module, offset: Offset, scale: float) -> dict[str, Tensor]:
    """The parameters and buffers of base + scale * offset, on the CPU in the base's data types."""
    with offset.apply(denoiser, scale):
        return {name: tensor.detach().cpu().clone() for name, tensor in denoiser.state_dict().items()}


def save_state(path: Path, state: Mapping[str, Tensor], *, family: str, provenance: Mapping[str, str]) -> None:
    """Writes whole weights by diffusers' names: whole, or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_tensors(path, tensors, {"format": "pt", "family": family, **provenance})
