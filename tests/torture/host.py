"""A process that has imported the libraries once and trains each run in a fork of itself, which may be killed; or renders in one, as the server does.

One line of JSON in, one out: {"folder": …, "op": N} kills the fork with SIGKILL at its N-th change of a file that belongs to
a save; {"folder": …, "after": S} kills it S seconds after it began; neither lets it end; "renders": N renders that often in the workspace "folder" instead. The answer is {"code": …, "ops": …}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link"}
SAVED = ("checkpoints", "offsets")
KEPT = ("outputs", "presets")
"""What the server keeps in a workspace."""


def is_change(event: str, arguments: tuple) -> bool:
    """Whether an audit event changes a file, or opens one to be changed."""
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        return any(letter in (mode or "") for letter in "wxa+") or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
    return event in CHANGES


def _work(request: dict[str, object], report: Path) -> int:
    folder = Path(str(request["folder"]))
    saved = tuple(str(folder / name) for name in (KEPT if "renders" in request else SAVED))
    ops = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal ops
        if not is_change(event, arguments) or not isinstance(arguments[0], str | os.PathLike):
            return
        if os.fspath(arguments[0]).startswith(saved):
            ops += 1
            if ops == request.get("op"):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if "after" in request:
        timer = threading.Timer(float(str(request["after"])), os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "renders" in request:
        from tests.torture.server_kills import render_and_keep

        code = render_and_keep(folder, int(str(request["renders"])))
    else:
        from core.studio.runs.worker import main

        code = main([str(folder), "--cpu"])
    report.write_text(str(ops), encoding="utf-8")
    return code


def serve() -> None:
    """Answers until its input ends."""
    import torch

    import core.studio.runs.training  # noqa: F401  # what every run needs, imported once

    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        report = Path(str(request["folder"])) / "ops"
        report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = _work(request, report)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        ops = int(report.read_text(encoding="utf-8")) if report.exists() else 0
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "ops": ops}), flush=True)


if __name__ == "__main__":
    serve()
