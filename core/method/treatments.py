"""What may be done to the guided prediction of any form: rescaled, or moved across the positive prediction and not along it."""

from __future__ import annotations

from torch import Tensor


def rescale(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """The guided prediction with the standard deviation of the positive one, mixed in by `share`
    (Lin et al. 2023, arXiv 2305.08891, eq. 15 and 16).

    Args:
        guided, positive: (batch, ...); the deviation is that of each sample.
        share: their phi, 0 (unchanged) to 1.
    """
    axes = tuple(range(1, guided.ndim))
    factor = positive.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return share * (guided * factor) + (1 - share) * guided


def along(difference: Tensor, direction: Tensor) -> Tensor:
    """The part of `difference` that lies along `direction`, sample by sample: (batch, ...)
    (Sadat et al. 2024, arXiv 2410.02416, eq. 5)."""
    axes = tuple(range(1, difference.ndim))
    squared = direction.square().sum(dim=axes, keepdim=True)
    return (difference * direction).sum(dim=axes, keepdim=True) / squared.clamp(min=1e-30) * direction


def within_norm(difference: Tensor, radius: float) -> Tensor:
    """`difference` with a norm of at most `radius`, sample by sample; 0 leaves it as it is (arXiv 2410.02416, eq. 8)."""
    if radius <= 0:
        return difference
    norm = difference.square().sum(dim=tuple(range(1, difference.ndim)), keepdim=True).sqrt()
    return difference * (radius / norm.clamp(min=1e-30)).clamp(max=1.0)


def projected(positive: Tensor, difference: Tensor, omega: float, parallel: float, radius: float = 0.0) -> Tensor:
    """Adaptive projected guidance: positive + omega * (across + parallel * along), of predictions of x_0
    (arXiv 2410.02416, eq. 6 to 9). What oversaturates is the part along the positive prediction.

    Args:
        positive: (batch, ...) the prediction of x_0 with the prompt.
        difference: positive - negative, or a running average of it by `with_momentum`.
        parallel: share of the part along `positive` that is kept, their eta; 1 with radius 0 is plain guidance.
        radius: largest norm of the difference, their r; 0 is none.
    """
    difference = within_norm(difference, radius)
    part = along(difference, positive)
    return positive + omega * (difference - part + parallel * part)


def with_momentum(difference: Tensor, before: Tensor | None, momentum: float) -> Tensor:
    """The difference of this step plus `momentum` times the running one of the step before; theirs is negative, -0.5
    (arXiv 2410.02416, eq. 7). `before` is None at the first step."""
    return difference if before is None else difference + momentum * before
