"""`python launch.py test`: a browser for the tests of the page, then lint, format, types and the suite. Standard library only.

python launch.py test                   everything but the long checks
python launch.py test --fast            while working: no program is started, no browser opened
python launch.py test --process         programs of the studio, killed, stopped, resumed; trainings and renderings of several seconds
python launch.py test --browser         the page in a browser
python launch.py test --all             the long checks, too
python launch.py test tests/method -x   a part of the suite, with any option of pytest
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from app.window import installed_browsers

ROOT = Path(__file__).resolve().parents[1]
LANES = {
    "--fast": "not slow and not long and not process and not browser",
    "--process": "not slow and (process or long)",
    "--browser": "not slow and browser",
    "--all": "",
}
"""What of the suite is run, by the marks of the tests; without a lane, all but the slow ones."""
WORKERS = 8
"""The most tests at once; each worker takes about a gigabyte of memory."""


def starts(browser: str) -> bool:
    """Whether this browser starts; one whose system libraries are missing is there and does not."""
    try:
        return not subprocess.run([browser, "--version"], capture_output=True, timeout=60).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def present_browser() -> str:
    """An installed Chromium, Chrome or Edge, or Playwright's own, if it starts; empty where there is none."""
    for path in installed_browsers():
        if path and Path(path).is_file() and starts(path):
            return path
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    own = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.strip()
    return own if Path(own).is_file() and starts(own) else ""


def attempt(*command: str) -> None:
    """Runs an installation that may fail; what it achieved is looked at afterwards."""
    print(f"$ {' '.join(command)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        nothing = subprocess.DEVNULL
        fault = str(subprocess.run(command, env=quiet, stdout=nothing, stderr=nothing, timeout=900).returncode)
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = type(error).__name__
    if fault != "0":
        print(f"That did not work ({fault}).", flush=True)


def find_browser() -> str:
    """A browser for the tests of the page, installed now if need be: Playwright's own, or that of the system's packages
    where this user may install them. Empty where none can be had."""
    if path := present_browser():
        return path
    print("The tests of the page need a browser: installing one. This is done once.", flush=True)
    attempt(sys.executable, "-m", "playwright", "install", "chromium")
    if path := present_browser():
        return path
    if shutil.which("apt-get") and getattr(os, "geteuid", lambda: 1)() == 0:
        attempt("apt-get", "update", "-qq")
        attempt("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
    return present_browser()


def opens_a_browser(lane: str, chosen: list[str]) -> bool:
    """Whether tests of the page are among what is asked for: a lane, and what was given to pytest."""
    paths = [Path(argument.split("::")[0]) for argument in chosen]
    paths = [path for path in paths if path.exists()]
    return lane not in ("--fast", "--process") and (
        not paths or any({"app", "tests"} & {path.parts[-1], *path.parts[1:]} for path in paths)
    )


def run_checks(arguments: list[str]) -> int:
    """Runs all of it, whatever fails on the way; the result is that of the first that failed.

    Args:
        arguments: a lane, and what goes on to pytest.
    """
    lane = next((argument for argument in arguments if argument in LANES), "")
    chosen = [argument for argument in arguments if argument not in LANES]
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}
    failed: dict[str, int] = {}
    if opens_a_browser(lane, chosen):
        settings["SELF_NPO_TEST_BROWSER"] = find_browser()
        if not settings["SELF_NPO_TEST_BROWSER"] and os.environ.get("CI") == "true":
            print("There is no browser for the tests of the page, and none could be installed.", flush=True)
            failed["browser"] = 1
    workers = str(min(WORKERS, os.cpu_count() or 1))
    checks = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "pytest": ["pytest", "-n", workers, "--dist", "worksteal", *(["-m", LANES[lane]] if lane else []), *chosen],
    }
    for name, check in checks.items():
        print(f"$ python -m {' '.join(check)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, env={**os.environ, **settings}).returncode
        if code:
            failed[name] = code
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return next(iter(failed.values()), 0)


if __name__ == "__main__":
    sys.exit(run_checks(sys.argv[1:]))
