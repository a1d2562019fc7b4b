"""Starts the page: a free port, the guard before it, and the libraries loading behind it."""

from __future__ import annotations

import argparse
import os
import socket
import time
from typing import Any

from app.importing import without_stubs
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.values import comparison_of, opening_values
from core.studio.workspace import ASSETS, Workspace

UPLOAD_LIMIT = 64 * 2**20
BEGAN = time.monotonic()


def free_port(first: int, address: str) -> int:
    """The first port from `first` on that nobody listens at.

    Raises:
        StudioError: a hundred in a row are taken, or the number is no port.
    """
    if not 1 <= first <= 65_535:
        raise StudioError(f"{first} is no port.", "Choose one from 1 to 65535.")
    for port in range(first, min(first + 100, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise StudioError(f"No port from {first} on is free.", "Choose another with --port.")


def check_reach(options: argparse.Namespace) -> tuple[str, str] | None:
    """Name and password asked for; a studio that others can reach must ask, unless it is a Space.

    Raises:
        StudioError: it would be open to strangers, or --auth is no NAME:PASSWORD.
    """
    if options.auth:
        user, mark, password = options.auth.partition(":")
        if not (user and mark and password):
            raise StudioError("--auth is no NAME:PASSWORD.", "Write for example --auth me:a-long-password.")
        return (user, password)
    if (options.listen or options.share) and not os.environ.get("SPACE_ID"):
        raise StudioError("With --listen or --share others can use this machine.", "Add --auth NAME:PASSWORD.")
    return None


def serve(options: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C. The page answers before torch is imported."""
    auth = check_reach(options)
    without_stubs()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    workspace = Workspace(options.workspace)
    memory = "low" if options.lowvram else "medium" if options.medvram else "high"
    zero = bool(os.environ.get("SPACES_ZERO_GPU"))
    if zero:
        from app.space import ZeroGPUEngine

        engine: Engine = ZeroGPUEngine(workspace, cpu=options.cpu)
    else:
        engine = Engine(workspace, cpu=options.cpu, memory=memory)
    opening: dict[str, Any] = {}
    if options.preset:
        from core.studio.presets.preset import read_preset, resolve

        opening = resolve(workspace, read_preset(options.preset)).values
    first = comparison_of(opening_values(workspace, opening))

    from starlette.middleware import Middleware

    from app.page.layout import build
    from app.page.security import OwnPageOnly
    from app.page.text import TRANSLATIONS
    from app.page.theme import CSS, FORCE_THEME, HEAD, THEME

    hosted = bool(os.environ.get("SPACE_ID"))
    # in a private Space its owner is the only visitor
    page = build(engine, opening, space=hosted and os.environ.get("SELF_NPO_PRIVATE") != "1")
    address = "0.0.0.0" if options.listen or hosted else "127.0.0.1"  # noqa: S104
    port = free_port(options.port, address)
    page.queue(default_concurrency_limit=4, max_size=32)
    _, local, shared = page.launch(
        server_name=address,
        server_port=port,
        share=options.share,
        auth=auth,
        theme=THEME,
        css=CSS,
        head=HEAD,
        i18n=TRANSLATIONS,
        js=FORCE_THEME[options.theme] or None,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        allowed_paths=[str(workspace.outputs)],
        max_file_size=UPLOAD_LIMIT,
        strict_cors=True,
        ssr_mode=False,
        pwa=True,
        favicon_path=str(ASSETS / "page" / "icon.png"),
        app_kwargs={
            "middleware": [Middleware(OwnPageOnly, any_host=options.listen or options.share or hosted)],
            "docs_url": None,
            "redoc_url": None,
        },
    )
    print(
        f"Self-NPO Studio: {shared or local}   (ready in {time.monotonic() - BEGAN:.1f} s; Ctrl-C ends it)", flush=True
    )
    if not zero:
        engine.warm(first)
    if not (options.no_browser or options.listen or hosted):
        from app.window import open_window

        if not (options.window and open_window(local)):
            import webbrowser

            webbrowser.open(local)
    page.block_thread()
