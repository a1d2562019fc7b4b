"""The process that copies itself; see `warm`. It ends, and what it has started with it, when no test holds it any more."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn


def import_everything() -> None:
    """Imports what the programs of the studio import, down to the classes that the libraries import late."""
    from app.importing import without_stubs

    without_stubs()
    import gradio  # noqa: F401

    import core.generation.media
    import core.studio.comparing.grid
    import core.studio.runs.training
    import core.studio.runs.worker
    import core.training.loop  # noqa: F401
    from core.families import get
    from core.families.libraries import load_libraries

    load_libraries()
    for name in ("sd15", "sdxl", "cogvideox"):
        get(name).tiny()
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"an import has started {threads - 1} threads; a copy beside them can hang"
    gc.collect()
    gc.freeze()


def _keep_up(by: int) -> int:
    """A training stands back behind the page; a test waits for it, and on a busy machine it would wait forever."""
    raise OSError


def become(order: dict[str, Any]) -> NoReturn:
    """This copy becomes the program; it ends as one of its own would."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)
    code = 0
    try:
        import core.studio.runs.process as runs
        from tests.builders import warm

        runs.subprocess = warm.SUBPROCESS  # type: ignore[assignment]
        os.nice = _keep_up
        kind, name, *arguments = order["arguments"]
        sys.argv = [name if kind == "-m" else "-c", *arguments]
        if kind == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(name, "<string>", "exec"), main.__dict__)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def serve(listening: socket.socket) -> None:
    """Copies this process on demand until the last test lets go."""
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    ready = selectors.DefaultSelector()
    ready.register(listening, selectors.EVENT_READ)
    ready.register(woken, selectors.EVENT_READ)
    holders: set[socket.socket] = set()
    children: dict[int, socket.socket] = {}
    held = False
    while not held or holders:
        for key, _ in ready.select():
            if key.fileobj is woken:
                woken.recv(4096)
                _report(children)
            elif key.fileobj is listening:
                line = listening.accept()[0]
                head, handles, _, _ = socket.recv_fds(line, 8, 3)
                length = struct.unpack("!q", head)[0]
                if not length:
                    held = True
                    holders.add(line)
                    ready.register(line, selectors.EVENT_READ)
                    continue
                data = b""
                while len(data) < length:
                    data += line.recv(length - len(data))
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    for at, handle in enumerate(handles):
                        os.dup2(handle, at)
                    for other in (
                        *handles,
                        *(s.fileno() for s in (listening, woken, wake, line, *holders)),
                        ready.fileno(),
                    ):
                        os.close(other)
                    for other in children.values():
                        os.close(other.fileno())
                    become(json.loads(data))
                for handle in handles:
                    os.close(handle)
                children[pid] = line
                line.sendall(struct.pack("!q", pid))
            else:  # a test process has ended
                holders.discard(key.fileobj)  # type: ignore[arg-type]
                ready.unregister(key.fileobj)
    signal.set_wakeup_fd(-1)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _report(children: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            line = children.pop(pid)
            with contextlib.suppress(OSError):  # who started it has ended, too
                line.sendall(struct.pack("!q", os.waitstatus_to_exitcode(status)))
            line.close()


if __name__ == "__main__":
    import_everything()
    address = sys.argv[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # what started this waits for no more
        try:
            serve(listening)
        finally:
            Path(address).unlink(missing_ok=True)
