"""What Settings does: tells of this machine, tests the program on it, says where things are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from app.page.wiring import Changes
from core.studio import doctor
from core.studio.workspace import Workspace

FOLDERS = ("runs", "offsets", "outputs", "models", "presets")


def tell(workspace: Workspace, already: str) -> Changes:
    """What this machine is. What is there stays: it may be what a self-test found."""
    return {"report": already or json.dumps(doctor.facts(workspace, ask_hub=False), indent=2)}


def check(workspace: Workspace, *, cpu: bool) -> Iterator[Changes]:
    """The self-test, line by line."""
    report: dict[str, Any] = doctor.facts(workspace)
    report["self_test"] = {}
    yield {"report": json.dumps(report, indent=2)}
    for name, right, words in doctor.self_test(cpu=cpu):
        report["self_test"][name] = " ".join(part for part in ("ok" if right else "FAILED", words) if part)
        yield {"report": json.dumps(report, indent=2)}


def where(workspace: Workspace) -> str:
    """Where a person's things are; shown to the person at this machine alone."""
    rows = "".join(
        f"<tr><td>{name}</td><td><code>{escape(str(getattr(workspace, name)))}</code></td></tr>" for name in FOLDERS
    )
    return f"<table class='changes'>{rows}</table>"
