"""The corpus of HTTP requests: methods, hosts, origins, paths out of the folder, sizes, broken JSON, closed routes of Gradio.

Each has the statuses that it may be answered with. No answer may name a path of the machine or a token, or be a traceback, and
the page opens after every twenty-five of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.page.routes import UNUSED, served
from tests.torture.server import CANARY, Answer, TortureServer
from tests.torture.tally import Tally

REFUSED = frozenset({400, 403, 404, 405, 411, 413, 414, 417, 422, 431, 501})
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "FOO")
JSON_PATHS = ("/gradio_api/queue/join", "/gradio_api/run/compare", "/gradio_api/component_server/", "/login")
GROWTH = 256 * 2**20
"""Bytes that the server may grow by."""


@dataclass(frozen=True)
class Attack:
    """A request as bytes, and what may come back.

    Args:
        group: of the tally.
        name: what is said of it where it fails.
        expected: statuses that are right; 0 is a connection that was closed.
    """

    group: str
    name: str
    request: bytes
    expected: frozenset[int]


def _request(method: str, path: str, headers: dict[str, str | None], body: bytes = b"") -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode("utf-8", "surrogateescape") + body


class Corpus:
    """Builds attacks against one host."""

    def __init__(self, host: str, dice: random.Random) -> None:
        self.host, self.dice = host, dice

    def _plain(self, body: bytes = b"", **more: str | None) -> dict[str, str | None]:
        usual: dict[str, str | None] = {"Host": self.host, "Connection": "close", "Content-Length": str(len(body))}
        return {**usual, **{name.replace("_", "-"): value for name, value in more.items()}}

    def methods(self) -> Iterator[Attack]:
        """Every method on a choice of paths; what is served is what the table of routes says."""
        for path in ("/", "/config", "/manifest.json", "/gradio_api/upload", "/login", "/nothing"):
            for method in METHODS:
                status = served(method, path)
                right = status == 200 and path not in ("/gradio_api/upload", "/login")
                expected = (frozenset({200, 405}) if method == "HEAD" else frozenset({200})) if right else REFUSED
                yield Attack("methods", f"{method} {path}", _request(method, path, self._plain()), expected)

    def hosts(self) -> Iterator[Attack]:
        """Names that are not the server's."""
        port = self.host.rpartition(":")[2]
        names = [
            "evil.example",
            f"evil.example:{port}",
            f"127.0.0.1:{port}.evil.example",
            "localhost:abc",
            "localhost:99999",
        ]
        names += [
            "",
            " ",
            "[::1",
            "127.0.0.1:-1",
            "127.0.0.1:0",
            "a b",
            "127.0.0.1/",
            "127.0.0.1@evil.example",
            "../",
            "*",
            "%00",
        ]
        names += [
            f"{self.host},evil.example",
            f"evil.example\r\nHost: {self.host}",
            "0x7f.1.evil",
            "１２７.0.0.1",
            "a" * 5000,
        ]
        for name in names:
            yield Attack("hosts", f"Host {name[:30]!r}", _request("GET", "/", self._plain(Host=name)), REFUSED)
        yield Attack("hosts", "no Host", _request("GET", "/", self._plain(Host=None)), REFUSED)

    def origins(self) -> Iterator[Attack]:
        """Requests that another site's page makes."""
        for origin in (
            "http://evil.example",
            "null",
            "http://",
            "file://",
            "http://a b",
            "x" * 3000,
            f"http://{self.host}.evil.example",
            f"http://{self.host}@evil.example",
            f"http://{self.host}/x",
            "\x7f",
        ):
            for method, path in (("GET", "/config"), ("POST", "/gradio_api/queue/join")):
                yield Attack(
                    "origins",
                    f"{method} from {origin[:30]!r}",
                    _request(method, path, self._plain(Origin=origin)),
                    REFUSED,
                )
        for site in ("cross-site", "same-site", " Cross-Site "):
            for mode in (None, "cors", "no-cors", "websocket"):
                headers = self._plain(Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)
                yield Attack("origins", f"{site} {mode}", _request("GET", "/config", headers), REFUSED)

    def paths(self) -> Iterator[Attack]:
        """Ways out of a folder, to the network, and to files of the machine."""
        targets = [
            "/etc/passwd",
            "../../../../etc/passwd",
            "..%2f..%2f..%2fetc/passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "/proc/self/environ",
        ]
        targets += [
            "....//....//etc/passwd",
            "..\\..\\etc\\passwd",
            "/etc/passwd%00.png",
            "%252e%252e%252fetc%252fpasswd",
            "~/.ssh/id_rsa",
        ]
        targets += [
            "http://127.0.0.1:9/",
            "https://example.com/a.png",
            "//example.com/a.png",
            "file:///etc/passwd",
            "C:\\boot.ini",
        ]
        for place in ("/gradio_api/file=", "/static/", "/assets/", "/gradio_api/file=/tmp/../", "/vote/"):
            for target in targets:
                yield Attack(
                    "paths", f"{place}{target}", _request("GET", place + target, self._plain()), REFUSED | {0, 307}
                )

    def sizes(self) -> Iterator[Attack]:
        """More than a request may be, or other than it says."""
        huge = str(10 * 2**30)
        for path in ("/gradio_api/upload", "/gradio_api/component_server/", *JSON_PATHS):
            for length in (huge, "9" * 40, "-1", "abc", "1e3", "0x10"):
                yield Attack(
                    "sizes",
                    f"{path} of {length[:12]}",
                    _request("POST", path, self._plain(Content_Length=length)),
                    REFUSED | {0},
                )
            chunked = self._plain(Content_Length=None, Transfer_Encoding="chunked")
            yield Attack(
                "sizes", f"{path} in chunks", _request("POST", path, chunked, b'5\r\n{"a":\r\n0\r\n\r\n'), REFUSED | {0}
            )
        yield Attack(
            "sizes", "a header of 100 KB", _request("GET", "/", self._plain(X="a" * 100_000)), REFUSED | {0, 200}
        )
        yield Attack("sizes", "a path of 100 KB", _request("GET", "/" + "a" * 100_000, self._plain()), REFUSED | {0})
        yield Attack(
            "sizes",
            "5,000 headers",
            _request("GET", "/", {**self._plain(), **{f"X{n}": "a" for n in range(5000)}}),
            REFUSED | {0, 200},
        )
        both = self._plain(Transfer_Encoding="chunked", Content_Length="3")
        yield Attack(
            "sizes", "two lengths", _request("POST", "/login", both, b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), REFUSED | {0}
        )

    def bodies(self) -> Iterator[Attack]:
        """JSON that is none, or says what no page says."""
        texts = [
            b"",
            b"{",
            b"[]",
            b"null",
            b"5",
            b'"a"',
            b"[" * 50_000,
            b'{"a":' * 2000,
            b"NaN",
            b'{"data":NaN}',
            b"\xff\xfe",
            b"\0",
        ]
        texts += [
            b'{"fn_index":99999,"data":[],"session_hash":"a"}',
            b'{"fn_index":-1,"data":[],"session_hash":"a"}',
            b'{"data":{}}',
        ]
        texts += [
            b'{"fn_index":"0","data":[]}',
            b'{"session_hash":"\\ud800","fn_index":0,"data":[]}',
            b'{"fn_index":1e999,"data":[]}',
        ]
        texts += [
            json.dumps({"fn_index": 0, "data": [], "session_hash": "a" * 100_000}).encode(),
            b'{"data":' + b"9" * 6000 + b"}",
        ]
        for path in JSON_PATHS:
            for text in texts:
                headers = self._plain(text, Content_Type="application/json")
                yield Attack("bodies", f"{path} {text[:24]!r}", _request("POST", path, headers, text), REFUSED | {401})

    def routes(self) -> Iterator[Attack]:
        """What Gradio has and the page does not use."""
        for template in sorted(UNUSED):
            path = template.replace("{url_path:path}", "http://127.0.0.1:9/").replace("{", "").replace("}", "")
            for method in ("GET", "POST"):
                yield Attack("routes", f"{method} {path}", _request(method, path, self._plain()), frozenset({404}))
        for size in ("999999", "0", "-1", "193", "1e9", "%00"):
            yield Attack(
                "routes", f"icon {size}", _request("GET", f"/pwa_icon/{size}", self._plain()), frozenset({404, 400})
            )

    def mutated(self, seeds: list[Attack]) -> Iterator[Attack]:
        """Other bytes in requests of the corpus, without end: whatever is answered is no fault of the server."""
        served_at = frozenset({*REFUSED, 0, 200, 307, 401})
        while True:
            data = bytearray(self.dice.choice(seeds).request[:4000])
            for _ in range(self.dice.randint(1, 5)):
                at = self.dice.randrange(len(data) + 1)
                match self.dice.randrange(4):
                    case 0 if at < len(data):
                        data[at] ^= 1 << self.dice.randrange(8)
                    case 1:
                        del data[at : at + self.dice.randrange(1, 20)]
                    case 2:
                        data[at:at] = self.dice.choice(
                            [b"\r\n", b"%00", b"..", b"\0", b":", b" ", b"\xff", b"HTTP/1.1", b"GET "]
                        )
                    case _:
                        data[at:at] = data[at : at + 30]
                if not data:
                    data = bytearray(b"GET / HTTP/1.1\r\n\r\n")
            yield Attack("mutated", repr(bytes(data[:60])), bytes(data), served_at)

    def all(self) -> list[Attack]:
        """The corpus without mutations."""
        parts = (self.methods, self.hosts, self.origins, self.paths, self.sizes, self.bodies, self.routes)
        return [attack for part in parts for attack in part()]


