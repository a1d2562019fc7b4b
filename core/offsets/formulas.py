"""What each kind of adapter does to a layer's weight W: the formulas, from the names of its tensors on.

kind      change of W                                                      paper
LoRA      s B A; with a core s B M A (Tucker)                              arXiv 2106.09685, 2309.14859
LoHa      s (B1 A1) * (B2 A2), elementwise; with cores each Tucker         arXiv 2108.06098
LoKr      s kron(C, B A)                                                   arXiv 2212.10650
DoRA      m V / |V| - W with V = W + the change of one of the above        arXiv 2402.09353
OFT, BOFT  W turned: `core.offsets.rotations`                               arXiv 2306.07280, 2311.06243
GLoRA     s (W A + B)                                                      arXiv 2306.07967
IA3       W * l (LyCORIS) or W * (l - 1) (PEFT), l along the rows or columns   arXiv 2205.05638

s is alpha / rank, or alpha / sqrt(rank) for rsLoRA (arXiv 2312.03732). What no s B A can say exactly becomes a dense
change; it is as large as the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from core.offsets import rotations
from core.offsets.kinds import kind_of_layer
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import DenseLayer


def _tucker(core: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(rank, rank, kernel...) with (rank, out) and (rank, in) as a weight (out, in, kernel...)."""
    return torch.einsum("i j ..., i o, j n -> o n ...", core, first, second)


def _low_rank(parts: Mapping[str, Tensor], scale: float) -> LowRankLayer:
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        # (rank, in, kernel...) : the core takes the place of the kernel
        down = torch.einsum("r q ..., q n -> r n ...", parts["mid"], down.flatten(1))
    if up.ndim == 2 and down.ndim > 2:
        up = up.reshape(*up.shape, *(1,) * (down.ndim - 2))
    return LowRankLayer(down, up * scale)


def _loha(parts: Mapping[str, Tensor]) -> Tensor:
    factors = []
    for number in ("1", "2"):
        a, b = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"]
        factors.append(_tucker(parts[f"hada_t{number}"], a, b) if f"hada_t{number}" in parts else a @ b)
    return factors[0] * factors[1]


def _lokr(parts: Mapping[str, Tensor]) -> Tensor:
    small = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        large = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        large = _tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        large = parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    # kron cannot view a tensor whose axes einsum has changed
    return torch.kron(small.reshape(*small.shape, *(1,) * (large.ndim - 2)), large.contiguous())


def _glora(parts: Mapping[str, Tensor], weight: Tensor) -> tuple[Tensor, int]:
    """(change without its scale, rank). The matrices of early files are the other way around."""
    a1, a2, b1, b2 = (parts[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if a1.shape[0] != weight.shape[1]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    if "bm" in parts:
        added = torch.einsum("r q ..., o r, q n -> o n ...", parts["bm"], b1, b2)
    else:
        added = (b1 @ b2).reshape(weight.shape)
    return added + torch.einsum("o i ..., i n -> o n ...", weight, a1 @ a2), a1.shape[1]


def _dora(weight: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """The magnitude has one value for each row, (out, 1...), (out,) or (1, out, 1, 1) of PEFT's convolutions, or for
    each column, (1, in, 1...)."""
    whole = weight + change
    by_rows = magnitude.numel() == weight.shape[0] and (magnitude.ndim == 1 or magnitude.shape[0] != 1)
    if not by_rows and magnitude.numel() == weight.shape[0] != weight.shape[1]:
        by_rows = True
    kept_axis = 0 if by_rows else 1
    axes = [axis for axis in range(weight.ndim) if axis != kept_axis]
    shape = [weight.shape[kept_axis] if axis == kept_axis else 1 for axis in range(weight.ndim)]
    return whole * (magnitude.reshape(shape) / torch.linalg.vector_norm(whole, dim=axes, keepdim=True)) - weight


def change_of(
    parts: Mapping[str, Tensor],
    scale: float,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    config: Mapping[str, Any] = MappingProxyType({}),
    kohya_oft: bool = False,
) -> tuple[LowRankLayer | None, DenseLayer | None]:
    """What a layer's tensors change, as a low-rank layer, as whole changes, or as both.

    Args:
        parts: float32, by the names of `core.offsets.kinds`.
        scale: alpha / rank or what stands for it; of kinds without a scale it is not used.
        weight, bias: the base's own, float32; needed where `kinds.needs_base` says so.
        config: of PEFT, for its OFT.
        kohya_oft: the file is of sd-scripts' OFT, whose bound of 0 means no turning at all; LyCORIS' means no bound.

    Raises:
        ValueError, RuntimeError: shapes do not fit each other, or not the base's.
    """
    kind = kind_of_layer(parts)
    low_rank: LowRankLayer | None = None
    change: Tensor | None = None
    added: Tensor | None = None
    if "down" in parts:
        low_rank = _low_rank(parts, scale)
        if "up_bias" in parts:
            added = parts["up_bias"] * scale
    elif "hada_w1_a" in parts:
        change = _loha(parts) * scale
    elif kind == "LoKr" or "lokr_w1" in parts or "lokr_w1_a" in parts:
        change = _lokr(parts) * scale
    if kind not in ("LoRA", "dense"):
        assert weight is not None
        if low_rank is not None:
            change, low_rank = low_rank.dense(), None
        if "oft_blocks" in parts:
            change = rotations.lycoris_change(parts, weight, clamp_at_zero=kohya_oft)
        elif kind == "OFT":
            change = rotations.peft_oft_change(parts, weight, config)
        elif kind == "BOFT":
            change = rotations.peft_boft_change(parts, weight)
        elif kind == "GLoRA":
            change, rank = _glora(parts, weight)
            change = change * (float(parts["alpha"]) / rank if "alpha" in parts else 1.0)
        elif "ia3_weight" in parts:
            factor = parts["ia3_weight"].flatten()
            axis = 1 if bool(parts["on_input"]) else 0
            change = weight * factor.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        elif "ia3_l" in parts:
            factor = parts["ia3_l"].reshape(-1) - 1
            by_rows = parts["ia3_l"].shape[0] != 1
            change = weight * factor.reshape([-1 if i == (0 if by_rows else 1) else 1 for i in range(weight.ndim)])
            if by_rows and bias is not None:
                added = bias * factor
        assert change is not None
        change = change.reshape(weight.shape)
        if "dora_scale" in parts:
            change = _dora(weight, change, parts["dora_scale"])
    return low_rank, _with_extras(parts, change, added, weight, bias)


def _with_extras(
    parts: Mapping[str, Tensor], change: Tensor | None, added: Tensor | None, weight: Tensor | None, bias: Tensor | None
) -> DenseLayer | None:
    """The whole changes of a layer: those that its kind gives, and the extras that stand beside it."""
    changes: list[Tensor | None] = [change, added]
    for index, names in enumerate((("diff", "w_norm"), ("diff_b", "b_norm"))):
        for name in names:
            if name in parts:
                before = changes[index]
                changes[index] = parts[name] if before is None else before + parts[name]
    for index, (name, own) in enumerate((("value_weight", weight), ("value_bias", bias))):
        if name in parts:
            if own is None:
                raise ValueError("the base has no such parameter")
            changes[index] = parts[name].reshape(own.shape) - own
    return DenseLayer(changes[0], changes[1]) if any(part is not None for part in changes) else None
