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
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            info = {"id": "a/b", "sha": self.sha, "siblings": siblings, "tags": [], "private": False}
            return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
        name = self.path.split("/resolve/")[-1].split("/", 1)[-1].split("?")[0]
        if name not in self.files:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        return self.answer(
            200, self.files[name], ETag=f'"{hashlib.sha1(self.files[name]).hexdigest()}"', X_Repo_Commit=self.sha
        )

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
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
