"""Forms of guidance that a stock pipeline cannot say: it keeps calling its denoiser with [negative rows..., positive rows...] and
summing the answer, and the denoiser answers with the guided prediction in both halves, so that the sum is that prediction.

Each call is rearranged into the rows that the forms of its columns take at this noise level, through the row gate and the
network at once. Cost: those rows, `Rows.forwards` for each image and step, whatever the pipeline asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.method.forms import Rows, difference
from core.method.guidance import GuidanceWeights
from core.method.schedule import NoiseSchedule, Prediction
from core.method.treatments import projected, rescale, with_momentum
from core.offsets.row_gate import RowGate

PIPELINE_SCALE = 2.0
"""`guidance_scale` for the pipeline: any that makes it send both halves; of two equal halves every sum is the same."""
_SHARED = ("image_rotary_emb",)
"""Arguments of a denoiser that all rows share, whatever their first axis is."""


def rows_of(value: Any, index: Tensor, rows: int) -> Any:
    """Chosen rows of every tensor in the arguments of a forward; what has no axis of `rows` stays as it is."""
    if isinstance(value, Tensor):
        return value[index.to(value.device)] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: part if key in _SHARED else rows_of(part, index, rows) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(rows_of(part, index, rows) for part in value)
    return value


class GuidedRows:
    """Lays the forms of some columns over each forward of a denoiser. Made by `guided_rows`.

    Args:
        columns: the settings, each with `images` images; the pipeline's batch is columns * images * 2 rows.
        schedule: of the model; what is projected is projected in predictions of x_0.
    """

    def __init__(
        self, gate: RowGate, columns: Sequence[GuidanceWeights], images: int, schedule: NoiseSchedule | None
    ) -> None:
        self.gate, self.columns, self.images, self.schedule = gate, columns, images, schedule
        self._same_everywhere = all(column.is_constant and not column.is_projected for column in columns)
        self._momenta: dict[int, Tensor] = {}
        self._plans: list[Rows] = []

    def before_forward(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook: the pipeline's rows as the rows of the forms."""
        sample = kwargs["sample"] if "sample" in kwargs else args[0] if args else kwargs["hidden_states"]
        level = float(self.gate.train_timesteps)
        if not self._same_everywhere:  # only then is the device asked for the noise level
            timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
            level = float(timestep.flatten()[0]) if isinstance(timestep, Tensor) else float(timestep)
        rows, half = len(sample), len(self.columns) * self.images
        if rows != 2 * half:
            raise ValueError(f"{rows} rows came for {half} images")
        self._plans = [column.rows(level / self.gate.train_timesteps).used for column in self.columns]
        places: list[int] = []
        table: list[tuple[float, float]] = []
        for number, plan in enumerate(self._plans):
            for row in (plan.positive, *(other for _, other in plan.away)):
                first = number * self.images + half * row.prompted
                places += range(first, first + self.images)
                table += [(row.eta, row.delta)] * self.images
        self.gate.set_rows(torch.tensor(table))
        self._x_t, self._level = sample[half:], level
        index = torch.tensor(places)
        return rows_of(args, index, rows), rows_of(kwargs, index, rows)

    def after_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Forward hook: the guided predictions, twice."""
        predictions = (output[0] if isinstance(output, tuple) else output.sample).split(self.images)
        guided, at = [], 0
        for number, (weights, plan) in enumerate(zip(self.columns, self._plans, strict=True)):
            positive, others = predictions[at], predictions[at + 1 : at + 1 + len(plan.away)]
            at += 1 + len(plan.away)
            away = tuple((strength, other) for (strength, _), other in zip(plan.away, others, strict=True))
            guided.append(self._guided(number, weights, positive, away))
        both = torch.cat([*guided, *guided])
        return (both, *output[1:]) if isinstance(output, tuple) else type(output)(sample=both)

    def _guided(
        self, number: int, weights: GuidanceWeights, positive: Tensor, away: tuple[tuple[float, Tensor], ...]
    ) -> Tensor:
        """The guided prediction of one column from its positive prediction and those that it moves away from."""
        if not away:
            return positive
        moved = difference(positive, away)
        guided = positive + moved
        if weights.is_projected:
            guided = self._projected(number, weights, positive, moved, sum(strength for strength, _ in away))
        return rescale(guided, positive, weights.cfg_rescale) if weights.cfg_rescale else guided

    def _projected(
        self, number: int, weights: GuidanceWeights, positive: Tensor, moved: Tensor, strength: float
    ) -> Tensor:
        """Adaptive projected guidance with all strengths together as its omega, in predictions of x_0."""
        assert self.schedule is not None
        x_t = self._x_t[number * self.images : (number + 1) * self.images]
        if x_t.shape != positive.shape:  # inpainting: the mask and the picture are further channels
            x_t = x_t[:, : positive.shape[1]]
        t = torch.full((len(x_t),), round(self._level)).clamp(max=self.schedule.timesteps - 1)
        alpha_t, sigma_t = self.schedule.at(t, x_t.float())
        # a prediction is alpha_t / sigma_t or 1 / sigma_t times x_0, with its sign turned, and something that cancels
        factor = -(alpha_t if self.schedule.prediction is Prediction.EPSILON else 1.0) / sigma_t
        x_0 = self.schedule.x0(positive.float(), x_t.float(), t)
        before = self._momenta.get(number)
        running = with_momentum(moved.float() / factor / strength, before, weights.apg_momentum)
        self._momenta[number] = running
        pushed = projected(x_0, running, strength, weights.apg_parallel, weights.apg_norm) - x_0
        return (positive.float() + factor * pushed).to(positive.dtype)


@contextmanager
def guided_rows(
    denoiser: nn.Module,
    gate: RowGate,
    columns: Sequence[GuidanceWeights],
    images: int,
    schedule: NoiseSchedule | None = None,
) -> Iterator[None]:
    """Within it the denoiser answers a stock pipeline with the guided predictions of these columns.

    Args:
        gate: that of the denoiser.
        images: of each column.
        schedule: of the model, for columns with `apg_…`.
    """
    rows = GuidedRows(gate, columns, images, schedule)
    handles = [
        denoiser.register_forward_pre_hook(rows.before_forward, with_kwargs=True, prepend=True),
        denoiser.register_forward_hook(rows.after_forward, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
