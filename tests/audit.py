"""Known weaknesses of the pinned packages: `python -m tests.audit` asks the advisory database with pip-audit.

pip-audit is no part of the test lock: it is run with `uv tool run` or `pipx run` where one is there, or from this environment, so
that it brings no package beside those that are tested. Where the database or the program cannot be reached, one sentence says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import launch

UNREACHED = "The pinned packages were not all audited: {reason}."
SECONDS = 300


def command() -> list[str] | None:
    """How pip-audit can be run here; None where it cannot."""
    if find_spec("pip_audit"):
        return [sys.executable, "-m", "pip_audit"]
    if runner := shutil.which("uvx"):
        return [runner, "pip-audit"]
    return [runner, "run", "pip-audit"] if (runner := shutil.which("pipx")) else None


def audit() -> tuple[list[str], str]:
    """(weaknesses in words, why it could not be asked; empty where it was)."""
    program = command()
    if program is None:
        return [], UNREACHED.format(reason="pip-audit is not installed")
    files = [part for lock in (launch.LOCK, launch.TEST_LOCK) for part in ("-r", str(launch.hashes_of(lock)))]
    try:
        ended = subprocess.run(
            [*program, *files, "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        report = json.loads(ended.stdout)
        skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
        unknown = f"the advisory database does not know {len(skipped)} of them, {skipped[0]} for one" if skipped else ""
        return found_in(report), UNREACHED.format(reason=unknown) if skipped else ""
    except subprocess.TimeoutExpired:
        return [], UNREACHED.format(reason="the advisory database does not answer")
    except ValueError:
        lines = ended.stderr.strip().splitlines()
        return [], UNREACHED.format(
            reason=f"the advisory database cannot be reached ({lines[-1][:120] if lines else ''})"
        )


def found_in(report: Any) -> list[str]:
    """The weaknesses of a report, a sentence each."""
    return [
        f"{package['name']} {package['version']}: {weakness['id']}, corrected in {', '.join(weakness['fix_versions']) or 'no version yet'}"
        for package in report["dependencies"]
        for weakness in package.get("vulns", [])
    ]


if __name__ == "__main__":
    weaknesses, reason = audit()
    print("\n".join(weaknesses) or reason or "No known weakness in the pinned packages.")
    sys.exit(bool(weaknesses))
