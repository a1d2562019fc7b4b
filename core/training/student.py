"""The network in training in its two forms, a LoRA or all weights, and the reference that rolls out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from core.offsets.adapter import ADAPTER, adapter_disabled, attach, offset_of
from core.offsets.low_rank import factorize
from core.offsets.offset import Offset
from core.training.config import TrainConfig


class Student:
    """A denoiser in training.

    Args:
        denoiser: the base network; changed in place while it trains.
        targets: suffixes of the modules that an offset may change.

    The EMA reference is the running average of the student's effective weights, theta + B A for a LoRA: averaging
    A and B apart would be another network.
    """

    def __init__(self, denoiser: nn.Module, targets: tuple[str, ...], config: TrainConfig) -> None:
        self.denoiser, self.config = denoiser, config
        self.lora = config.weights == "lora"
        self.targets = targets
        self._reference: nn.Module | None = None
        if config.reference == "ema" or not self.lora:
            self._reference = copy.deepcopy(denoiser).requires_grad_(False)
        # the pristine weights, for offsets and previews of full training; the frozen reference is the same network
        self._base = self._reference if config.reference == "frozen" else None
        if not self.lora and self._base is None:
            self._base = copy.deepcopy(denoiser).requires_grad_(False)
        if self.lora:
            self.parameters = attach(
                denoiser,
                targets,
                rank=config.rank,
                lora_alpha=config.lora_alpha,
                seed=config.seed,
                freeze_down=config.freeze_down,
            )
        else:
            denoiser.requires_grad_(True)
            self.parameters = list(denoiser.parameters())
        for parameter in self.parameters:
            parameter.data = parameter.data.float()

    @contextmanager
    def reference(self) -> Iterator[nn.Module]:
        """The network that rolls out. No gradients are taken inside."""
        if self._reference is not None:
            yield self._reference
        else:
            with adapter_disabled(self.denoiser):
                yield self.denoiser

    def _effective(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(reference weight, the student's effective weight) for every weight that training changes."""
        assert self._reference is not None
        if not self.lora:
            yield from zip(self._reference.parameters(), self.denoiser.parameters(), strict=True)
            return
        inside = dict(self._reference.named_modules())
        for name, module in self.denoiser.named_modules():
            if isinstance(module, LoraLayer):
                down, up = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
                base = module.get_base_layer().weight
                product = (up.flatten(1) @ down.flatten(1)).reshape(base.shape) * module.scaling[ADAPTER]
                yield inside[name].weight, base + product  # type: ignore[misc]

    @torch.no_grad()
    def update_reference(self) -> None:
        """After an optimiser step: reference <- decay * reference + (1 - decay) * student."""
        if self.config.reference == "ema":
            for average, now in self._effective():
                average.lerp_(now.to(average), 1 - self.config.ema_decay)

    def pristine(self) -> AbstractContextManager[None]:
        """The denoiser with the base's own weights, for previews."""
        return adapter_disabled(self.denoiser) if self.lora else self._swapped()

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        assert self._base is not None
        trained = [parameter.data for parameter in self.denoiser.parameters()]
        try:
            for parameter, base in zip(self.denoiser.parameters(), self._base.parameters(), strict=True):
                parameter.data = base.data
            yield
        finally:
            for parameter, data in zip(self.denoiser.parameters(), trained, strict=True):
                parameter.data = data

    @torch.no_grad()
    def low_rank(self) -> Offset:
        """The offset so far. Of full training, the best of that rank of the layers an offset may change."""
        if self.lora:
            return offset_of(self.denoiser)
        assert self._base is not None
        before = dict(self._base.named_modules())
        layers = {}
        for name, module in self.denoiser.named_modules():
            if name.endswith(self.targets) and isinstance(module, nn.Linear | nn.Conv2d):
                change = (module.weight - before[name].weight).cpu()  # type: ignore[operator]
                layers[name] = factorize(change, rank=self.config.rank).layer
        return Offset(layers)

    @torch.no_grad()
    def captured_share(self, low_rank: Offset) -> float:
        """Share of the squared change of all weights that `low_rank` captures, 0 to 1: 1 for a LoRA."""
        if self.lora:
            return 1.0
        assert self._base is not None
        pairs = zip(self.denoiser.parameters(), self._base.parameters(), strict=True)
        whole = sum(float((now - base).double().square().sum()) for now, base in pairs)
        return low_rank.norm() ** 2 / whole if whole else 1.0

    def is_finite(self) -> bool:
        """Whether no trained weight is NaN or infinite."""
        return all(bool(torch.isfinite(parameter.data).all()) for parameter in self.parameters)

    def state_bytes(self) -> int:
        """Size of a checkpoint: the trained weights, AdamW's two moments of them, and the EMA reference."""
        trained = 3 * sum(parameter.numel() * parameter.element_size() for parameter in self.parameters)
        average = 0
        if self.config.reference == "ema":
            average = sum(tensor.numel() * tensor.element_size() for tensor, _ in self._effective())
        return trained + average

    def state(self) -> dict[str, Tensor]:
        """All tensors that a checkpoint needs besides the optimiser's."""
        tensors = {f"parameter.{index}": parameter.data for index, parameter in enumerate(self.parameters)}
        if self.config.reference == "ema":
            tensors |= {f"reference.{i}": average for i, (average, _) in enumerate(self._effective())}
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        for index, parameter in enumerate(self.parameters):
            parameter.data.copy_(tensors[f"parameter.{index}"])
        if self.config.reference == "ema":
            for index, (average, _) in enumerate(list(self._effective())):
                average.copy_(tensors[f"reference.{index}"])
