"""A ZeroGPU Space: the card is there only while a function that asked for it runs, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from core.studio.comparing.compare import CompareSettings, Note, Sampling, Saved, Waiting
from core.studio.comparing.engine import Engine
from core.studio.library.choose import BUNDLED, find_base
from core.studio.workspace import Workspace

SECONDS = 90
"""What a rendering may ask of the card; the platform queues short askers first."""


class ZeroGPUEngine(Engine):
    """Renders where Hugging Face lends a card: `spaces.GPU` stands around a comparison and around nothing else.

    `spaces` must be imported before torch, and the model loaded before the first process is forked off, so both are
    done here. What is given to that process and what comes back is pickled; a stop is therefore looked at on this side.
    """

    def __init__(self, workspace: Workspace, *, cpu: bool = False) -> None:
        import spaces  # the platform brings it; it is no dependency of the studio

        super().__init__(workspace, cpu=cpu)
        self._pipeline(find_base(workspace, BUNDLED))
        self._on_card: Callable[..., Any] = spaces.GPU(duration=SECONDS)(self._whole)

    def _whole(self, settings: CompareSettings) -> Iterator[Waiting | Sampling | Saved | Note]:
        yield from super().compare(settings)

    def compare(
        self, settings: CompareSettings, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Waiting | Sampling | Saved | Note]:
        """As `Engine.compare`; what is still being sampled when it is cancelled is given up, at the next event."""
        for event in self._on_card(settings):
            yield event
            if cancelled():
                return
