"""One process that has imported the libraries, and copies itself for each program that a test starts.

A program of the studio spends its first seconds importing torch, diffusers and Gradio; the tests start some forty of them.
Here they are imported once, in a process with a single thread (a copy made beside running threads can hang), and each
start is a fork of it: the same modules, arguments, environment, working directory, signals and exit codes as a program of
its own. What a cold start does is tested with real starts, in the tests that say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "SELF_NPO_TEST_WARM"
"""Names the socket of the process, also for the programs that it has started."""
READ_AT_IMPORT = ("HF_", "SPACES_ZERO_GPU")
"""Beginnings of variables that the libraries read when they are imported: where they differ, a program starts by itself."""


class Copy:
    """A program started as a copy, with what is used of `subprocess.Popen`."""

    def __init__(self, command: list[str], **options: Any) -> None:
        self.args, self.returncode = command, None
        self.stdout: Any = None
        self._looking = threading.Lock()
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.connect(os.environ[ADDRESS])
        with contextlib.ExitStack() as opened:
            nothing = opened.enter_context(open(os.devnull, "r+b"))
            out = self._handle(options.get("stdout"), 1, nothing, opened, bool(options.get("text")))
            error = options.get("stderr")
            err = out if error == subprocess.STDOUT else self._handle(error, 2, nothing, opened, False)
            order = {
                "arguments": [str(part) for part in command[1:]],
                "environment": dict(options.get("env") or os.environ),
                "folder": str(options.get("cwd") or Path.cwd()),
                "session": bool(options.get("start_new_session")),
            }
            data = json.dumps(order).encode()
            socket.send_fds(self._line, [struct.pack("!q", len(data))], [nothing.fileno(), out, err])
            self._line.sendall(data)
        self.pid = self._answer()

    def _handle(self, wanted: Any, own: int, nothing: Any, opened: contextlib.ExitStack, text: bool) -> int:
        if wanted is None:
            return own
        if wanted == subprocess.DEVNULL:
            return int(nothing.fileno())
        if wanted == subprocess.PIPE:
            assert own == 1, "errors go to a file, the output or nowhere"
            mine, its = os.pipe()
            opened.callback(os.close, its)
            self.stdout = os.fdopen(mine, "r" if text else "rb")
            return its
        return wanted if isinstance(wanted, int) else int(wanted.fileno())

    def _answer(self) -> int:
        data = b""
        while len(data) < 8:
            part = self._line.recv(8 - len(data))
            if not part:
                raise AssertionError("the process that copies itself has ended")
            data += part
        return int(struct.unpack("!q", data)[0])

    def poll(self) -> int | None:
        """Exit code, or None while it runs; a negative number is the signal that ended it."""
        return self._look(0.0)

    def _look(self, seconds: float) -> int | None:
        with self._looking:
            if self.returncode is None and select.select([self._line], [], [], seconds)[0]:
                self.returncode = self._answer()
                self._line.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code, as soon as there is one.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while (code := self._look(min(1.0, max(0.0, end - time.monotonic())))) is None:
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(15)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(9)


def popen(command: list[str], **options: Any) -> Any:
    """Starts a program: as a copy where it is one of this Python's modules or scripts, else as `subprocess.Popen` does."""
    wanted = options.get("env") or os.environ
    known = {name for name in {*wanted, *os.environ} if name.startswith(READ_AT_IMPORT)}
    fits = command[0] == sys.executable and command[1] in ("-m", "-c") and command[2] != "torch.distributed.run"
    if ADDRESS in os.environ and fits and all(wanted.get(name) == os.environ.get(name) for name in known):
        return Copy(command, **options)
    return subprocess.Popen(command, **options)


def run(command: list[str], *, timeout: float = 200, check: bool = True, **options: Any) -> Any:
    """Runs a program to its end; `stdout` and `stderr` of what comes back are what it wrote."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = popen(command, stdout=out, stderr=err, **options)
        code = process.wait(timeout)
        out.seek(0), err.seek(0)
        ended = subprocess.CompletedProcess(command, code, out.read(), err.read())
    if check:
        assert not code, ended.stderr
    return ended


SUBPROCESS = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
"""Stands in for the module where the studio itself starts a training."""


def _converted(command: list[str], *, timeout: float, **options: Any) -> Any:
    """The child that reads a pickle. Its environment is nearly empty; what the libraries read at import plays no part."""
    given = {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)}
    environment = {**options["env"], **given}
    ended = run(command, timeout=timeout, check=False, cwd=options["cwd"], env=environment)
    ended.stdout, ended.stderr = ended.stdout.encode(), ended.stderr.encode()
    return ended


CONVERSIONS = SimpleNamespace(run=_converted, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
"""Stands in for the module where a pickle is read in a child process."""


@contextlib.contextmanager
def kept(folder: Path) -> Any:
    """Starts the process, or shares the one that another worker of the tests has started, until the block ends."""
    if sys.platform != "linux":  # a copy of a process is nothing that the libraries of macOS allow
        yield
        return
    address = str(folder / "warm")
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with FileLock(folder / "warm.lock"):
        try:
            line.connect(address)
        except OSError:
            _start(address)
            line.connect(address)
        line.sendall(struct.pack("!q", 0))
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        line.close()


def _start(address: str) -> None:
    Path(address).unlink(missing_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.builders.warm_process", address]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", "the process that copies itself did not start"
