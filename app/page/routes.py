"""What can be asked of the server: the routes of Gradio that the page uses, and nothing else.

Gradio brings some eighty routes. One of them resized a picture to any size that was asked for, another fetches any
address on the network; none of these is needed here. Each is decided about in one of the two tables below, and a test
compares both with the routes of the running server, so that a new version of Gradio adds nothing unnoticed.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.routing import compile_path

from app.page.replies import refuse

ICON_SIZES = (192, 512)
"""Side lengths in pixels of the icons that the page's manifest names."""

GET, POST = ("GET", "HEAD"), ("POST",)

USED: dict[str, tuple[str, ...]] = {
    # the page and what it is made of
    "/": GET,
    "/config": GET,
    "/assets/{path:path}": GET,
    "/static/{path:path}": GET,
    "/theme.css": GET,
    "/favicon.ico": GET,
    "/manifest.json": GET,
    "/pwa_icon/{size}": GET,
    "/login": POST,
    # its events
    "/gradio_api/startup-events": GET,
    "/gradio_api/app_id": GET,
    "/gradio_api/heartbeat/{session_hash}": GET,
    "/gradio_api/queue/join": POST,
    "/gradio_api/queue/data": GET,
    "/gradio_api/run/{api_name}": POST,
    # its files; the picture editor hands in its layers through the component server
    "/gradio_api/file={path_or_url:path}": GET,
    "/gradio_api/upload": POST,
    "/gradio_api/upload_progress": GET,
    "/gradio_api/component_server/": POST,
    # the page on which people vote in a blind study
    "/vote/{code}": GET,
    "/vote/{code}/begin": POST,
    "/vote/{code}/pair": GET,
    "/vote/{code}/picture/{name}": GET,
    "/vote/{code}/answer": POST,
    "/vote/{code}/end": GET,
    "/vote/{code}/votes.csv": GET,
    # what a program asks that renders through gradio_client
    "/gradio_api/info": GET,
}
"""Path templates that are served, each with its methods."""

UNUSED = {
    # needed by no part of the page
    "/config/",
    "/login/",
    "/logout",
    "/pwa_icon",
    "/robots.txt",
    "/svelte/{path:path}",
    "/gradio_api/theme.css",
    "/gradio_api/info/",
    "/gradio_api/openapi.json",
    "/gradio_api/app_id/",
    "/gradio_api/login_check",
    "/gradio_api/login_check/",
    "/gradio_api/component_server",
    "/gradio_api/queue/status",
    "/gradio_api/run/{api_name}/",
    "/gradio_api/api/{api_name}",
    "/gradio_api/api/{api_name}/",
    "/gradio_api/call/{api_name}",
    "/gradio_api/call/{api_name}/",
    "/gradio_api/call/{api_name}/{event_id}",
    "/gradio_api/call/v2/{api_name}",
    "/gradio_api/call/v2/{api_name}/",
    "/gradio_api/call/v2/{api_name}/{event_id}",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
    "/gradio_api/file/{path:path}",
    # would show who is logged in, or end what another session does
    "/gradio_api/user",
    "/gradio_api/user/",
    "/gradio_api/token",
    "/gradio_api/token/",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/reset/",
    # would fetch from the network, keep on disk or compute on behalf of whoever asks
    "/gradio_api/proxy={url_path:path}",
    "/gradio_api/deep_link",
    "/gradio_api/process_recording",
    "/gradio_api/stream/{event_id}",
    "/gradio_api/stream/{event_id}/close",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
    "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
    "/gradio_api/runs",
    "/gradio_api/runs/",
    # for who develops or watches an application
    "/gradio_api/dev/reload",
    "/monitoring",
    "/monitoring/summary",
    "/monitoring/{key}",
    "/gradio_api/vibe-edit",
    "/gradio_api/vibe-edit/",
    "/gradio_api/undo-vibe-edit",
    "/gradio_api/undo-vibe-edit/",
    "/gradio_api/vibe-code",
    "/gradio_api/vibe-code/",
    "/gradio_api/vibe-starter-queries",
    "/gradio_api/vibe-starter-queries/",
}
"""Path templates that are refused; the server refuses whatever is in neither table, too."""

_SERVED: list[tuple[re.Pattern[str], tuple[str, ...]]] = [
    (compile_path(template)[0], methods) for template, methods in USED.items()
]
_ADDRESS = re.compile(r"/gradio_api/file=\s*([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)


def served(method: str, path: str) -> int:
    """Status of a request: 200 where the page uses it, 404 for any other path, 405 for another method."""
    methods = next((methods for pattern, methods in _SERVED if pattern.fullmatch(path)), None)
    if methods is None or _ADDRESS.match(path):
        return 404
    if path.startswith("/pwa_icon/") and path.removeprefix("/pwa_icon/") not in map(str, ICON_SIZES):
        return 404
    return 200 if method in methods else 405


class UsedRoutesOnly:
    """ASGI middleware that answers 404 or 405 to everything that the page does not use."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            status = served(scope["method"], scope["path"])
        else:
            status = 404 if scope["type"] == "websocket" else 200
        if status != 200:
            await refuse(scope, send, status, "There is nothing here.")
            return
        await self.app(scope, receive, send)
