"""What keeps other sites out: the server answers to its own names, and to requests that its own page sends."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

LOCAL = {"127.0.0.1", "localhost", "::1"}


class OwnPageOnly:
    """ASGI middleware against DNS rebinding and cross-site requests.

    Args:
        app: the application behind it.
        any_host: answer to any host name: for servers on a network, behind a tunnel or in a Space.
    """

    def __init__(self, app: Any, any_host: bool = False) -> None:
        self.app, self.any_host = app, any_host

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            host = headers.get("host", "")
            if not self.any_host and (urlsplit(f"//{host}").hostname or "") not in LOCAL:
                await self._refuse(scope, send, 400, "This address is not this studio's.")
                return
            origin = headers.get("origin")
            safe = scope.get("method", "GET") in ("GET", "HEAD", "OPTIONS") and scope["type"] == "http"
            if not safe and origin is not None and urlsplit(origin).netloc != host:
                await self._refuse(scope, send, 403, "Requests from other sites are refused.")
                return
        await self.app(scope, receive, send)

    @staticmethod
    async def _refuse(scope: dict[str, Any], send: Any, status: int, text: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})
