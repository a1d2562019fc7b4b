"""How the page's events run: those that answer at once, and those that take their time."""

from __future__ import annotations

from typing import Any

QUEUED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Takes its time (a download, a conversion, hashes of many files): waits in the queue, behind others of its kind."""

QUICK: dict[str, Any] = {**QUEUED, "queue": False}
"""Answers at once: never behind a rendering, a download or another visitor, and about a tenth of a second sooner."""

RENDERING: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_id": "gpu",
    "concurrency_limit": 8,
    "trigger_mode": "once",
}
"""Renders: the engine does one at a time and tells the others that they wait; only beyond these is the queue silent."""
