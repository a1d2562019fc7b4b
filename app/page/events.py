"""Events of the page are looked at before Gradio reads them: what is not JSON, or asks for an event that the page does not have,
made it fail with a traceback in the console."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from app.page.replies import refuse

JOIN, RUN = "/gradio_api/queue/join", "/gradio_api/run/"
LONGEST_SESSION = 100
"""Characters of the name of a session, which Gradio makes of eleven."""


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def fault_of(body: bytes, known: Collection[int], *, named: bool = False) -> str:
    """What is wrong with an event's body, as a sentence; empty where nothing is.

    Args:
        known: the numbers of the page's events.
        named: the event is named in the path, and needs no number.
    """
    try:
        values = json.loads(body, parse_constant=_not_finite)
    except (ValueError, RecursionError):
        return "The request is not valid JSON."
    if not isinstance(values, dict) or not isinstance(values.get("data"), list):
        return "The request has no list of values."
    number, session = values.get("fn_index"), values.get("session_hash")
    if not (named and number is None) and (type(number) is not int or number not in known):
        return "The page has no such event."
    if session is not None and (
        not isinstance(session, str) or len(session) > LONGEST_SESSION or not session.isascii()
    ):
        return "The name of the session is not valid."
    return ""


class WellFormedEvents:
    """ASGI middleware: 400 to an event that Gradio could not read.

    Args:
        app: the application behind it; the length of its bodies is bounded before.
        known: the numbers of the page's events.
    """

    def __init__(self, app: Any, known: Callable[[], Collection[int]]) -> None:
        self.app, self.known = app, known

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "POST" or not (path == JOIN or path.startswith(RUN)):
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if sentence := fault_of(body, self.known(), named=path != JOIN):
            await refuse(scope, send, 400, sentence)
            return
        arrived = False

        async def again() -> Any:
            nonlocal arrived
            if arrived:
                return await receive()
            arrived = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)
