"""The page, served from a thread of the tests' own process: for what is asked of it over HTTP."""

import contextlib
import http.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.cli import _parser
from app.serve import make_engine, open_page, uploads_folder
from app.space import Visitors, asking_session
from core.studio.workspace import Workspace


@dataclass
class ServedPage:
    """A page that answers: Gradio's Blocks, the engine, its address as a browser on this machine writes it, its workspace,
    Gradio's own folder."""

    blocks: Any
    engine: Any
    address: str
    workspace: Path
    uploads: Path

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def ask(
        self, method: str, path: str, headers: dict[str, Any] | None = None, body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """One request exactly as written; a header given as a list is sent several times, one given as None not at all.
        Status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self.address).port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self.host, "Content-Length": str(len(body)), **(headers or {})}.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    connection.putheader(name, one)
        connection.endheaders()
        connection.send(body)
        answer = connection.getresponse()
        reply = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return reply


@contextlib.contextmanager
def served(workspace: Path, *arguments: str, **environment: str):
    """The page as `python launch.py ARGUMENTS` serves it, without loading a model before it is asked to render."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("GRADIO_TEMP_DIR", "no_proxy", "NO_PROXY"):
            patched.setenv(name, "")  # set by the page; put back when it is closed
        for name, value in environment.items():
            patched.setenv(name, value)
        options = _parser().parse_args(["--cpu", "--port", "7960", *arguments])
        uploads = uploads_folder()
        visitors = Visitors(uploads, asking_session) if "SPACE_ID" in environment else None
        engine = make_engine(Workspace(workspace), options, visitors)
        page, address = open_page(engine, {}, options, uploads, visitors)
        try:
            yield ServedPage(page, engine, address.replace("localhost", "127.0.0.1").rstrip("/"), workspace, uploads)
        finally:
            page.close(verbose=False)
