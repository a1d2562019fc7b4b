"""Muon: momentum whose matrices are made nearly orthogonal before each step (K. Jordan and others, 2024).

Convolutions count as matrices of (out, in x height x width). The step's length follows Liu et al. (arXiv 2502.16982), so
that one learning rate serves both parts: 0.2 sqrt(max(rows, columns)).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonalize(matrices: Tensor) -> Tensor:
    """Each (rows, columns) of a stack with its singular values drawn to about one: five Newton-Schulz iterations."""
    turned = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if turned else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if turned else x).float()


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


class Muon(torch.optim.Optimizer):
    """Muon for `inside`, AdamW for `rest` (norms, biases, embeddings, first and last convolution).

    Args:
        inside: parameters of two dimensions or more.
        rest: all others.
        lr: of both.
    """

    def __init__(self, inside: list[nn.Parameter], rest: list[nn.Parameter], lr: float) -> None:
        groups = [{"params": inside, "muon": True}, {"params": rest, "muon": False}]
        super().__init__(groups, {"lr": lr, "weight_decay": 0.01})

    @classmethod
    def of(cls, model: nn.Module, lr: float) -> Muon:
        """For a whole network: embeddings, first and last convolutions and everything of one dimension by AdamW."""
        inside: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            ends = ("embedding", "conv_in", "conv_out")
            (rest if parameter.ndim < 2 or any(end in name for end in ends) else inside).append(parameter)
        return cls(inside, rest, lr)

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        """One step from the gradients at hand."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            (self._inside if group["muon"] else self._rest)(parameters, group["lr"])

    def _inside(self, parameters: list[nn.Parameter], lr: float) -> None:
        alike: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            gradient = _gradient(parameter)
            momentum = state["momentum"].lerp_(gradient, 0.05)
            update = gradient.lerp(momentum, 0.95).flatten(1)
            alike.setdefault(update.shape, []).append((parameter, update))
        for shape, members in alike.items():
            updates = orthogonalize(torch.stack([update for _, update in members]))
            for (parameter, _), update in zip(members, updates, strict=True):
                parameter.sub_(update.view_as(parameter), alpha=lr * 0.2 * max(shape) ** 0.5)

    def _rest(self, parameters: list[nn.Parameter], lr: float) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
            state["step"] += 1
            gradient = _gradient(parameter)
            mean = state["mean"].lerp_(gradient, 0.1)
            square = state["square"].mul_(0.98).addcmul_(gradient, gradient, value=0.02)
            steps = state["step"]
            root = (square / (1 - 0.98**steps)).sqrt().add_(1e-8)
            parameter.addcdiv_(mean, root, value=-lr / (1 - 0.9**steps))
