"""What a run is: a folder that a detached process writes and everyone else reads. No torch.

    runs/<id>/config.json  events.jsonl  process.json  request  log.txt  checkpoints/  previews/  offset.safetensors

Whether a run is alive is asked of the operating system, by process id and start time, so a reboot or another program
under the same id never passes for it.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.errors import StudioError
from core.events import RunFailed, RunFinished, RunPaused, RunStarted, RunStopped, StepDone, TrainEvent
from core.files import cannot_read, cannot_write, read_json, write_json, write_text
from core.studio.library.choose import family_of_base, find_base
from core.studio.processes import identity, living
from core.studio.runs.journal import read_events, read_newest
from core.studio.workspace import Workspace, slug
from core.training.config import PATHS, TrainConfig

OFFSET = "offset.safetensors"
QUEUED = "queued"
REQUEST = "request"
_ENDINGS: dict[type[TrainEvent], str] = {
    RunFinished: "finished",
    RunPaused: "paused",
    RunStopped: "stopped",
    RunFailed: "failed",
}


@dataclass(frozen=True)
class Summary:
    """A run at a glance. `status`: new, queued, running, paused, stopped, finished, failed or interrupted."""

    id: str
    status: str
    step: int
    steps: int
    loss: float | None
    recipe: str
    base: str
    began: float


class Run:
    """One run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        return self.folder.parent.parent

    @property
    def config(self) -> TrainConfig:
        """The settings it was begun with.

        Raises:
            StudioError: the folder is not a run, or its settings are damaged; says how.
        """
        try:
            return TrainConfig.from_dict(read_json(self.folder / "config.json", dict))
        except (StudioError, TypeError, ValueError) as error:
            reason = error.message if isinstance(error, StudioError) else ""
            raise StudioError(
                "The settings of run “{id}” cannot be read. {reason}", "Choose another run.", id=self.id, reason=reason
            ) from error

    @property
    def offset(self) -> Path | None:
        """The offset file, where the run has one."""
        path = self.folder / OFFSET
        return path if path.is_file() else None

    def events(self, offset: int = 0) -> tuple[list[TrainEvent], int]:
        """Events from a byte offset of the journal on, and where to go on."""
        return read_events(self.folder, offset)

    def process(self) -> psutil.Process | None:
        """The living training process, or None."""
        try:
            return living(read_json(self.folder / "process.json", dict))
        except StudioError:
            return None

    @property
    def status(self) -> str:
        """See `Summary`."""
        if self.process():
            return "running"
        if (self.folder / QUEUED).exists():
            return "queued"
        events = read_newest(self.folder)
        for event in reversed(events):
            if type(event) in _ENDINGS:
                return _ENDINGS[type(event)]
            if isinstance(event, RunStarted | StepDone):
                break
        return "interrupted" if events or (self.folder / "process.json").exists() else "new"

    def summary(self) -> Summary:
        """The run at a glance.

        Raises:
            StudioError: its settings are damaged, or the disk refuses.
        """
        try:
            events = read_newest(self.folder)
            done = next((event for event in reversed(events) if isinstance(event, StepDone)), None)
            config = self.config
            return Summary(
                self.id,
                self.status,
                done.step if done else max((event.step for event in events), default=0),
                config.steps,
                done.loss if done else None,
                config.recipe,
                Path(config.base).name,
                (self.folder / "config.json").stat().st_mtime,
            )
        except OSError as error:
            raise cannot_read(self.id, error) from error

    def record(self, process: psutil.Process) -> None:
        """Stores which process trains this run."""
        write_json(self.folder / "process.json", identity(process), indent=None)

    @property
    def requested(self) -> str:
        """What the training process was asked and has not done yet: "pause", "stop" or nothing."""
        try:
            return (self.folder / REQUEST).read_text(encoding="utf-8").strip() if self.process() else ""
        except (OSError, ValueError):
            return ""

    def request(self, what: str) -> None:
        """Asks the training process to "pause" or "stop"; it follows within one step.

        Raises:
            StudioError: the folder cannot be written.
        """
        write_text(self.folder / REQUEST, what)


def list_runs(workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None) -> list[Summary]:
    """All runs of the workspace, newest first.

    Args:
        on_fault: called for each run that is left out because it is damaged.
    """
    summaries = []
    try:
        folders = list(workspace.runs.iterdir())
    except OSError as error:
        folders = []
        on_fault(cannot_read(workspace.runs.name, error))
    with suppress(FileNotFoundError):  # it vanished meanwhile
        for folder in folders:
            if (folder / "config.json").is_file():
                try:
                    summaries.append(Run(folder).summary())
                except StudioError as error:
                    on_fault(error)
    return sorted(summaries, key=lambda run: run.began, reverse=True)


def get_run(workspace: Workspace, run_id: str) -> Run:
    """The run of that id.

    Raises:
        StudioError: there is none; an id never leads outside the workspace.
    """
    folder = workspace.runs / slug(run_id)
    if slug(run_id) != run_id or not (folder / "config.json").is_file():
        raise StudioError("There is no run “{id}”.", "`runs` lists all runs.", id=run_id[:60])
    return Run(folder)


def create_run(workspace: Workspace, config: TrainConfig, name: str = "") -> Run:
    """A new run folder with its settings; nothing starts.

    Raises:
        StudioError: there is no such base, or too little free disk space for its checkpoints, with the figures.
    """
    # the training process has another working directory than the person who names a file
    named = {name: getattr(config, name) for name in PATHS}
    absolute: dict[str, Any] = {name: str(Path(path).expanduser().absolute()) for name, path in named.items() if path}
    config = dataclasses.replace(config, family=family_of_base(find_base(workspace, config.base)), **absolute)
    needed = 2**28
    if workspace.free_bytes() < needed:
        raise StudioError(
            "The workspace has {free:.1f} GB free; a run needs {needed:.1f} GB.",
            "Free disk space or choose another folder with --workspace.",
            free=workspace.free_bytes() / 1e9,
            needed=needed / 1e9,
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run = Run(workspace.runs / slug(f"{name or config.recipe}-{stamp}-{secrets.token_hex(2)}"))
    try:
        run.folder.mkdir(parents=True)
        write_json(run.folder / "config.json", config.to_dict())
    except OSError as error:
        raise cannot_write(run.id, error) from error
    except StudioError:
        with suppress(OSError):
            run.folder.rmdir()
        raise
    return run
