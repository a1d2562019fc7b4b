"""The row gate: one network, one forward, and in every row its own share of the positive and the negative offset.

A stock pipeline with guidance runs the batch [negative rows..., positive rows...] through one network. Each layer that an
offset changes gets a `GatedLayer` in its place, which adds the changes row by row, so each row sees
theta + eta_scale * eta + delta_scale * delta.  The pipeline is not changed, and moving a slider writes a table of two columns.

Whole changes of weights, biases and norms (`DenseLayer`) ride along exactly: every such layer is linear in its own
parameters, so a row's share of the change is the layer applied with the change alone, times the row's scale.

The table is written before each forward, outside of any compiled graph, and only where it differs from the one before.
Compile the denoiser's repeated blocks, or its `forward`: the table is written by a hook of the denoiser around that.

Cost: one forward, as plain guidance; the adapter's products are taken for the rows that use it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from core.method.guidance import GuidanceWeights
from core.offsets.gated_layer import GatedLayer
from core.offsets.offset import Offset
from core.offsets.shares import Scales, Shares, other_rows

MERGED_BYTES = 64 * 2**20
"""Bytes of a network's weights up to which changed weights are kept beside them. Chosen by `bench guidance`: a small network
spends its time on the number of products and not on their size, and its weights are soon changed."""
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_TEXT = ("to_k", "to_v")
_ATTENTION = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")


class RowGate:
    """Holds the table of scales, and lays it over each forward of the denoiser. Made by `row_gate`."""

    def __init__(self, train_timesteps: int, shares: Shares) -> None:
        self.train_timesteps = train_timesteps
        self._shares = shares
        self._columns: tuple[GuidanceWeights, ...] = ()
        self._images = 0
        self._table: tuple[Scales, ...] | None = None

    def set_columns(self, columns: Sequence[GuidanceWeights], images_per_column: int) -> None:
        """Rows for a stock pipeline's batch: for each column its images' negative rows, then all positive rows alike.

        Args:
            columns: settings that share one omega, for that is one number in the pipeline.
            images_per_column: images of each column; the batch is columns * images_per_column * 2 rows.
        """
        if len({column.omega for column in columns}) > 1:
            raise ValueError("columns of one batch share omega")
        self._columns, self._images = tuple(columns), images_per_column
        constant = all(column.is_constant for column in columns)
        self._table = self._table_at(1.0) if constant else None

    def set_rows(self, table: Tensor) -> None:
        """An explicit table (rows, 2): the scales of (eta, delta) in every row of the coming forwards."""
        self._columns, self._table = (), tuple((eta, delta) for eta, delta in table.float().tolist())

    def _table_at(self, t_fraction: float) -> tuple[Scales, ...]:
        negative = [c.negative_row(t_fraction) for c in self._columns for _ in range(self._images)]
        positive = [c.positive_row(t_fraction) for c in self._columns for _ in range(self._images)]
        return (*negative, *positive)

    def before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the denoiser: lays the table of this noise level over the batch."""
        sample = kwargs["sample"] if "sample" in kwargs else args[0] if args else kwargs["hidden_states"]
        table = self._table
        if table is None:  # only then is the device asked for the noise level
            timestep = kwargs["timestep"] if "timestep" in kwargs else args[1]
            level = timestep.flatten()[0] if isinstance(timestep, Tensor) else timestep
            table = self._table_at(float(level) / self.train_timesteps)
        if len(sample) * 2 == len(table):
            table = table[len(sample) :]  # guidance is off: the pipeline sends its positive rows alone
        if len(sample) != len(table):
            raise other_rows(len(table), len(sample))
        self._shares.write(table, sample.device)


def _dtype(layer: nn.Module, denoiser: nn.Module) -> torch.dtype:
    """What a layer computes in; its weights may be stored in fewer bits."""
    stored = next(layer.parameters()).dtype
    return stored if stored in _FLOATS else denoiser.dtype  # type: ignore[return-value]


def _gated(denoiser: nn.Module, offsets: Sequence[tuple[Offset, int]], shares: Shares) -> dict[nn.Module, GatedLayer]:
    """The layers that the offsets change, each with the one that stands in its place."""
    modules = dict(denoiser.named_modules())
    placed: dict[nn.Module, GatedLayer] = {}
    alike: dict[Any, list[GatedLayer]] = {}
    for name in dict.fromkeys(name for offset, _ in offsets for name in offset.modules):
        layer = modules[name]
        if isinstance(layer, BaseTunerLayer):
            layer = layer.get_base_layer()  # an adapter is in training: gate the layer below it
        low_rank = [(offset.low_rank[name], owner) for offset, owner in offsets if name in offset.low_rank]
        dense = [(offset.dense[name], owner) for offset, owner in offsets if name in offset.dense]
        placed[layer] = gated = GatedLayer(layer, low_rank, dense, shares, _dtype(layer, denoiser))
        parent, _, own = name.rpartition(".")
        if own not in _ATTENTION or not low_rank or dense:
            continue
        if own in _TEXT and getattr(modules[parent], "is_cross_attention", False):
            alike.setdefault(("text", layer.in_features), []).append(gated)  # all attentions read the same text
        elif not getattr(modules[parent], "is_cross_attention", False):
            alike.setdefault((parent, own.startswith("add_")), []).append(gated)
    shares.layers += placed.values()
    for layers in alike.values():
        if len(layers) > 1:
            shares.share(layers)
    return placed


@contextmanager
def row_gate(
    denoiser: nn.Module,
    positive: Offset | None,
    negative: Offset | None,
    *,
    train_timesteps: int = 1000,
    merged: bool | None = None,
) -> Iterator[RowGate]:
    """The denoiser with both offsets behind a row gate; it is itself again afterwards, whatever happened inside.

    Args:
        positive: eta, or None for none.
        negative: delta, or None for none.
        train_timesteps: T of the model's schedule, for schedules of beta.
        merged: whether changed weights are kept beside the network's; None for small networks alone.

    Raises:
        StudioError: an offset's layers are not the model's.
    """
    offsets = [(offset, owner) for owner, offset in enumerate((positive, negative)) if offset is not None]
    for offset, _ in offsets:
        offset.check_fits(denoiser)
    if merged is None:
        merged = sum(part.numel() * part.element_size() for part in denoiser.parameters()) <= MERGED_BYTES
    shares = Shares(merged=merged)
    gate = RowGate(train_timesteps, shares)
    placed = _gated(denoiser, offsets, shares)
    changed: list[tuple[dict[str, nn.Module | None], str, nn.Module]] = []
    handles = []
    try:
        for parent in list(denoiser.modules()):
            for key, child in parent._modules.items():
                if child in placed:
                    changed.append((parent._modules, key, child))
        for children, key, child in changed:
            children[key] = placed[child]
        if placed:
            handles.append(denoiser.register_forward_pre_hook(gate.before_forward, with_kwargs=True))
        yield gate
    finally:
        for handle in handles:
            handle.remove()
        for children, key, child in changed:
            children[key] = child
