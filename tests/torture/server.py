"""A studio that was really started, in a process of its own on a tiny model, and raw requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.builders.studio import Studio

CANARY = "canary-4f1d9b"
"""A token in the server's environment that no answer may hold."""
SMALL = {"Steps": 1, "Pairs": 1, "Base model θ": "tiny", "Negative offset δ": "none", "Prompt": "ab"}


@dataclass(frozen=True)
class Answer:
    """Status (0: the connection was closed without one), headers by lower-case name, and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class TortureServer:
    """A started studio with what is measured of it."""

    def __init__(self, root: Path) -> None:
        from core.families import get

        self.workspace = root
        (root / "models").mkdir(parents=True)
        get("sd15").tiny().save_pretrained(root / "models" / "tiny")
        self.studio = Studio(root, cold=True, HF_TOKEN=f"hf_{CANARY}", HF_HUB_OFFLINE="1")
        self.host = urlsplit(self.studio.address).netloc
        self.port = urlsplit(self.studio.address).port

    def close(self) -> None:
        """Ends it."""
        self.studio.close()

    def alive(self) -> bool:
        return self.studio.process.poll() is None

    def memory(self) -> int:
        """Resident bytes of the server."""
        import psutil

        return int(psutil.Process(self.studio.process.pid).memory_info().rss)

    def open_files(self) -> int:
        """Handles that the server holds: files and sockets."""
        return len(os.listdir(f"/proc/{self.studio.process.pid}/fd"))

    def raw(self, request: bytes, *, seconds: float = 20, most: int = 2**20, whole: bool = True) -> Answer:
        """What comes back for bytes as they are, up to so many.

        Args:
            whole: False ends after the headers, as a stream of events has no end.
        """
        answer, until = b"", time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may refuse before all is sent
                line.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                while len(answer) < most and time.monotonic() < until:
                    line.settimeout(max(0.01, until - time.monotonic()))
                    part = line.recv(65_536)
                    answer += part
                    if not part or _complete(answer, whole):
                        break
        return _parsed(answer)

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", **options: Any
    ) -> Answer:
        """A well-formed request with these headers beside the usual ones."""
        lines = {"Host": self.host, "Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.raw(head.encode("utf-8", "surrogateescape") + b"\r\n" + body, **options)

    def rendering(self) -> tuple[int, list[Any]]:
        """Index and input values of the endpoint that renders a pair of the tiny model in one step."""
        config = json.loads(self.ask("GET", "/config", most=2**26).body)
        event = next(entry for entry in config["dependencies"] if entry["api_name"] == "compare")
        components = {component["id"]: component.get("props", {}) for component in config["components"]}
        return event["id"], [_small(components[one]) for one in event["inputs"]]

    def stops(self) -> list[int]:
        """Indices of the events that end a rendering."""
        config = json.loads(self.ask("GET", "/config", most=2**26).body)
        return [entry["id"] for entry in config["dependencies"] if entry["cancels"]]

    def join(self, session: str, event: int, data: list[Any]) -> Answer:
        """Puts an event into the queue."""
        body = json.dumps({"fn_index": event, "data": data, "session_hash": session}).encode()
        return self.ask("POST", "/gradio_api/queue/join", {"Content-Type": "application/json"}, body)

    @contextlib.contextmanager
    def messages(self, session: str, seconds: float = 120) -> Iterator[Iterator[dict[str, Any]]]:
        """The messages of a session as they come; leaving the context closes the stream, as a closed tab does."""
        request = f"GET /gradio_api/queue/data?session_hash={session} HTTP/1.1\r\nHost: {self.host}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            line.sendall(request.encode())
            stream = line.makefile("rb")
            yield (json.loads(text[6:]) for text in stream if text.startswith(b"data: "))


def _small(props: dict[str, Any]) -> Any:
    label = props.get("label")
    key = label.get("key", "") if isinstance(label, dict) else str(label)
    return SMALL.get(key, props.get("value"))


def _complete(answer: bytes, whole: bool) -> bool:
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    if not whole:
        return True
    length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"")
    return length.strip().isdigit() and len(body) >= int(length)


def _parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        return Answer(0, {}, answer)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Answer(int(words[1]), headers, body)
