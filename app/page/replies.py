"""A request that is refused gets a status and one sentence."""

from __future__ import annotations

from typing import Any


async def refuse(scope: dict[str, Any], send: Any, status: int, sentence: str, **headers: str) -> None:
    """Answers an ASGI request without asking what is behind; a websocket is closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", b"text/plain; charset=utf-8"), *more],
    }
    await send(start)
    await send({"type": "http.response.body", "body": sentence.encode()})


def headers_of(scope: dict[str, Any]) -> dict[str, list[str]]:
    """Headers of a request, names in lower case, each with all its values."""
    collected: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        collected.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return collected
