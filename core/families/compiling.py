"""Compiles the blocks that a denoiser repeats, one by one: the first picture waits for a handful of small graphs and not for
one of the whole network. Where compiling fails, the network goes on as it was, and says so once.

What is written around a block, such as the row gate's table of scales, stays outside of its graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from core.errors import Sentence

VARIABLE = "SELF_NPO_COMPILE"
"""The environment's name for the choice of a program and of the processes that it starts; "1" compiles."""
REPEATED = ("BasicTransformerBlock", "CogVideoXBlock", "JointTransformerBlock")
"""Classes of the blocks that are compiled. A UNet's ResnetBlock2D is not: SD1.5 has it in 14 shapes, each a graph of its own, and
its time goes into convolutions, which stay what they are."""
MOST_GRAPHS = 64
"""Graphs of one kind of block: torch's own limit of 8 is less than the widths, sizes and batches of a UNet's transformer blocks."""


def chosen() -> bool:
    """Whether this program was started with --compile."""
    return os.environ.get(VARIABLE) == "1"


class Compilation:
    """The blocks of one denoiser, compiled when they are first called.

    Args:
        options: of `torch.compile`.
    """

    def __init__(self, denoiser: nn.Module, **options: Any) -> None:
        torch._dynamo.config.recompile_limit = max(MOST_GRAPHS, torch._dynamo.config.recompile_limit)
        blocks = [module for module in denoiser.modules() if type(module).__name__ in REPEATED]
        self.blocks = {block: self._compiled(block, **options) for block in blocks}
        self._fault = ""
        self.put_in()

    def _compiled(self, block: nn.Module, **options: Any) -> Callable[..., Any]:
        plain = block.forward
        compiled = torch.compile(plain, **options)

        def forward(*args: Any, **kwargs: Any) -> Any:
            try:
                return compiled(*args, **kwargs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self.take_out()
                self.blocks = {}
                self._fault = type(error.__cause__ or error).__name__
            return plain(*args, **kwargs)

        return forward

    def put_in(self) -> None:
        """The compiled blocks in their places, where they do not fail."""
        for block, forward in self.blocks.items():
            block.forward = forward  # type: ignore[method-assign]

    def take_out(self) -> None:
        """The blocks as they were before."""
        for block in self.blocks:
            vars(block).pop("forward", None)

    @contextmanager
    def within(self) -> Iterator[None]:
        """The compiled blocks for a while."""
        self.put_in()
        try:
            yield
        finally:
            self.take_out()

    def fault(self) -> Sentence | None:
        """What to say where compiling failed; once."""
        kind, self._fault = self._fault, ""
        return Sentence("Compiling failed ({kind}); it went on without.", kind=kind) if kind else None


def inside_compiled(denoiser: nn.Module) -> set[nn.Module]:
    """The modules within compiled blocks: a hook there would be part of the graph."""
    return {
        inner
        for module in denoiser.modules()
        if type(module).__name__ in REPEATED and "forward" in vars(module)
        for inner in module.modules()
        if inner is not module
    }
