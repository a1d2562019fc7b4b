"""What adapters that turn a weight do to it: OFT (arXiv 2306.07280) and its butterfly form BOFT (arXiv 2311.06243).

Each is W R or R W less W, with R block-diagonal and orthogonal by Cayley's transform of skew-symmetric blocks; BOFT
multiplies several such R, with the rows permuted between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.errors import StudioError


def lycoris_change(parts: Mapping[str, Tensor], weight: Tensor, *, clamp_at_zero: bool) -> Tensor:
    """LyCORIS' and sd-scripts' OFT, blocks (count, size, size), and LyCORIS' BOFT, (stages, count, size, size): both turn
    a weight's rows.

    Args:
        clamp_at_zero: a bound of 0 means no turning at all, as sd-scripts has it; else it means no bound.
    """
    blocks = parts["oft_blocks"]
    size = blocks.shape[-1]
    skew = blocks - blocks.transpose(-1, -2)
    most = float(parts.get("alpha", torch.zeros(()))) * weight.shape[0]
    norm = float(skew.norm())
    if norm > most and (most > 0 or clamp_at_zero):
        skew = skew * (most / norm)
    eye = torch.eye(size)
    rotation = (eye + skew) @ torch.linalg.inv(eye - skew)
    turned = weight.flatten(1)
    if blocks.ndim == 3:
        turned = torch.einsum("k n m, k n p -> k m p", rotation, turned.reshape(len(blocks), size, -1)).flatten(0, 1)
    else:
        for stage, rotations in enumerate(rotation):
            far = 2**stage * (size // 2)  # rows that far apart are turned together
            near = turned.unflatten(0, (-1, 2, far)).transpose(1, 2).reshape(len(rotations), size, -1)
            near = rotations @ near
            turned = near.flatten(0, 1).unflatten(0, (-1, far, 2)).transpose(1, 2).flatten(0, 2)
    return parts.get("rescale", torch.ones(())) * turned.reshape(weight.shape) - weight


def _skew(vectors: Tensor) -> Tensor:
    """(count, size (size - 1) / 2) above the diagonal as skew-symmetric matrices (count, size, size)."""
    size = int((1 + (1 + 8 * vectors.shape[1]) ** 0.5) / 2)
    rows, columns = torch.triu_indices(size, size, 1)
    upper = torch.zeros(len(vectors), size, size)
    upper[:, rows, columns] = vectors
    return upper - upper.transpose(1, 2)


def peft_oft_change(parts: Mapping[str, Tensor], weight: Tensor, config: Mapping[str, Any]) -> Tensor:
    """PEFT's OFT, which turns a layer's inputs.

    Args:
        parts: oft_R, (blocks or 1, size (size - 1) / 2).
        config: of PEFT: how Cayley's transform was computed is not in the file.

    Raises:
        StudioError: a convolution wider than one pixel: PEFT turns its overlapping patches and adds them up again, which
            no weight can hold.
    """
    if weight[0, 0].numel() != 1:
        raise StudioError(
            "PEFT's OFT of a {shape} convolution cannot be held by its weight.",
            "Merge it into its model with PEFT, and use `offset extract` on the result.",
            shape=" × ".join(map(str, weight.shape[2:])),
        )
    skew = _skew(parts["oft_R"])
    size = skew.shape[-1]
    if config.get("coft"):
        most = float(config.get("eps", 6e-5)) / len(skew) ** 0.5
        norms = torch.linalg.matrix_norm(skew, keepdim=True)
        skew = torch.where(norms <= most, skew, skew * (most / norms))
    eye = torch.eye(size)
    if config.get("use_cayley_neumann"):
        # (I + S)(I + S + S^2 + ...), cut off: of more than two terms the last power counts once, as PEFT has it
        terms = int(config.get("num_cayley_neumann_terms", 5))
        highest = max(3, terms - 1) if terms > 2 else terms - 1
        rotation, power = eye.repeat(len(skew), 1, 1), eye
        for exponent in range(1, highest + 1):
            power = power @ skew
            rotation = rotation + power * (1.0 if exponent == highest and terms > 2 else 2.0)
    else:
        rotation = torch.linalg.solve(eye + skew, eye - skew, left=False)
    inputs = weight.flatten(1).unflatten(1, (-1, size))
    turned = torch.einsum("o r c, r k c -> o r k", inputs, rotation.expand(inputs.shape[1], -1, -1))
    return turned.reshape(weight.shape) - weight


def peft_boft_change(parts: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """PEFT's BOFT: inputs turned in stages, boft_R (stages, count, size, size), and a factor for each output, boft_s."""
    blocks = parts["boft_R"]
    stages, count, size, _ = blocks.shape
    skew = (blocks - blocks.transpose(-1, -2)) / 2
    eye = torch.eye(size)
    rotation = torch.linalg.solve(eye + skew, eye - skew, left=False)
    turned = weight.flatten(1).T  # (inputs, outputs)
    for stage in range(stages):
        order = torch.arange(len(turned))
        if stages > 1:  # half blocks of a power of two of blocks: the even ones, then the odd ones
            order = order.reshape(count // 2**stage, -1, 2, size // 2).transpose(1, 2).flatten()
        back = torch.argsort(order)
        turned = (rotation[stage] @ turned[back].unflatten(0, (count, size))).flatten(0, 1)[order]
    factors = parts["boft_s"].reshape(-1, 1)
    return (turned.T * factors).reshape(weight.shape) - weight
