"""What the layers behind a row gate read before each forward: each row's scales of the two offsets, on the host and, for
compiled graphs, as tensors that are written outside of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import StudioError

if TYPE_CHECKING:
    from core.offsets.gated_layer import GatedLayer

Scales = tuple[float, float]
"""Of eta and of delta, in one row."""


class Run(NamedTuple):
    """Neighbouring rows with the same scales."""

    rows: slice
    scales: Scales


class Rows:
    """The rows of the coming forward as the host knows them, so that no layer asks the device.

    Args:
        table: the scales of each row.
    """

    def __init__(self, table: Sequence[Scales]) -> None:
        self.table = tuple(table)
        runs: list[Run] = []
        for row, scales in enumerate(self.table):
            if runs and runs[-1].scales == scales:
                runs[-1] = Run(slice(runs[-1].rows.start, row + 1), scales)
            else:
                runs.append(Run(slice(row, row + 1), scales))
        self.runs = tuple(runs)
        self.used = _span([any(scales) for scales in self.table])
        """From the first row that uses an offset to the last one."""
        self.used_by = tuple(_span([scales[owner] != 0 for scales in self.table]) for owner in (0, 1))
        """The same of eta and of delta alone."""
        within = set(self.table[self.used])
        self.uniform = within.pop() if len(within) == 1 else None
        """The scales of the rows `used`, where they are all the same."""

    @property
    def idle(self) -> bool:
        """Whether no row uses an offset."""
        return self.used.stop == 0

    def part(self, rows: slice, x: Tensor) -> slice:
        """These rows of a tensor, which may have each row several times, one after the other, as frames."""
        count = times(x, self)
        return slice(rows.start * count, rows.stop * count)


def times(x: Tensor, rows: Rows) -> int:
    """How often a tensor has each row: 1, or the number of frames where these are folded into the batch.

    Raises:
        StudioError: it has no rows.
    """
    count, left = divmod(len(x), len(rows.table))
    if left or not count:
        raise other_rows(len(rows.table), len(x))
    return count


def other_rows(rows: int, batch: int) -> StudioError:
    """What to say of a batch that the table was not made for."""
    return StudioError(
        "The row gate has {rows} rows for a batch of {batch}.",
        "Set the columns and images of this batch before sampling.",
        rows=rows,
        batch=batch,
    )


def _span(used: Sequence[bool]) -> slice:
    places = [row for row, uses in enumerate(used) if uses]
    return slice(places[0], places[-1] + 1) if places else slice(0, 0)


class SharedInput:
    """Layers that read the same tensor, such as the q, k and v of one attention: one product with all their down matrices.

    Where they turn out to read different tensors, each takes its own product from then on.
    """

    def __init__(self, layers: Sequence[GatedLayer]) -> None:
        self.layers = tuple(layers)
        starts = [sum(layer.ranks for layer in layers[:place]) for place in range(len(layers))]
        self._places = {
            id(layer): slice(start, start + layer.ranks) for layer, start in zip(layers, starts, strict=True)
        }
        self._down: Tensor | None = None
        self._input: Tensor | None = None
        self._product: Tensor | None = None
        self._left = 0
        self._apart = False

    def forget(self) -> None:
        """Lets go of what a forward that was cut off has left."""
        self._input = self._product = None
        self._left = 0

    def ranks(self, layer: GatedLayer, x: Tensor, rows: Rows) -> Tensor | None:
        """The rank activations of one of the layers in the rows that use an offset, not scaled; None where the layers do
        not read the same tensor."""
        if self._apart:
            return None
        if self._input is not x:
            if self._left:
                self._apart = True
                self.forget()
                return None
            down = [one.down_on(x.device) for one in self.layers]
            if self._down is None or self._down.device != x.device:
                self._down = torch.cat(down)
            used = rows.part(rows.used, x)
            self._input, self._left = x, len(self.layers)
            self._product = F.linear(x if used.stop - used.start == len(x) else x[used], self._down)
        assert self._product is not None
        ranks = self._product[..., self._places[id(layer)]]
        self._left -= 1
        if not self._left:
            self.forget()
        return ranks


class Shares:
    """The shares of one gate's rows.

    Args:
        merged: neighbouring rows with the same scales are one product with changed weights, where a layer allows it.
    """

    def __init__(self, *, merged: bool) -> None:
        self.merged = merged
        self.rows = Rows(())
        self.layers: list[GatedLayer] = []
        self._shared: dict[int, SharedInput] = {}
        self._scales: dict[tuple[int, ...], Tensor] = {}
        self._written: tuple[object, ...] = ()

    def share(self, layers: Sequence[GatedLayer]) -> None:
        """From now on these layers are taken to read the same tensor."""
        group = SharedInput(layers)
        self._shared |= {id(layer): group for layer in layers}

    def ranks(self, layer: GatedLayer, x: Tensor) -> Tensor | None:
        """The rank activations of a layer out of the product that it shares; None where it shares none."""
        group = self._shared.get(id(layer))
        return group.ranks(layer, x, self.rows) if group else None

    def write(self, table: Sequence[Scales], device: torch.device) -> None:
        """The scales of the coming forward; those of the forward before are not written again."""
        for group in {id(group): group for group in self._shared.values()}.values():
            group.forget()
        written = (tuple(table), device)
        if written == self._written:
            return
        self.rows, self._written = Rows(table), written
        on_host = torch.tensor(self.rows.table).reshape(-1, 2)
        for columns in {layer.columns for layer in self.layers}:
            scales, before = on_host[:, list(columns)], self._scales.get(columns)
            if before is not None and before.shape == scales.shape and before.device == device:
                before.copy_(scales)  # in place: a compiled graph, or a CUDA graph, reads this tensor
                continue
            self._scales[columns] = scales.to(device)
            for layer in self.layers:
                if layer.columns == columns:
                    layer.scales = self._scales[columns]
