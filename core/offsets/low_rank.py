"""One layer of an offset as a product of two small matrices, and the best such form of a weight change."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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


class Factoring(NamedTuple):
    """A low-rank form of a weight change, and what it leaves out.

    lost: squared Frobenius norm of the part that is left out.
    whole: squared Frobenius norm of the change.
    """

    layer: LowRankLayer
    lost: float
    whole: float


def factorize(change: Tensor, *, rank: int | None = None, error: float | None = None) -> Factoring:
    """The best low-rank form of a weight change, by singular value decomposition.

    Args:
        change: (out, in...), at least two dimensions.
        rank: of the form, capped at the full rank; or
        error: the smallest rank whose relative error (Frobenius) does not exceed this, 0 to 1.

    Raises:
        ValueError: neither or both of rank and error are given.
    """
    if (rank is None) == (error is None):
        raise ValueError("give a rank or an error")
    left, values, right = torch.linalg.svd(change.detach().float().flatten(1), full_matrices=False)
    power = values.double().square()
    whole = float(power.sum())
    tail = whole - power.cumsum(0)
    used = rank if rank is not None else int((tail > float(error or 0) ** 2 * whole).sum()) + 1
    used = min(used, len(values))
    root = values[:used].sqrt()
    down = (root[:, None] * right[:used]).reshape(used, *change.shape[1:])
    up = (left[:, :used] * root).reshape(change.shape[0], used, *(1,) * (change.ndim - 2))
    return Factoring(LowRankLayer(down.contiguous(), up.contiguous()), max(0.0, float(tail[used - 1])), whole)
