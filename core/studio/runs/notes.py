"""What a person writes about a run: a title and notes, next to it; putting a run away and bringing it back. No torch."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from core.errors import StudioError
from core.files import cannot_write, read_json, write_json
from core.studio.runs.run import Run, get_run
from core.studio.workspace import Workspace

FILE = "notes.json"
AWAY = ".deleted"
TITLE, NOTES = 120, 4000
"""Most characters of each."""


@dataclass(frozen=True)
class Notes:
    """A run's title, empty for its id, and notes on it."""

    title: str = ""
    text: str = ""


def read_notes(run: Run) -> Notes:
    """The notes on a run; empty where there are none, or where they are damaged."""
    try:
        values = read_json(run.folder / FILE, dict) if (run.folder / FILE).exists() else {}
    except StudioError:
        return Notes()  # what was noted is lost with its file; the run is not
    return Notes(str(values.get("title", ""))[:TITLE], str(values.get("text", ""))[:NOTES])


def write_notes(run: Run, notes: Notes) -> None:
    """Keeps a run's title and notes.

    Raises:
        StudioError: they are too long, or the disk refuses.
    """
    if len(notes.title) > TITLE or len(notes.text) > NOTES:
        raise StudioError(
            "A title has at most {title} characters, notes {notes}.", "Shorten them.", title=TITLE, notes=NOTES
        )
    write_json(run.folder / FILE, {"title": notes.title.strip(), "text": notes.text})


def delete_run(workspace: Workspace, run_id: str) -> Path:
    """Puts a run away; where it went, so that it can be brought back.

    Raises:
        StudioError: there is none, or it is running.
    """
    run = get_run(workspace, run_id)
    if run.process() is not None:
        raise StudioError("The run {run} is running.", "Stop it first.", run=run_id)
    gone = workspace.runs / AWAY / f"{time.time_ns()}-{run.id}"
    try:
        gone.parent.mkdir(exist_ok=True)
        os.replace(run.folder, gone)
    except OSError as error:
        raise cannot_write(run.id, error) from error
    return gone


def restore_run(workspace: Workspace, gone: Path) -> Run:
    """Brings back what `delete_run` put away.

    Raises:
        StudioError: it is not there any more, or a run of that name is there again.
    """
    home = workspace.runs / gone.name.partition("-")[2]
    if gone.parent != workspace.runs / AWAY or not gone.is_dir() or home.exists():
        raise StudioError("There is nothing to restore.", "See the list of runs.")
    os.replace(gone, home)
    return Run(home)
