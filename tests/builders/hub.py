"""A stand-in for the Hub's API on this machine."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository: what it holds, how it answers, and what was sent to it."""

    files: dict[str, bytes] = {}
    sha = "0123456789abcdef0123456789abcdef01234567"
    status = 200
    posted: list[bytes] = []
    spoilt: set[str] = set()
    """Files that arrive otherwise than the API describes them."""
    cut: set[str] = set()
    """Files whose connection breaks after half; each once."""
    elsewhere: dict[str, str] = {}
    """Files that are redirected to another address."""
    ranges: list[str] = []
    """The `Range` headers that were sent."""

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.status != 200:
            return self.answer(self.status, b"{}", **({"X-Error-Code": "GatedRepo"} if self.status == 403 else {}))
        if self.path.startswith("/api/models/"):
            siblings = [self.described(name, data) for name, data in self.files.items()]
            info = {"id": "a/b", "sha": self.sha, "siblings": siblings, "tags": [], "private": False}
            return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        name = self.path.split("/resolve/")[-1].split("/", 1)[-1].split("?")[0]
        if name not in self.files:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        if name in self.elsewhere and self.command == "GET":
            return self.answer(302, b"", Location=self.elsewhere[name])
        data = self.files[name]
        notes = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": self.sha}
        if name in self.spoilt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        if "Range" in self.headers:
            self.ranges.append(self.headers["Range"])
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
            notes["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if name in self.cut and self.command == "GET":
            self.cut.discard(name)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        return self.answer(206 if start else 200, data[start:], **notes)

    def described(self, name, data):
        """A file as the API lists it; weights as Git LFS keeps them, with their sha256."""
        facts = {"rfilename": name, "size": len(data)}
        if name.endswith(".safetensors"):
            facts["lfs"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 100}
        return facts

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.posted.append(body)
        if self.path.endswith("/create"):
            return self.answer(
                200, json.dumps({"url": "https://huggingface.co/a/b"}).encode(), Content_Type="application/json"
            )
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
            return self.answer(200, json.dumps(answer).encode(), Content_Type="application/json")
        answer = {"commitUrl": f"https://huggingface.co/a/b/commit/{self.sha}", "commitOid": self.sha}
        return self.answer(200, json.dumps(answer).encode(), Content_Type="application/json")


@contextmanager
def serving() -> Iterator[tuple[type[Hub], str]]:
    """An empty repository, and the address that HF_ENDPOINT names."""
    Hub.files, Hub.status, Hub.posted = {}, 200, []
    Hub.spoilt, Hub.cut, Hub.elsewhere, Hub.ranges = set(), set(), {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
