"""A layer behind the row gate: its own output and, in the rows that use them, the changes of the positive and the negative offset.

Three ways to the same sum, all of which leave the layer itself alone:

in a compiled graph  every row gets its products times its scales, a tensor that is written outside the graph
low rank             products for the rows that use an offset; layers that read one tensor share a product with all their
                     down matrices
merged               of small networks: neighbouring rows with the same scales are one product with changed weights
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import StudioError
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import DenseLayer
from core.offsets.shares import Rows, Scales, Shares, times

MOST_RUNS = 4
"""Runs of rows for which changed weights are kept; with more of them the low-rank products take less time and room."""
_WITH_PARAMETERS = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


def with_parameters(layer: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """What the layer would give with these parameters in place of its own; a missing one counts as zeros.

    Raises:
        StudioError: of this type of layer it is not known.
    """
    if weight is None and bias is not None:
        return bias.reshape(-1, 1, 1) if x.ndim == 4 and isinstance(layer, nn.Conv2d | nn.GroupNorm) else bias
    assert weight is not None
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(layer, nn.Conv2d):
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    if "RMSNorm" in type(layer).__name__:
        return F.rms_norm(x, weight.shape, weight, layer.eps)  # type: ignore[arg-type]
    raise StudioError(
        "The offset changes a layer of type {kind}, which the row gate does not support.",
        "Extract a low-rank offset from it with `offset extract`.",
        kind=type(layer).__name__,
    )


class GatedLayer(nn.Module):
    """A layer of a denoiser with its changes; it stands in the place of the layer.

    Args:
        layer: the layer itself, which is not changed.
        low_rank: changes of its weight, each with 0 for eta or 1 for delta.
        dense: whole changes of its own parameters, likewise.
        dtype: what the layer computes in.
    """

    down: Tensor | None
    up: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        low_rank: Sequence[tuple[LowRankLayer, int]],
        dense: Sequence[tuple[DenseLayer, int]],
        shares: Shares,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.layer, self.shares = layer, shares
        place: dict[str, Any] = {"device": next(layer.parameters()).device, "dtype": dtype}
        down = torch.cat([change.down for change, _ in low_rank]).to(**place) if low_rank else None
        up = torch.cat([change.up for change, _ in low_rank], dim=1).to(**place) if low_rank else None
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)
        self.ranks = sum(change.rank for change, _ in low_rank)
        self.columns = tuple(owner for change, owner in low_rank for _ in range(change.rank))
        """For each rank, then for each dense change, whose scale it takes."""
        self.columns += tuple(owner for _, owner in dense)
        self.dense_owners = tuple(owner for _, owner in dense)
        for number, (change, _) in enumerate(dense):
            for which, tensor in zip(("weight", "bias"), change, strict=True):
                moved = None if tensor is None else tensor.to(**place)
                self.register_buffer(f"{which}_{number}", moved, persistent=False)
        self.is_conv = isinstance(layer, nn.Conv2d)
        owners = set(self.columns[: self.ranks])
        self.only_owner = owners.pop() if len(owners) == 1 else None
        self.scales = torch.zeros(0)
        """(rows, ranks and dense changes), on the device; written by `Shares` before each forward that differs."""
        plain = type(layer) in _WITH_PARAMETERS and "forward" not in vars(layer)
        self.can_merge = plain and getattr(layer, "padding_mode", "zeros") == "zeros"
        self._merged: list[tuple[slice, Tensor, Tensor | None]] = []
        self._merged_for: tuple[object, ...] = ()

    @property
    def weight(self) -> Any:
        """The layer's own."""
        return self.layer.weight

    @property
    def bias(self) -> Any:
        """The layer's own."""
        return self.layer.bias

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output; each row with its own share of the changes."""
        if torch.compiler.is_compiling():
            return self._in_graph(x, self.layer(x, *args, **kwargs))
        rows = self.shares.rows
        if rows.idle:
            output: Tensor = self.layer(x, *args, **kwargs)
            return output
        times(x, rows)  # refuses a tensor that has no rows
        if self.shares.merged and self.can_merge and len(rows.runs) <= MOST_RUNS:
            return self._with_merged(x, rows)
        output = self.layer(x, *args, **kwargs)
        if self.down is not None:
            output = self._with_low_rank(x, output, rows)
        for number, owner in enumerate(self.dense_owners):
            output = self._with_dense(x, output, rows, number, owner)
        return output

    def _in_graph(self, x: Tensor, output: Tensor) -> Tensor:
        """All rows alike, so that no graph depends on the scales."""
        scales = self.scales.to(x.dtype)
        if len(x) != len(scales):
            scales = scales.repeat_interleave(len(x) // len(scales), 0)
        if self.down is not None and self.up is not None:
            own = _spread(scales[:, : self.ranks], x, self.is_conv)
            output = output + self._up(self._down(x, self.down) * own, self.up)
        for number in range(len(self.dense_owners)):
            share = scales[:, self.ranks + number].reshape(-1, *(1,) * (output.ndim - 1))
            changed = with_parameters(self.layer, x, getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}"))
            output = output + share * changed
        return output

    def _down(self, x: Tensor, down: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
        return F.linear(x, down)

    def _up(self, ranks: Tensor, up: Tensor) -> Tensor:
        return F.conv2d(ranks, up) if self.is_conv else F.linear(ranks, up)

    def down_on(self, device: torch.device) -> Tensor:
        """The down matrices where the input is: offloading moves a network after the gate was laid over it."""
        assert self.down is not None and self.up is not None
        if self.down.device != device:
            self.down, self.up = self.down.to(device), self.up.to(device)
        return self.down

    def _with_low_rank(self, x: Tensor, output: Tensor, rows: Rows) -> Tensor:
        used = rows.part(rows.used, x)
        down = self.down_on(x.device)
        assert self.up is not None
        scale = 1.0
        if self.only_owner is not None and rows.uniform is not None:
            scale = rows.uniform[self.only_owner]
            if scale == 0.0:
                return output
        ranks = self.shares.ranks(self, x)
        if ranks is None:
            ranks = self._down(_rows_of(x, used), down)
        if self.only_owner is None or rows.uniform is None:
            scales = self.scales[rows.used, : self.ranks].to(x.device, x.dtype)
            if times(x, rows) > 1:
                scales = scales.repeat_interleave(times(x, rows), 0)
            ranks = ranks * _spread(scales, x, self.is_conv)
        in_place = _in_place_is_allowed(output) and not ranks.requires_grad and output.is_contiguous()
        if self.is_conv or not (in_place and ranks.dtype == self.up.dtype == output.dtype):
            added = self._up(ranks, self.up)
            return _added(output, used, added if scale == 1.0 else scale * added)
        # product and sum at once: the sum by itself would take longer than the small products
        output[used].view(-1, output.shape[-1]).addmm_(ranks.reshape(-1, self.ranks), self.up.T, alpha=scale)
        return output

    def _with_dense(self, x: Tensor, output: Tensor, rows: Rows, number: int, owner: int) -> Tensor:
        if rows.used_by[owner].stop == 0:
            return output
        used = rows.part(rows.used_by[owner], x)
        parts = (getattr(self, f"{which}_{number}") for which in ("weight", "bias"))
        weight, bias = (None if part is None else part.to(x) for part in parts)
        scale = self.scales[rows.used_by[owner], self.ranks + number].to(x)
        if times(x, rows) > 1:
            scale = scale.repeat_interleave(times(x, rows), 0)
        changed = with_parameters(self.layer, _rows_of(x, used), weight, bias)
        return _added(output, used, scale.reshape(-1, *(1,) * (output.ndim - 1)) * changed)

    def _with_merged(self, x: Tensor, rows: Rows) -> Tensor:
        weight = self.layer.weight
        assert isinstance(weight, Tensor)
        made_for = (rows, len(x), weight.data_ptr(), weight._version)
        if made_for != self._merged_for:
            self._merge(x, rows)
            self._merged_for = made_for
        if not (isinstance(self.layer, nn.Linear) and _in_place_is_allowed(x)):
            return torch.cat([with_parameters(self.layer, x[part], *own) for part, *own in self._merged])
        output = x.new_empty(*x.shape[:-1], self.layer.out_features)
        for part, own, bias in self._merged:
            inputs, outputs = x[part].reshape(-1, x.shape[-1]), output[part].view(-1, output.shape[-1])
            if bias is None:
                torch.mm(inputs, own.T, out=outputs)
            else:
                torch.addmm(bias, inputs, own.T, out=outputs)
        return output

    def _merge(self, x: Tensor, rows: Rows) -> None:
        """The parameters of each run of rows; runs with the same scales share theirs."""
        weight: Any = self.layer.weight
        bias: Any = self.layer.bias
        changed: dict[Scales, tuple[Tensor, Tensor | None]] = {(0.0, 0.0): (weight, bias)}
        for run in rows.runs:
            if run.scales not in changed:
                changed[run.scales] = self._changed(weight, bias, run.scales)
        self._merged = [(rows.part(run.rows, x), *changed[run.scales]) for run in rows.runs]

    def _changed(self, weight: Tensor, bias: Tensor | None, scales: Scales) -> tuple[Tensor, Tensor | None]:
        if self.down is not None and self.up is not None:
            share = torch.tensor([scales[owner] for owner in self.columns[: self.ranks]]).to(weight)
            up = self.up.flatten(1) * share
            weight = torch.addmm(weight.flatten(1), up, self.down.flatten(1)).reshape(weight.shape)
        for number, owner in enumerate(self.dense_owners):
            whole, shift = getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}")
            weight = weight if whole is None else weight + scales[owner] * whole
            if shift is not None:
                assert bias is not None
                bias = bias + scales[owner] * shift
        return weight, bias


def _in_place_is_allowed(x: Tensor) -> bool:
    """Whether nothing follows the arithmetic: no gradient, no mixed precision."""
    return not x.requires_grad and not torch.is_autocast_enabled(x.device.type)


def _spread(scales: Tensor, x: Tensor, is_conv: bool) -> Tensor:
    """(rows, ranks) scales in the shape of rank activations of x."""
    between = (1,) * (x.ndim - 2)
    return scales.reshape(len(scales), -1, *between) if is_conv else scales.reshape(len(scales), *between, -1)


def _rows_of(x: Tensor, rows: slice) -> Tensor:
    return x if rows.stop - rows.start == len(x) else x[rows]


def _added(output: Tensor, rows: slice, added: Tensor) -> Tensor:
    """The output with `added` on these rows."""
    if rows.stop - rows.start == len(output):
        return output + added
    if output.requires_grad:
        output = output.clone()
    output[rows] += added
    return output
