"""The language that a person chose in Settings, kept in a cookie; without one the browser's language decides.

Gradio's page asks the browser for its language before any script of ours could run, so the answer to `/` gets its first
script here; and each request says the chosen language, so that what the server makes speaks it, too.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any

from app.page.replies import headers_of

COOKIE = "self_npo_language"
LANGUAGES = {"en": "en-US", "zh": "zh-CN"}
"""What the page speaks, and what a browser that speaks it says; Gradio does not take a bare `zh` for Chinese."""
SPEAK = (
    "<script>for (const [name, value] of [['language', '{0}'], ['languages', ['{0}']]])"
    " Object.defineProperty(navigator, name, {{ get: () => value }});</script>"
)
"""What stands first in the page's head, filled with a language."""


def chosen_language(headers: dict[str, list[str]]) -> str:
    """The language in the cookies of a request; empty where there is none, or one that the page does not speak."""
    for line in headers.get("cookie", []):
        try:
            cookie = SimpleCookie(line).get(COOKIE)
        except CookieError:
            continue
        if cookie is not None and cookie.value in LANGUAGES:
            return LANGUAGES[cookie.value]
    return ""


class ChosenLanguage:
    """ASGI middleware that lets the chosen language stand for the browser's."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        language = chosen_language(headers_of(scope)) if scope["type"] in ("http", "websocket") else ""
        if not language:
            await self.app(scope, receive, send)
            return
        page = scope["type"] == "http" and scope["path"] == "/"
        dropped = {b"accept-language", b"accept-encoding"} if page else {b"accept-language"}
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
        scope = {**scope, "headers": [*headers, (b"accept-language", language.encode())]}
        await self.app(scope, receive, _with_script(send, SPEAK.format(language).encode()) if page else send)


def _with_script(send: Any, script: bytes) -> Any:
    """`send`, with the script put behind the first `<head>` of the answer, which is held back until it is whole."""
    start: dict[str, Any] = {}
    parts: list[bytes] = []

    async def hold(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = b"".join(parts).replace(b"<head>", b"<head>" + script, 1)
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await send({**message, "body": body})

    return hold
