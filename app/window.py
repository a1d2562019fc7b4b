"""A window of its own for the page: a Chromium-like browser without address bar, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "brave-browser")
_MAC = ("Google Chrome", "Microsoft Edge", "Chromium", "Brave Browser")
_WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")


def installed_browsers() -> Iterable[str | None]:
    """Where browsers that are like Chromium lie on this system, those that are there and some that are not."""
    if sys.platform == "darwin":
        return (f"/Applications/{name}.app/Contents/MacOS/{name}" for name in _MAC)
    if sys.platform == "win32":
        roots = (os.environ.get(name) for name in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"))
        return (str(Path(root) / name) for root in roots if root for name in _WINDOWS)
    usual = os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin", "/snap/bin"])
    return (shutil.which(name, path=usual) for name in _NAMES)


def open_window(address: str) -> bool:
    """Opens the page in its own window; False where no browser can do that."""
    for browser in installed_browsers():
        if browser and Path(browser).is_file():
            subprocess.Popen(
                [browser, f"--app={address}", "--window-size=1320,900"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return True
    return False
