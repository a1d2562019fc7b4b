"""A real server in a process of its own, and a real browser in front of it."""

import atexit
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from app.window import installed_browsers
from tests.builders import warm

ROOT = Path(__file__).resolve().parents[2]
BROWSER = "SELF_NPO_TEST_BROWSER"
"""The browser that `python launch.py test` has found or installed; empty where there is none."""
NO_CARD = "no NVIDIA card is on this machine: what only a card can show was not checked."
NO_BROWSER = "no Chromium, Chrome or Edge is on this machine, and none could be installed."
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """The browser for the tests; empty where there is none."""
    if BROWSER in os.environ:
        return os.environ[BROWSER]
    return next((path for path in installed_browsers() if path), "")


def asks_the_server(request) -> bool:
    """Whether a request makes the server do something: an event of the page, in the queue or at once."""
    return "/queue/join" in request.url or "/run/" in request.url


def watched(page):
    """The page, counting from now on what it asks the server at once and has no answer to yet; see `settle`."""
    page.unanswered = 0

    def count(change: int):
        def seen(request) -> None:
            page.unanswered += change * ("/run/" in request.url)

        return seen

    page.on("request", count(1))
    page.on("requestfinished", count(-1))
    page.on("requestfailed", count(-1))
    return page


FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))"
MOVED = """() => Promise.all(document.getAnimations()
  .filter((moving) => moving.effect.getComputedTiming().iterations !== Infinity)
  .map((moving) => moving.finished.catch(() => null)))"""


def settle(page, seconds: float = 60) -> None:
    """Waits until what was done has reached the page: frames are drawn, what was asked at once is answered, and what moves
    has arrived. The page is `watched`."""
    end = time.monotonic() + seconds
    page.evaluate(FRAMES)
    while page.unanswered:
        assert time.monotonic() < end, f"{page.unanswered} questions are not answered"
        page.wait_for_timeout(20)  # lets Playwright hear of the answers
    page.evaluate(FRAMES)
    page.evaluate(MOVED)


def at_rest(page, seconds: float = 2.5) -> None:
    """Waits until an opened page has asked the server nothing for a while: it asks every 2 s until the engine is warm."""
    asked = [time.monotonic()]

    def ask(request) -> None:
        if asks_the_server(request):
            asked[0] = time.monotonic()

    for event in ("request", "requestfinished"):
        page.on(event, ask)
    end = time.monotonic() + 120
    while time.monotonic() - asked[0] < seconds:
        assert time.monotonic() < end, "the page never comes to rest"
        page.wait_for_timeout(100)
    for event in ("request", "requestfinished"):
        page.remove_listener(event, ask)


class Studio:
    """A running studio: its address, its workspace, and how long it took to answer.

    Args:
        cold: a program of its own, whose imports are its own, too.
        arguments: more options of the command line.
        extra: variables of its environment.
    """

    def __init__(self, workspace: Path, *arguments: str, cold: bool = False, **extra: str) -> None:
        self.workspace = workspace
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}
        if "SPACE_ID" not in extra:
            environment.pop("SPACE_ID", None)
        began = time.monotonic()
        port = str(7900 + 20 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))
        command = [sys.executable, "-m", "app", "--no-browser", "--cpu", "--port", port]
        command += ["--workspace", str(workspace), *arguments]
        start = subprocess.Popen if cold else warm.popen
        self.process = start(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        atexit.register(self.close)  # also where a script ends by a fault
        for line in self.process.stdout:
            if address := re.search(r"http://[\w.]+:(\d+)", line):
                self.address = f"http://127.0.0.1:{address[1]}"
                break
        else:
            raise AssertionError("the studio did not start")
        self.seconds = time.monotonic() - began

    def close(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(20)
