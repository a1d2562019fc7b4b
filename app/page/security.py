"""What keeps other sites out: the server answers to its own names, and to requests that its own page sends.

Gradio by itself answers a foreign host name and a cross-origin upload. Its own middleware lies outside of what an
application can hand it, and it fails at a malformed header; so this guard is put around the whole of it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.page.bounds import BoundedBodies, SlowedLogins
from app.page.events import WellFormedEvents
from app.page.language import ChosenLanguage
from app.page.replies import headers_of, refuse
from app.page.routes import UsedRoutesOnly
from app.page.voting import LINK

LOCAL = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:\d{1,5})?", re.IGNORECASE)

POLICY = {
    "default-src": "'self'",
    # Gradio's page contains its own inline scripts and styles, and compiles what an event's js= says
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
"""Content security policy of the page: whatever slipped into it could load nothing from elsewhere and send nothing there."""


def response_headers(in_a_space: bool) -> list[tuple[bytes, bytes]]:
    """Headers of every answer; a Space is shown in a frame of the site that hosts it, everything else in none."""
    ancestors = "'self' https://huggingface.co https://*.hf.space" if in_a_space else "'none'"
    policy = "; ".join(f"{name} {value}" for name, value in {**POLICY, "frame-ancestors": ancestors}.items())
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-resource-policy": "cross-origin" if in_a_space else "same-origin",
    }
    if not in_a_space:
        headers["x-frame-options"] = "DENY"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def well_formed(host: str) -> bool:
    """Whether a Host header is a name or an address, and a port from 1 to 65535 at most."""
    match = _HOST.fullmatch(host)
    return bool(match) and (not match[3] or 1 <= int(match[3][1:]) <= 65_535) if match else False


def origin_of(text: str) -> tuple[str, str] | None:
    """Scheme and host of an Origin header, in lower case; None where it is malformed; `null` has empty ones."""
    if text == "null":
        return "", ""
    try:
        parts = urlsplit(text)
        host = parts.netloc.lower()
    except ValueError:
        return None
    plain = parts.scheme in ("http", "https") and text.lower() == f"{parts.scheme}://{host}"
    return (parts.scheme, host) if plain and well_formed(host) else None


class OwnPageOnly:
    """ASGI middleware against DNS rebinding and cross-site requests.

    A browser says where a request comes from: with `Origin`, and where it leaves that out, with `Sec-Fetch-Site`. A link
    to the page may be followed from anywhere; nothing else may be asked from another site, reading included.

    Args:
        app: the application behind it.
        in_a_space: the page may be opened in a frame, too.
    """

    def __init__(self, app: Any, in_a_space: bool = False) -> None:
        self.app, self.in_a_space = app, in_a_space

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket"):
            status, sentence = self._judge(scope)
            if status != 200:
                await refuse(scope, send, status, sentence)
                return
        await self.app(scope, receive, send)

    def _judge(self, scope: dict[str, Any]) -> tuple[int, str]:
        headers = headers_of(scope)
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not well_formed(hosts[0]):
            return 400, "The request names no valid host."
        if len(origins) > 1:
            return 400, "The request names two origins."
        if origins:
            origin = origin_of(origins[0])
            if origin is None:
                return 400, "The request names no valid origin."
            if origin[1] != hosts[0].lower():
                return 403, "Requests from other sites are refused."
        elsewhere = {"cross-site", "same-site"} & {value.strip().lower() for value in headers.get("sec-fetch-site", [])}
        if elsewhere and not self._opens_the_page(scope, headers):
            return 403, "Requests from other sites are refused."
        return 200, ""

    def _opens_the_page(self, scope: dict[str, Any], headers: dict[str, list[str]]) -> bool:
        targets = ["document", "iframe"] if self.in_a_space else ["document"]
        return (
            scope.get("method") in ("GET", "HEAD")
            and (scope["path"] == "/" or bool(LINK.fullmatch(scope["path"])))
            and headers.get("sec-fetch-mode") == ["navigate"]
            and headers.get("sec-fetch-dest", [""])[0] in targets
        )


class WithHeaders:
    """ASGI middleware that adds headers to every answer."""

    def __init__(self, app: Any, headers: list[tuple[bytes, bytes]]) -> None:
        self.app, self.headers = app, headers

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def add(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                # Gradio answers any origin that asks where it is reached by a name of the network
                passed = [(k, v) for k, v in message.get("headers", []) if not k.lower().startswith(b"access-control-")]
                message = {**message, "headers": [*passed, *self.headers]}
            await send(message)

        await self.app(scope, receive, add if scope["type"] == "http" else send)


def guarded(
    app: Any, *, any_host: bool, in_a_space: bool, uploads: Path, events: Callable[[], Collection[int]] = frozenset
) -> Any:
    """The application behind all that is refused before it is asked, outermost first: its headers, whose page asks, host
    names, routes, how much is sent, what an event says, how fast passwords are tried; and behind all that the language a person chose.

    Args:
        any_host: answer to any host name: for servers on a network, behind a tunnel or in a Space.
        in_a_space: shown in a frame of its host.
        uploads: the folder where Gradio keeps what is uploaded.
        events: the numbers of the page's events.
    """
    app = SlowedLogins(ChosenLanguage(app))
    app = WellFormedEvents(app, events)
    app = BoundedBodies(app, uploads)
    app = UsedRoutesOnly(app)
    app = TrustedHostMiddleware(app, allowed_hosts=["*"] if any_host else list(LOCAL), www_redirect=False)
    app = OwnPageOnly(app, in_a_space)
    return WithHeaders(app, response_headers(in_a_space))


Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[None]]


def guarding(*, beside: Lifespan | None = None, **options: Any) -> Lifespan:
    """A lifespan for Gradio's application that puts the guard around the whole of it before the first request.

    Args:
        beside: another lifespan, entered then.
        options: those of `guarded`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = guarded(app.middleware_stack, events=lambda: app.get_blocks().fns, **options)
        async with beside(app) if beside else contextlib.nullcontext():
            yield

    return lifespan
