"""Runs: folders that a detached process writes and everyone else reads. No torch.

    runs/<id>/config.json  events.jsonl  process.json  wish  log.txt  checkpoints/  previews/  offset.safetensors

Whether a run is alive is asked of the operating system, by process id and start time, so a reboot or another program
under the same id never passes for it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.errors import StudioError
from core.events import RunFailed, RunFinished, RunPaused, RunStarted, RunStopped, StepDone, TrainEvent
from core.studio.library.choose import family_of_base, find_base
from core.studio.locks import holding
from core.studio.runs.journal import FILE, read_events, read_newest
from core.studio.workspace import Workspace, slug
from core.training.config import PATHS, TrainConfig

ROOT = Path(__file__).resolve().parents[3]
OFFSET = "offset.safetensors"
QUEUED = "queued"
LOCK = "run.lock"
"""Held by the training process as long as it lives."""
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
    def config(self) -> TrainConfig:
        """The settings it was begun with.

        Raises:
            StudioError: the folder is no run.
        """
        try:
            return TrainConfig.from_dict(json.loads((self.folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StudioError(f"“{self.id}” is no run, or its settings are damaged.", "Choose another run.") from error

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
            told = json.loads((self.folder / "process.json").read_text(encoding="utf-8"))
            process = psutil.Process(int(told["pid"]))
            same = abs(process.create_time() - float(told["started"])) < 2.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
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
        """The run at a glance."""
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

    def record(self, process: psutil.Process) -> None:
        """Keeps which process trains this run."""
        staged = self.folder / f"process.{os.getpid()}.tmp"
        staged.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}), encoding="utf-8")
        os.replace(staged, self.folder / "process.json")

    @property
    def requested(self) -> str:
        """What the training process was asked and has not done yet: "pause", "stop" or nothing."""
        try:
            return (self.folder / "wish").read_text(encoding="utf-8").strip() if self.process() else ""
        except OSError:
            return ""

    def wish(self, what: str) -> None:
        """Asks the training process to "pause" or "stop"; it follows within one step."""
        staged = self.folder / "wish.tmp"
        staged.write_text(what, encoding="utf-8")
        os.replace(staged, self.folder / "wish")

    def kill(self) -> None:
        """Ends the whole process tree within five seconds."""
        process = self.process()
        if process is None:
            return
        family = [*process.children(recursive=True), process]
        for member in family:
            _quietly(member.terminate)
        _, alive = psutil.wait_procs(family, timeout=4)
        for member in alive:
            _quietly(member.kill)


def _quietly(action: Any) -> None:
    with suppress(psutil.Error):  # it has ended by itself
        action()


def list_runs(workspace: Workspace) -> list[Summary]:
    """All runs of the workspace, newest first; folders that are no runs are passed over."""
    found = []
    for folder in workspace.runs.iterdir():
        if (folder / "config.json").is_file():
            try:
                found.append(Run(folder).summary())
            except StudioError:
                continue
    return sorted(found, key=lambda run: run.began, reverse=True)


def get_run(workspace: Workspace, run_id: str) -> Run:
    """The run of that id.

    Raises:
        StudioError: there is none; an id never leads outside the workspace.
    """
    folder = workspace.runs / slug(run_id)
    if slug(run_id) != run_id or not (folder / "config.json").is_file():
        raise StudioError(f"There is no run “{run_id[:60]}”.", "See `runs` for those there are.")
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
            f"The workspace has {workspace.free_bytes() / 1e9:.1f} GB free; a run needs {needed / 1e9:.1f} GB.",
            "Free disk space or choose another folder with --workspace.",
        )
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run = Run(workspace.runs / slug(f"{name or config.recipe}-{stamp}-{secrets.token_hex(2)}"))
    run.folder.mkdir(parents=True)
    text = json.dumps(config.to_dict(), indent=2) + "\n"
    (run.folder / "config.json").write_text(text, encoding="utf-8")
    return run


def _devices() -> int:
    """CUDA devices on this machine, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except Exception:  # no driver, no card, or no library: the CPU trains
        return 0


def command_of(run: Run, *, cpu: bool = False, processes: int | None = None) -> list[str]:
    """The command of the detached process: under `accelerate launch` when there is more than one process."""
    worker = ["-m", "core.studio.runs.worker", str(run.folder), *(["--cpu"] if cpu else [])]
    count = processes or (1 if cpu else max(1, _devices()))
    if count == 1:
        return [sys.executable, *worker]
    if cpu:  # accelerate's own launcher starts several processes on a CPU through MPI alone
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    else:
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count)]
        launch += ["--num_machines", "1", "--mixed_precision", run.config.precision, "--dynamo_backend", "no"]
    return [sys.executable, *launch, *worker]


def _trained(run: Run) -> bool:
    """Whether a process trains this run, one that was started by hand included."""
    if run.process():
        return True
    with holding(run.folder / LOCK) as idle:
        return not idle


def start_run(run: Run, *, cpu: bool = False, processes: int | None = None) -> Run:
    """Starts or resumes the run in a process of its own, which outlives this one. A run that runs is left alone.

    Raises:
        StudioError: it has finished, or no process could be made.
    """
    with holding(run.folder / "start.lock") as mine:
        if not mine or _trained(run):
            return run
        if run.status == "finished":
            raise StudioError(f"The run {run.id} is finished.", "Start a new run for more steps.")
        for mark in ("wish", QUEUED):
            (run.folder / mark).unlink(missing_ok=True)
        # threads that spin while they wait make training 50 times slower as soon as another program wants a core
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        try:
            with (run.folder / "log.txt").open("ab") as log:
                process = subprocess.Popen(
                    command_of(run, cpu=cpu, processes=processes),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment,
                    start_new_session=True,
                )
            _children.append(process)
            run.record(psutil.Process(process.pid))
        except (OSError, psutil.Error) as error:
            raise StudioError(
                f"The training process of {run.id} could not be started: {type(error).__name__}.",
                "Check that the workspace can be written and has room.",
            ) from error
    return run


def enqueue(workspace: Workspace, run: Run, *, cpu: bool = False) -> Run:
    """Starts the run now where none is running, else when those before it have ended; a finished run starts the next."""
    (run.folder / QUEUED).write_text("cpu" if cpu else "", encoding="utf-8")
    start_next(workspace)
    return run


def start_next(workspace: Workspace) -> Run | None:
    """Starts the run that waits longest, unless one is running; the run started, or None."""
    with holding(workspace.root / "queue.lock") as mine:
        if not mine or any(summary.status == "running" for summary in list_runs(workspace)):
            return None
        waiting = sorted(workspace.runs.glob(f"*/{QUEUED}"), key=lambda mark: mark.stat().st_mtime)
        for mark in waiting:
            run, cpu = Run(mark.parent), mark.read_text(encoding="utf-8") == "cpu"
            try:
                return start_run(run, cpu=cpu)
            except StudioError:
                mark.unlink(missing_ok=True)  # it cannot start: the next one may
    return None


_children: list[subprocess.Popen] = []
"""Kept so that ended children are reaped when asked, instead of staying zombies."""


def reap() -> None:
    """Collects children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


__all__ = [
    "FILE",
    "OFFSET",
    "Run",
    "Summary",
    "create_run",
    "enqueue",
    "start_next",
    "get_run",
    "list_runs",
    "reap",
    "start_run",
]
