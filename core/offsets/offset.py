"""An offset of a network's weights: what eta and delta are in memory. Mixing, measuring, applying and imitating it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.errors import StudioError
from core.offsets.low_rank import LowRankLayer


class DenseLayer(NamedTuple):
    """The whole change of a layer's own parameters: of a norm, of a bias, or of a weight that is kept exactly."""

    weight: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Offset:
    """A change of a network's weights, layer by layer.

    Args:
        low_rank: module name inside the denoiser to the low-rank change of its weight.
        dense: module name to whole changes of its weight, its bias or both. A module may have both kinds: they add up.
    """

    low_rank: Mapping[str, LowRankLayer] = field(default_factory=dict)
    dense: Mapping[str, DenseLayer] = field(default_factory=dict)

    @property
    def modules(self) -> list[str]:
        """The modules that it changes, each once."""
        return list(dict.fromkeys([*self.low_rank, *self.dense]))

    def numel(self) -> int:
        """How many numbers it holds: of the low-rank matrices, not of their products."""
        layers = [*self.low_rank.values(), *self.dense.values()]
        return sum(tensor.numel() for layer in layers for tensor in layer if tensor is not None)

    def changes(self) -> Iterator[tuple[str, Tensor]]:
        """(parameter name, its whole change), each parameter once; one matrix is formed at a time."""
        for module in self.modules:
            dense = self.dense.get(module, DenseLayer())
            if module in self.low_rank:
                weight = self.low_rank[module].dense()
                yield f"{module}.weight", weight if dense.weight is None else weight + dense.weight
            elif dense.weight is not None:
                yield f"{module}.weight", dense.weight
            if dense.bias is not None:
                yield f"{module}.bias", dense.bias

    def norm(self) -> float:
        """Frobenius norm of the whole change, dense parts included."""
        return sum(float(change.double().square().sum()) for _, change in self.changes()) ** 0.5

    @staticmethod
    def combine(parts: Sequence[tuple[Offset, float]]) -> Offset:
        """The weighted sum of offsets, exactly: ranks side by side, dense parts added.

        `Offset.combine([(a, 0.5), (b, 0.5)])` is their mean.
        """
        low_rank = {
            name: LowRankLayer(
                torch.cat([part.low_rank[name].down for part, _ in parts if name in part.low_rank]),
                torch.cat([part.low_rank[name].up * scale for part, scale in parts if name in part.low_rank], dim=1),
            )
            for name in dict.fromkeys(name for part, _ in parts for name in part.low_rank)
        }

        def sum_of(name: str, which: str) -> Tensor | None:
            scaled = [(getattr(part.dense[name], which), scale) for part, scale in parts if name in part.dense]
            terms = [tensor * scale for tensor, scale in scaled if tensor is not None]
            return torch.stack(terms).sum(0) if terms else None

        names = dict.fromkeys(name for part, _ in parts for name in part.dense)
        return Offset(low_rank, {name: DenseLayer(sum_of(name, "weight"), sum_of(name, "bias")) for name in names})

    def random_like(self, seed: int) -> Offset:
        """A random offset with the same ranks and, in every low-rank layer and every dense part, the same Frobenius
        norm: the control of an evaluation."""
        generator = torch.Generator().manual_seed(seed)

        def drawn_like(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            drawn = torch.randn(tensor.shape, generator=generator)
            return drawn * (tensor.norm() / drawn.norm())

        low_rank = {}
        for name, layer in self.low_rank.items():
            down = torch.randn(layer.down.shape, generator=generator)
            up = torch.randn(layer.up.shape, generator=generator)
            low_rank[name] = LowRankLayer(down, up * (layer.dense().norm() / LowRankLayer(down, up).dense().norm()))
        dense = {
            name: DenseLayer(drawn_like(change.weight), drawn_like(change.bias)) for name, change in self.dense.items()
        }
        return Offset(low_rank, dense)

    def _parameters(self, denoiser: nn.Module) -> dict[str, nn.Parameter]:
        """The network's own parameters that it changes, by the names of `changes`."""
        modules = dict(denoiser.named_modules())
        missing = [name for name in self.modules if name not in modules]
        if missing:
            foreign = len(missing) == len(self.modules)
            raise StudioError(
                "{count} of the offset's {total} layers are not in this model, for example {name}.",
                "The offset belongs to another model: choose one made for this base."
                if foreign
                else "Choose the base that the offset was made for; this one does not have a part that the offset changes.",
                count=len(missing),
                total=len(self.modules),
                name=missing[0],
            )
        remedy = "Choose the base that the offset was made for; this one has layers of another size."
        parameters: dict[str, nn.Parameter] = {}
        for name, layer in self.low_rank.items():
            own = getattr(modules[name], "weight", None)
            shape = (layer.up.shape[0], *layer.down.shape[1:])
            if own is None or tuple(own.shape) != shape:
                has = "no weight" if own is None else tuple(own.shape)
                raise StudioError(
                    "The offset's layer {name} has shape {shape}, but the model's has {has}.",
                    remedy,
                    name=name,
                    shape=shape,
                    has=has,
                )
            parameters[f"{name}.weight"] = own
        for name, change in self.dense.items():
            for which, tensor in (("weight", change.weight), ("bias", change.bias)):
                own = getattr(modules[name], which, None)
                if tensor is None:
                    continue
                if own is None or own.shape != tensor.shape:
                    raise StudioError(
                        "The offset's {which} of {name} does not fit the model's.", remedy, which=which, name=name
                    )
                parameters[f"{name}.{which}"] = own
        return parameters

    def check_fits(self, denoiser: nn.Module) -> None:
        """Whether the offset's layers are the model's.

        Raises:
            StudioError: a layer is missing or of another shape; says how many and which.
        """
        self._parameters(denoiser)

    @contextmanager
    def apply(self, denoiser: nn.Module, scale: float = 1.0) -> Iterator[None]:
        """The network with `scale` times the offset in its weights; its own weights are put back bit by bit.

        Raises:
            StudioError: as `check_fits`.
        """
        parameters = self._parameters(denoiser)
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            with torch.no_grad():
                for name, change in self.changes():
                    parameters[name].add_(change.to(parameters[name]), alpha=scale)
            yield
        finally:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(own[name])


def random_offset(denoiser: nn.Module, targets: Sequence[str], *, rank: int, seed: int = 0) -> Offset:
    """A random offset of the network's own linear layers, for measuring: down (rank, in), up (out, rank), entries with a
    standard deviation of 0.01.

    Args:
        targets: suffixes of module names, as of `core.offsets.adapter.attach`.
    """
    generator = torch.Generator().manual_seed(seed)
    return Offset(
        {
            name: LowRankLayer(
                0.01 * torch.randn(rank, module.in_features, generator=generator),
                0.01 * torch.randn(module.out_features, rank, generator=generator),
            )
            for name, module in denoiser.named_modules()
            if isinstance(module, nn.Linear) and name.endswith(tuple(f".{target}" for target in targets))
        }
    )
