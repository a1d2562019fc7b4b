"""Whether quality was bought by collapse: precision and recall of pictures beside clean ones, diversity between seeds.

All of it works on features, (pictures, features), of any network that describes pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOUR = 3
"""The neighbour whose distance is a picture's radius, as Kynkäänniemi et al. (2019) have it."""
BLOCK = 1024


def _radii(features: Tensor, neighbour: int) -> Tensor:
    """(pictures,): the distance of each to its neighbour of that rank among the others."""
    rows = [
        torch.cdist(block, features).kthvalue(neighbour + 1, dim=1).values  # the nearest is the picture itself
        for block in features.split(BLOCK)
    ]
    return torch.cat(rows)


def _covered(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """Share of the points that lie within the radius of a centre."""
    inside = [(torch.cdist(block, centres) <= radii).any(1) for block in points.split(BLOCK)]
    return float(torch.cat(inside).double().mean())


def precision_recall(pictures: Tensor, reference: Tensor, *, neighbour: int = NEIGHBOUR) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, equations 1 to 3).

    Precision: share of the pictures within the reference's manifold, which is the balls around its points up to their
    neighbour of rank `neighbour`. Recall: share of the reference within the pictures' manifold. Both 0 to 1; recall falls
    where variety is lost. They depend on how many pictures there are: compare columns of equal number alone.

    Args:
        pictures, reference: (pictures, features), more than `neighbour` each.

    Raises:
        ValueError: too few.
    """
    if min(len(pictures), len(reference)) <= neighbour:
        raise ValueError(f"precision and recall need more than {neighbour} pictures on both sides")
    pictures, reference = pictures.double(), reference.double()
    precision = _covered(pictures, reference, _radii(reference, neighbour))
    return precision, _covered(reference, pictures, _radii(pictures, neighbour))


def diversity(features: Tensor, seeds: int) -> Tensor:
    """(prompts,): mean distance between the pictures of one prompt, over all pairs of its seeds.

    Args:
        features: (prompts * seeds, features), the seeds of a prompt beside each other.
        seeds: of each prompt, at least 2.
    """
    each = features.double().unflatten(0, (-1, seeds))
    return torch.cdist(each, each).sum((1, 2)) / (seeds * (seeds - 1))
