"""A real server in a process of its own, and a real browser in front of it."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    """The browser of this machine."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        raise AssertionError("These tests need Chromium: on Debian, apt-get install chromium.")
    return found


def asks_the_server(request) -> bool:
    """Whether a request makes the server do something: an event of the page, in the queue or at once."""
    return "/queue/join" in request.url or "/run/" in request.url


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
    """A running studio: its address, its workspace, and how long it took to answer."""

    def __init__(self, workspace: Path, **extra: str) -> None:
        self.workspace = workspace
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **extra}
        environment.pop("SPACE_ID", None)
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "app",
            "--no-browser",
            "--cpu",
            "--port",
            "7900",
            "--workspace",
            str(workspace),
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        atexit.register(self.close)  # also where a script ends by a fault
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.address = found.group()
                break
        else:
            raise AssertionError("the studio did not start")
        self.seconds = time.monotonic() - began

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    made = Studio(tmp_path_factory.mktemp("space"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, studio):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("console", lambda message: opened.faults.append(message.text) if message.type == "error" else None)
    opened.goto(studio.address)
    opened.get_by_role("button", name="Render", exact=True).wait_for()
    at_rest(opened, 0.7)  # what the page asks when it is opened is answered
    yield opened
    context.close()
