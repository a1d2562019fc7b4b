"""How much a request may bring, and how fast passwords may be tried."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

from app.page.replies import headers_of, refuse

MEBIBYTE = 2**20
UPLOAD_LIMIT = 64 * MEBIBYTE
"""Bytes of one request that uploads files, all its files together; and of any one file."""
OVERHEAD = MEBIBYTE // 4
"""What the form around the files may add to it."""
EVENT_LIMIT = 8 * MEBIBYTE
"""Bytes of any other request."""
KEPT_LIMIT = 2_048 * MEBIBYTE
"""Bytes of all that was uploaded and not swept yet."""
SPARE = 512 * MEBIBYTE
"""Bytes of the disk that no upload may take."""
PASSING, PATIENCE = 256 * MEBIBYTE, 60
"""Bytes and seconds of a refused body that are read and thrown away before the refusal."""
UPLOADING = {"/gradio_api/upload", "/gradio_api/component_server/"}


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile does not count."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:
            continue
    return total


class BoundedBodies:
    """ASGI middleware: 411 where a body's length is not given, 413 where it is too long, 507 where the disk lacks room.

    The server reads no more of a body than its length, so nothing has to be counted here.

    Args:
        app: the application behind it.
        uploads: the folder where uploads are kept.
    """

    def __init__(self, app: Any, uploads: Path) -> None:
        self.app, self.uploads, self.arriving = app, uploads, 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = headers_of(scope)
        length = headers.get("content-length", ["0"])[0]
        if "transfer-encoding" in headers or not length.isdecimal():
            await self._turn_down(scope, receive, send, 411, "The length of the request is missing.")
            return
        size, uploading = int(length), scope["path"] in UPLOADING
        limit = UPLOAD_LIMIT + OVERHEAD if uploading else EVENT_LIMIT
        if size > limit:
            await self._turn_down(scope, receive, send, 413, f"The request is larger than {limit // MEBIBYTE} MiB.")
            return
        if not uploading:
            await self.app(scope, receive, send)
            return
        self.arriving += size
        try:
            if not await asyncio.to_thread(self._room_for, self.arriving):
                await self._turn_down(
                    scope, receive, send, 507, "There is no room for more uploads. Try again in an hour."
                )
                return
            await self.app(scope, receive, send)
        finally:
            self.arriving -= size

    @staticmethod
    async def _turn_down(scope: dict[str, Any], receive: Any, send: Any, status: int, sentence: str) -> None:
        """Refuses when the body has passed by: a browser that still sends would see a broken connection, no answer."""
        passed, more = 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while more and passed < PASSING:
                    message = await receive()
                    passed += len(message.get("body", b""))
                    more = message.get("more_body", False)
        await refuse(scope, send, status, sentence, connection="close")

    def _room_for(self, size: int) -> bool:
        self.uploads.mkdir(parents=True, exist_ok=True)
        return size_of(self.uploads) + size <= KEPT_LIMIT and shutil.disk_usage(self.uploads).free - size >= SPARE


class SlowedLogins:
    """ASGI middleware: after three wrong passwords from an address, each costs a second or more, one after the other.

    The time doubles up to a bound, a right password forgets the wrong ones, and nobody is locked out.

    Args:
        app: the application behind it.
        first: seconds that the fourth wrong password costs.
        longest: the most that one costs, in seconds.
        sleep: waits for a number of seconds.
    """

    FREE = 3
    WAITING = 8

    def __init__(self, app: Any, first: float = 1.0, longest: float = 8.0, sleep: Any = asyncio.sleep) -> None:
        self.app, self.first, self.longest, self.sleep = app, first, longest, sleep
        self._wrong: dict[str, tuple[int, float]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/login":
            await self.app(scope, receive, send)
            return
        address = (scope.get("client") or ("", 0))[0]
        if self._waiting.get(address, 0) >= self.WAITING:
            await refuse(scope, send, 429, "Too many logins at once. Wait a moment.", retry_after="10")
            return
        self._waiting[address] = self._waiting.get(address, 0) + 1
        try:
            async with self._turns.setdefault(address, asyncio.Lock()):
                await self._try(address, scope, receive, send)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._turns[address]

    async def _try(self, address: str, scope: dict[str, Any], receive: Any, send: Any) -> None:
        wrong, last = self._wrong.get(address, (0, 0.0))
        if time.monotonic() - last > 3_600:
            wrong = 0
        if wrong >= self.FREE:
            await self.sleep(min(self.longest, self.first * 2 ** (wrong - self.FREE)))
        status = 0

        async def see(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self.app(scope, receive, see)
        if status == 200:
            self._wrong.pop(address, None)
        else:
            self._wrong[address] = (wrong + 1, time.monotonic())
        if len(self._wrong) > 10_000:
            self._wrong.pop(next(iter(self._wrong)))