def faults_of(attack: Attack, answer: Answer, secrets: tuple[str, ...]) -> list[str]:
    """What is wrong with an answer, in words."""
    faults = [] if answer.status in attack.expected else [f"answered {answer.status}"]
    text = answer.body.decode("utf-8", "replace")
    if answer.status != 200 and (leaks := [secret for secret in secrets if secret in text]):
        faults.append(f"names {leaks[0][:20]}")
    if "Traceback (most recent call last)" in text:
        faults.append("is a traceback")
    if CANARY in text:
        faults.append("holds the token")
    if answer.status == 200 and "root:x:0" in text:
        faults.append("holds a file of the machine")
    if answer.status in (200, 403, 404, 405) and answer.headers.get("x-content-type-options") != "nosniff":
        faults.append("lacks its security headers")
    return faults


def attack_http(root: Path, *, count: int, seed: int = 0) -> Tally:
    """Sends `count` requests to a started studio: the corpus in any order, then mutations of it.

    Args:
        root: an empty folder, the workspace.
    """
    tally, dice = Tally("http", seed), random.Random(seed)
    server = TortureServer(root)
    try:
        corpus = Corpus(server.host, dice)
        attacks = corpus.all()
        dice.shuffle(attacks)
        event, data = server.rendering()
        server.join("first", event, data)
        with server.messages("first") as messages:  # the libraries and the model are loaded by it
            next(message for message in messages if message["msg"] == "process_completed")
        secrets, began = (str(root), str(Path.home()) + "/"), server.memory()
        more = corpus.mutated(attacks)
        for number in range(count):
            attack = attacks[number] if number < len(attacks) else next(more)
            tally.tries += 1
            tally.count(attack.group)
            try:
                answer = server.raw(attack.request, seconds=15 if attack.group != "mutated" else 3)
            except TimeoutError:
                # a request that is not complete may wait for its rest; any other is answered
                if attack.group not in ("mutated", "sizes"):
                    tally.failures.append(f"{attack.name}: no answer in time")
                continue
            except OSError:
                answer = Answer(0, {}, b"")
            tally.failures += [f"{attack.name}: {fault}" for fault in faults_of(attack, answer, secrets)]
            if number % 25 == 24 and server.ask("GET", "/", most=4096).status != 200:
                tally.failures.append(f"after {attack.name}: the page no longer opens")
                break
        tally.facts.append(f"memory {(server.memory() - began) >> 20:+d} MiB")
        if server.memory() - began > GROWTH:
            tally.failures.append(f"the server grew by {(server.memory() - began) >> 20} MiB")
    finally:
        server.close()
    return tally
