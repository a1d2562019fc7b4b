"""Starts the page: a free port, the guard before it, and the libraries loading behind it."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from app.importing import without_stubs
from app.space import Visitors, ZeroGPUEngine, asking_session
from core.errors import StudioError
from core.studio.comparing.engine import DEADLINE, SHARED_DEADLINE, Engine
from core.studio.comparing.settings import comparison_of, opening_values
from core.studio.workspace import ASSETS, Workspace

BEGAN = time.monotonic()


def free_port(first: int, address: str) -> int:
    """The first port from `first` on that nobody listens at.

    Raises:
        StudioError: a hundred in a row are taken, or the number is not a port.
    """
    if not 1 <= first <= 65_535:
        raise StudioError("{first} is not a valid port.", "Choose one from 1 to 65535.", first=first)
    for port in range(first, min(first + 100, 65_536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise StudioError("No free port was found from {first} upwards.", "Choose another with --port.", first=first)


def check_reach(options: argparse.Namespace) -> tuple[str, str] | None:
    """Name and password asked for; a studio that others can reach must ask, unless it is a Space.

    Raises:
        StudioError: it would be open to strangers, or --auth is not NAME:PASSWORD.
    """
    if options.auth:
        user, mark, password = options.auth.partition(":")
        if not (user and mark and password):
            raise StudioError("--auth is no NAME:PASSWORD.", "Write for example --auth me:a-long-password.")
        return (user, password)
    if (options.listen or options.share) and not os.environ.get("SPACE_ID"):
        raise StudioError("With --listen or --share others can use this machine.", "Add --auth NAME:PASSWORD.")
    return None


def uploads_folder() -> Path:
    """A folder of this process alone for what is uploaded and shown; it is gone when the studio ends. What a studio that
    was killed has left behind is removed."""
    import psutil

    stem = "self-npo-page-"
    for left in Path(tempfile.gettempdir()).glob(f"{stem}*"):
        process = left.name.removeprefix(stem).split("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{stem}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def reach_itself_directly() -> None:
    """The server asks itself for its start; a proxy of the network must not intercept it."""
    for name in ("no_proxy", "NO_PROXY"):
        own = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*own, "localhost", "127.0.0.1"])


def make_engine(workspace: Workspace, options: argparse.Namespace, visitors: Visitors | None) -> Engine:
    """The engine that fits this machine; pictures go to the visitors' own folders where there are visitors."""
    outputs = visitors.folder if visitors else None
    if os.environ.get("SPACES_ZERO_GPU"):
        return ZeroGPUEngine(workspace, cpu=options.cpu, outputs=outputs)
    memory = "low" if options.lowvram else "medium" if options.medvram else "high"
    shared = options.listen or options.share or visitors
    deadline = SHARED_DEADLINE if shared else DEADLINE
    return Engine(workspace, cpu=options.cpu, memory=memory, outputs=outputs, deadline=deadline)


def bring_study(workspace: Workspace, folder: Path, hosted: bool) -> None:
    """The blind study that a Space's repository brings, copied to where its votes are kept.

    Raises:
        StudioError: it is damaged, or the storage cannot be written.
    """
    if hosted and (folder / "study.json").is_file():
        from core.studio.studying.study import adopt

        adopt(workspace, folder, os.environ.get("SELF_NPO_STUDY_KEY", ""))


def open_page(
    engine: Engine, opening: dict[str, Any], options: argparse.Namespace, uploads: Path, visitors: Visitors | None
) -> tuple[Any, str]:
    """Serves the page over an engine, from a thread; Gradio's Blocks and the address.

    Args:
        uploads: a folder for Gradio's own use.
        visitors: strangers who share this server.

    Raises:
        StudioError: it would be open to strangers, or no port is free.
    """
    auth = check_reach(options)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    reach_itself_directly()

    from app.page.bounds import UPLOAD_LIMIT
    from app.page.layout import build
    from app.page.security import guarding
    from app.page.text import TRANSLATIONS
    from app.page.theme import CSS, FORCE_THEME, HEAD, THEME
    from app.page.voting import routes as voting_routes

    hosted = bool(os.environ.get("SPACE_ID"))
    afar = bool(options.listen or options.share or hosted)
    page = build(engine, opening, space=visitors is not None, afar=afar)
    address = "0.0.0.0" if options.listen or hosted else "127.0.0.1"  # noqa: S104
    port = free_port(options.port, address)
    page.queue(default_concurrency_limit=4, max_size=32)
    try:
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
            allowed_paths=[] if visitors else [str(engine.workspace.outputs)],
            max_file_size=UPLOAD_LIMIT,
            strict_cors=True,
            ssr_mode=False,
            pwa=True,
            favicon_path=str(ASSETS / "page" / "icon.png"),
            app_kwargs={
                "lifespan": guarding(
                    any_host=afar, in_a_space=hosted, uploads=uploads, beside=visitors.swept if visitors else None
                ),
                "routes": voting_routes(engine.workspace),
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
            },
            run_history=False,
            enable_monitoring=False,
            # without asking itself first whether "localhost is accessible": a loaded machine answers later than that waits
            _frontend=False,
        )
    except OSError as error:
        raise StudioError(
            "The page could not be served at port {port}.",
            "Start again, or choose another port with --port.",
            port=port,
        ) from error
    return page, shared or local


def serve(options: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C. The page answers before torch is imported."""
    check_reach(options)
    without_stubs()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    workspace = Workspace(options.workspace)
    uploads = uploads_folder()
    hosted = bool(os.environ.get("SPACE_ID"))
    # in a private Space its owner is the only visitor
    shared = hosted and os.environ.get("SELF_NPO_PRIVATE") != "1"
    visitors = Visitors(uploads, asking_session) if shared else None
    bring_study(workspace, ASSETS.parent / "study", hosted)
    engine = make_engine(workspace, options, visitors)
    opening: dict[str, Any] = {}
    if options.preset:
        from core.studio.presets.reading import read_preset
        from core.studio.presets.resolving import resolve

        opening = resolve(workspace, read_preset(options.preset)).values
    first = comparison_of(opening_values(workspace, opening))
    page, address = open_page(engine, opening, options, uploads, visitors)
    print(f"Self-NPO Studio: {address}   (ready in {time.monotonic() - BEGAN:.1f} s; Ctrl-C ends it)", flush=True)
    if not isinstance(engine, ZeroGPUEngine):
        engine.warm(first)
    if not (options.no_browser or options.listen or hosted):
        from app.window import open_window

        if not (options.window and open_window(page.local_url)):
            import webbrowser

            webbrowser.open(page.local_url)
    page.block_thread()
