"""A Space: strangers share one server, and on ZeroGPU the card is there only while a function that asked for it runs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from core.generation.comparison import Comparison
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Event
from core.studio.library.choose import OPENING, find_base
from core.studio.workspace import Workspace

SECONDS = 90
"""What a rendering may ask of the card; the platform queues short askers first."""
KEPT = 3_000
"""Seconds that a visitor's pictures and uploads are kept after they were last written."""
SWEPT = 300
"""Seconds between two looks for what is older: nothing outlives its session by an hour."""


class Visitors:
    """A folder of pictures for each session, under a name that no other session can guess or read.

    Gradio serves a file of its own folder to whoever names it in full; the folder of a session has 128 random bits in its
    name, which only that session's page ever learns. The outputs of the workspace are not served at all.

    Args:
        root: Gradio's own folder for what is uploaded and shown.
        asker: the session whose request is being answered; empty where there is none.
    """

    def __init__(self, root: Path, asker: Callable[[], str]) -> None:
        self.root, self.asker = root, asker
        self._folders: dict[str, Path] = {}

    def folder(self) -> Path:
        """The folder of the session that asks; without a session, one that is used this once."""
        session = self.asker()
        folder = self._folders.get(session) or self.root / f"visitor-{secrets.token_hex(16)}"
        folder.mkdir(parents=True, exist_ok=True)
        if session:
            self._folders[session] = folder
        return folder

    def sweep(self, older: float = KEPT) -> None:
        """Deletes what was last written more than `older` seconds ago, and the folders that are empty then."""
        limit = time.time() - older
        for path in sorted(self.root.rglob("*"), reverse=True):  # what is inside before what it is in
            with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is not empty
                if path.lstat().st_mtime < limit:
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self._folders = {session: folder for session, folder in self._folders.items() if folder.exists()}

    @contextlib.asynccontextmanager
    async def swept(self, app: Any) -> AsyncIterator[None]:
        """A lifespan of the server: sweeps as long as it runs."""

        async def keep_sweeping() -> None:
            while True:
                await asyncio.sleep(SWEPT)
                await asyncio.to_thread(self.sweep)

        task = asyncio.create_task(keep_sweeping())
        try:
            yield
        finally:
            task.cancel()


def asking_session() -> str:
    """The session of the page whose request Gradio is answering in this context."""
    from gradio.context import LocalContext

    return str(getattr(LocalContext.request.get(None), "session_hash", None) or "")


class ZeroGPUEngine(Engine):
    """Renders where Hugging Face lends a card: `spaces.GPU` wraps a comparison and nothing else.

    `spaces` must be imported before torch, and the model loaded before the first process is forked off, so both are
    done here. What is given to that process and what comes back is pickled; a stop is therefore looked at on this side.
    """

    def __init__(self, workspace: Workspace, *, cpu: bool = False, outputs: Callable[[], Path] | None = None) -> None:
        import spaces  # the platform brings it; it is not a dependency of the studio

        super().__init__(workspace, cpu=cpu, outputs=outputs, deadline=SECONDS)
        self.models.load(find_base(workspace, OPENING))
        self._on_card: Callable[..., Any] = spaces.GPU(duration=SECONDS)(self._whole)

    def _whole(self, comparison: Comparison, folder: Path) -> Iterator[Event]:
        yield from super()._compare(comparison, folder, lambda: False)

    def _compare(self, comparison: Comparison, folder: Path, cancelled: Callable[[], bool]) -> Iterator[Event]:
        """As the engine's; what is still being sampled when it is cancelled is given up, at the next event."""
        for event in self._on_card(comparison, folder):
            yield event
            if cancelled():
                return
