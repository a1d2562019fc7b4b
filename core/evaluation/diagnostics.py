"""What guidance does at each step: how far the two predictions differ, how large an offset's part in it is.

With eps_c and eps_u the predictions of the positive weights with the prompt and with the empty (or negative) one, eps_n that of
the negative weights, and the guided prediction  eps = (omega + 1) eps_c - omega eps_n:

    cosine            of eps_c and eps_n
    deviation ratio   standard deviation of eps over that of eps_c; sqrt(2 omega**2 + 2 omega + 1) if the two predictions
                      were independent
    effective scale   <eps - eps_u, D> / |D|**2 with D = eps_c - eps_u: how far guidance goes along plain CFG's direction. Of
                      plain CFG it is omega + 1, so the effective omega is the scale minus 1. Our reading of GA-Eval
                      (arXiv 2602.22570)
    dose              |eps_n - eps_u| / |D|: how large the offset's part of guidance is relative to the prompt's; the ratio of
                      `core.method.dose`, here of a setting with its alpha and beta, along the sampling path
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from core.method.dose import ratio, root_mean_square
from core.method.guidance import guide


@dataclass(frozen=True)
class StepFacts:
    """Of one step, the mean over the rows; see the module's text.

    Args:
        level: noise level t, as the denoiser was given it.
        overlap, length: sums over the rows of <eps - eps_u, D> and of |D|**2.
    """

    level: float
    cosine: float
    deviation_ratio: float
    dose: float
    overlap: float
    length: float

    @property
    def effective_scale(self) -> float:
        """Of this step."""
        return self.overlap / self.length if self.length else 1.0


@dataclass
class GuidanceMeter:
    """The steps measured so far."""

    omega: float
    steps: list[StepFacts] = field(default_factory=list)

    @property
    def effective_omega(self) -> float:
        """Over all steps, each weighted by |D|**2; 0 where nothing was measured, as with omega = 0."""
        length = sum(step.length for step in self.steps)
        return sum(step.overlap for step in self.steps) / length - 1 if length else 0.0

    @property
    def dose(self) -> float:
        """Root of the mean square over the steps, as `core.method.dose` has it; 0 where nothing was measured."""
        return root_mean_square(step.dose for step in self.steps)

    def by_level(self) -> list[StepFacts]:
        """One entry a noise level, the noisiest first: several renderings are averaged."""
        levels: dict[float, list[StepFacts]] = {}
        for step in self.steps:
            levels.setdefault(step.level, []).append(step)
        return [
            StepFacts(
                level,
                *(sum(getattr(step, name) for step in steps) / len(steps) for name in _AVERAGED),
            )
            for level, steps in sorted(levels.items(), reverse=True)
        ]


_AVERAGED = ("cosine", "deviation_ratio", "dose", "overlap", "length")


def _first_half(value: Any, rows: int) -> Any:
    """The negative rows of every tensor in the arguments of a forward."""
    if isinstance(value, Tensor):
        return value[: rows // 2] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _first_half(part, rows) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_first_half(part, rows) for part in value)
    return value


def _prediction(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output.sample


@contextmanager
def measuring(denoiser: nn.Module, omega: float) -> Iterator[GuidanceMeter]:
    """Measures every forward of a stock pipeline's guidance inside the block; what it renders is not changed.

    Each forward of rows [negative..., positive...] is followed by one of the negative rows with the positive weights: a half
    more row-forwards. Inside a row gate the half batch takes the positive rows' scales by itself.

    Args:
        omega: of the pipeline's guidance; all rows share it.
    """
    meter = GuidanceMeter(omega)
    nested = False

    @torch.no_grad()
    def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        nonlocal nested
        both = _prediction(output)
        if nested or not omega or len(both) % 2:
            return
        nested = True
        try:
            rows = len(both)
            plain = _prediction(module(*_first_half(args, rows), **_first_half(kwargs, rows))).double()
        finally:
            nested = False
        negative, positive = both.double().chunk(2)
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        level = float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep)
        meter.steps.append(_facts(level, positive, negative, plain, omega))

    handle = denoiser.register_forward_hook(after, with_kwargs=True)
    try:
        yield meter
    finally:
        handle.remove()


def _facts(level: float, positive: Tensor, negative: Tensor, plain: Tensor, omega: float) -> StepFacts:
    """The figures of one step from eps_c, eps_n and eps_u, each (rows, …)."""
    positive, negative, plain = (part.flatten(1) for part in (positive, negative, plain))
    guided, direction = guide(positive, negative, omega), positive - plain
    length = direction.square().sum(1)
    return StepFacts(
        level=level,
        cosine=float(torch.cosine_similarity(positive, negative, dim=1).mean()),
        deviation_ratio=float((guided.std(1) / positive.std(1)).mean()),
        dose=ratio(negative, plain, positive),
        overlap=float(((guided - plain) * direction).sum()),
        length=float(length.sum()),
    )
