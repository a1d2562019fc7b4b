"""The row gate: one network, one forward, and in every row its own share of the positive and the negative offset.

A stock pipeline with guidance runs the batch [negative rows..., positive rows...] through one network. Both offsets
are laid side by side along the rank of one adapter, and the rank activations of a row are multiplied by that row's
scales, so each row sees  theta + eta_scale * eta + delta_scale * delta.  The pipeline is not changed, and moving a
slider writes a table of two columns.

Whole changes of weights, biases and norms (`DenseLayer`) ride along exactly: every such layer is linear in its own
parameters, so a row's share of the change is the layer applied with the change alone, times the row's scale.

Cost: one forward, as plain guidance; the adapter's products are taken for the rows that use it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from core.errors import StudioError
from core.method.guidance import GuidanceWeights
from core.offsets.offset import DenseLayer, Offset


@dataclass
class _GatedLayer:
    """Both offsets of one layer, ranks side by side; `owner` says for each rank whose scale it takes (0 eta, 1 delta)."""

    down: Tensor
    up: Tensor
    owner: Tensor


def _with_parameters(module: nn.Module, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """What the layer would give with these parameters in place of its own; a missing one counts as zeros."""
    if weight is None:
        assert bias is not None
        return bias.reshape(-1, 1, 1) if x.ndim == 4 and isinstance(module, nn.Conv2d | nn.GroupNorm) else bias
    if isinstance(module, nn.Linear):
        return F.linear(x, weight, bias)
    if isinstance(module, nn.Conv2d):
        return F.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, weight, bias, module.eps)
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
    if "RMSNorm" in type(module).__name__:
        return F.rms_norm(x, weight.shape, weight, module.eps)  # type: ignore[arg-type]
    raise StudioError(
        "The offset changes a layer of type {kind}, which the row gate does not support.",
        "Extract a low-rank offset from it with `offset extract`.",
        kind=type(module).__name__,
    )


class RowGate:
    """Holds the table of scales, and lays it over each forward of the denoiser. Made by `row_gate`."""

    def __init__(self, train_timesteps: int) -> None:
        self.train_timesteps = train_timesteps
        self._columns: tuple[GuidanceWeights, ...] = ()
        self._images = 0
        self._table: Tensor | None = None
        self._rows = slice(0, 0)
        self._gates: dict[tuple[int, ...], Tensor] = {}

    def set_columns(self, columns: Sequence[GuidanceWeights], images_per_column: int) -> None:
        """Rows for a stock pipeline's batch: for each column its images' negative rows, then all positive rows alike.

        Args:
            columns: settings that share one omega, for that is one number in the pipeline.
            images_per_column: images of each column; the batch is columns * images_per_column * 2 rows.
        """
        if len({column.omega for column in columns}) > 1:
            raise ValueError("columns of one batch share omega")
        self._columns, self._images, self._table = tuple(columns), images_per_column, None

    def set_rows(self, table: Tensor) -> None:
        """An explicit table (rows, 2): the scales of (eta, delta) in every row of the coming forwards."""
        self._columns, self._table = (), table.float()

    def _table_at(self, t_fraction: float) -> Tensor:
        if self._table is not None:
            return self._table
        negative = [c.negative_row(t_fraction) for c in self._columns for _ in range(self._images)]
        positive = [c.positive_row(t_fraction) for c in self._columns for _ in range(self._images)]
        return torch.tensor(negative + positive)

    def before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the denoiser: lays the table of this noise level over the batch."""
        sample = kwargs["sample"] if "sample" in kwargs else args[0] if args else kwargs["hidden_states"]
        timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
        level = timestep.flatten()[0] if isinstance(timestep, Tensor) else timestep
        table = self._table_at(float(level) / self.train_timesteps)
        if len(sample) * 2 == len(table):
            table = table[len(sample) :]  # guidance is off: the pipeline sends its positive rows alone
        if len(sample) != len(table):
            raise StudioError(
                "The row gate has {rows} rows for a batch of {batch}.",
                "Set the columns and images of this batch before sampling.",
                rows=len(table),
                batch=len(sample),
            )
        used = table.ne(0).any(1).nonzero().flatten().tolist()
        self._rows = slice(used[0], used[-1] + 1) if used else slice(0, 0)
        self._current = table[self._rows].to(sample.device)
        self._gates = {}

    def after_layer(self, layer: _GatedLayer, module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        """Forward hook of a layer: adds the offsets to the rows that use them."""
        rows = self._rows
        if rows.start == rows.stop:
            return output
        x = args[0]
        if layer.down.device != x.device:  # the network was moved after the gate was laid, as offloading does
            layer.down, layer.up = layer.down.to(x.device), layer.up.to(x.device)
        key = (id(layer.owner), x.ndim)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._current.to(x.device)[:, layer.owner.to(x.device)].to(x.dtype)
            middle = (1,) * (x.ndim - 2)
            gate = (
                gate.reshape(len(gate), -1, *middle)
                if isinstance(module, nn.Conv2d)
                else gate.reshape(len(gate), *middle, -1)
            )
            self._gates[key] = gate
        mine = x if rows.stop - rows.start == len(x) else x[rows]
        if isinstance(module, nn.Conv2d):
            ranks = F.conv2d(mine, layer.down, None, module.stride, module.padding, module.dilation)
            return self._add(output, F.conv2d(ranks * gate, layer.up))
        ranks = F.linear(mine, layer.down) * gate
        writable = not (output.requires_grad or ranks.requires_grad) and output.is_contiguous()
        if not writable or not ranks.dtype == layer.up.dtype == output.dtype:
            return self._add(output, F.linear(ranks, layer.up))
        # product and sum at once: the sum by itself would take longer than the small products
        output[rows].view(-1, output.shape[-1]).addmm_(ranks.reshape(-1, ranks.shape[-1]), layer.up.T)
        return output

    def after_dense(
        self, change: DenseLayer, owner: int, module: nn.Module, args: tuple[Tensor], output: Tensor
    ) -> Tensor:
        """Forward hook of a layer whose own parameters change whole; `owner` is 0 for eta, 1 for delta."""
        if self._rows.start == self._rows.stop or not bool(self._current[:, owner].any()):
            return output
        x = args[0][self._rows]
        weight, bias = (None if part is None else part.to(x) for part in change)
        scale = self._current[:, owner].to(x).reshape(-1, *(1,) * (output.ndim - 1))
        return self._add(output, scale * _with_parameters(module, x, weight, bias))

    def _add(self, output: Tensor, added: Tensor) -> Tensor:
        """The output with `added` on the rows that use an offset."""
        if self._rows.stop - self._rows.start == len(output):
            return output + added
        if output.requires_grad:
            output = output.clone()
        output[self._rows] += added
        return output


@contextmanager
def row_gate(
    denoiser: nn.Module, positive: Offset | None, negative: Offset | None, *, train_timesteps: int = 1000
) -> Iterator[RowGate]:
    """The denoiser with both offsets behind a row gate; it is itself again afterwards, whatever happened inside.

    Args:
        positive: eta, or None for none.
        negative: delta, or None for none.
        train_timesteps: T of the model's schedule, for schedules of beta.

    Raises:
        StudioError: an offset's layers are not the model's.
    """
    gate = RowGate(train_timesteps)
    handles = []
    try:
        modules = dict(denoiser.named_modules())
        parts = [part for part in (positive, negative) if part is not None]
        for part in parts:
            part.check_fits(denoiser)
        owners: dict[tuple[int, ...], Tensor] = {}
        for name in dict.fromkeys(name for part in parts for name in part.low_rank):
            module = modules[name]
            if isinstance(module, BaseTunerLayer):
                module = module.get_base_layer()  # an adapter is in training: gate the layer below it
            weight: Tensor = module.weight  # type: ignore[assignment]
            layers = [
                (part.low_rank[name], which)
                for which, part in ((0, positive), (1, negative))
                if part is not None and name in part.low_rank
            ]
            ranks = tuple(which for layer, which in layers for _ in range(layer.rank))
            owner = owners.setdefault(ranks, torch.tensor(ranks, device=weight.device))
            gated = _GatedLayer(
                torch.cat([layer.down for layer, _ in layers]).to(weight),
                torch.cat([layer.up for layer, _ in layers], dim=1).to(weight),
                owner,
            )
            handles.append(module.register_forward_hook(partial(gate.after_layer, gated)))
        for which, offset in enumerate((positive, negative)):
            for name, change in (offset.dense if offset is not None else {}).items():
                module = modules[name]
                if isinstance(module, BaseTunerLayer):
                    module = module.get_base_layer()
                own = next(module.parameters())
                moved = DenseLayer(*(None if tensor is None else tensor.to(own) for tensor in change))
                handles.append(module.register_forward_hook(partial(gate.after_dense, moved, which)))
        if handles:
            handles.append(denoiser.register_forward_pre_hook(gate.before_forward, with_kwargs=True))
        yield gate
    finally:
        for handle in handles:
            handle.remove()
