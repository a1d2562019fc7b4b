"""The detached training process: `python -m core.studio.runs.worker RUN_FOLDER`. It alone writes the run's journal.

SIGTERM and SIGINT ask it to pause: while it loads, or has done no step yet, it ends at once; then it saves a checkpoint
within one step. Either way it ends with 0. A second one in the same workspace ends at once with 1 and changes nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from core.errors import Sentence, StudioError
from core.events import RunPaused, RunStopped, StepDone, TrainEvent, to_json
from core.files import sweep
from core.studio.runs.journal import Journal
from core.studio.runs.process import ROOT
from core.studio.runs.run import QUEUED, REQUEST, Run
from core.studio.runs.turn import training_turn
from core.training.faults import events_of_fault


class EndedEarly(BaseException):
    """A signal came before the first step: nothing has to be saved. Not an Exception, so that no library catches it."""


class Requests:
    """What the run is asked for, by a signal or by its request file; called every step.

    `at_once` is true from `begin` until the first step is done: a signal then ends the loading, sampling or encoding it
    falls into.
    """

    def __init__(self, run: Run) -> None:
        self._file = run.folder / REQUEST
        self._signalled = False
        self.at_once = False
        # before the slow imports: a signal that comes during them is not lost
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def begin(self) -> None:
        """From now on a signal ends at once, also one that has come before; the journal is open to tell it.

        Raises:
            EndedEarly: a signal has come.
        """
        self.at_once = not self._signalled
        if self._signalled:
            raise EndedEarly

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
        if self.at_once:
            self.at_once = False
            raise EndedEarly

    def __call__(self) -> str | None:
        if self._signalled:
            return "pause"
        try:
            return self._file.read_text(encoding="utf-8").strip() or None
        except (OSError, ValueError):
            return None

    def fulfilled(self) -> None:
        """Removes the request file: the same command then continues."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _stand_back(by: int = 5) -> None:
    """Lets the page go first on the CPU; Linux weighs whole sessions against each other, so the session gets the same priority."""
    with suppress(AttributeError, OSError):  # not on Windows
        os.nice(by)
        Path("/proc/self/autogroup").write_text(str(by))


def main(arguments: list[str] | None = None) -> int:
    """Trains the run of the folder to its end, its pause or its failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    run = Run(options.folder.resolve())
    requests = Requests(run)
    try:
        if not run.folder.is_dir():
            raise StudioError("There is no run “{id}”.", "`runs` lists all runs.", id=run.id)
        if os.environ.get("RANK", "0") != "0":
            requests.begin()
            return _train(run, options.cpu, requests, None)
        with training_turn(run):
            journal = Journal(run.folder)
            try:
                requests.begin()
                if run.process() is None:
                    run.record(psutil.Process())  # started by hand
                sweep(run.folder)
                code = _train(run, options.cpu, requests, journal)
            except EndedEarly:
                code = _end(journal, [RunPaused(step=0, reason=Sentence("before the first step"))])
            finally:
                journal.close()
        _start_next(run)
        return code
    except EndedEarly:
        return 0
    except StudioError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def _start_next(run: Run) -> None:
    """Starts the next run of the queue from a separate process, which waits until this one has let go of the device."""
    if not any(run.folder.parent.glob(f"*/{QUEUED}")):
        return
    code = "import sys, time; from core.studio.runs.process import start_next\n"
    code += "from core.studio.workspace import Workspace\n"
    code += "for _ in range(40):\n    time.sleep(0.25)\n    if start_next(Workspace(sys.argv[1])): break\n"
    subprocess.Popen(
        [sys.executable, "-c", code, str(run.root)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )


def _train(run: Run, cpu: bool, requests: Requests, journal: Journal | None) -> int:
    """Trains, with a journal on the main process alone; 0 when it finished or paused."""
    step = 0
    try:
        from core.studio.runs.training import train_run  # torch and its libraries, seconds of imports

        for event in train_run(run, cpu=cpu, stop=requests):
            step = event.step
            if isinstance(event, StepDone):
                requests.at_once = False
            if journal:
                journal.append(event)
                if isinstance(event, RunPaused | RunStopped):
                    requests.fulfilled()
    except Exception as error:
        if not isinstance(error, StudioError):
            traceback.print_exc()  # into the run's log
        return _end(journal, events_of_fault(error, step))
    return 0


def _end(journal: Journal | None, events: Sequence[TrainEvent]) -> int:
    for event in events:
        try:
            if journal:
                journal.append(event)
        except OSError as error:  # the disk that is full holds the journal too
            print(f"{to_json(event)} could not be written: {type(error).__name__}", file=sys.stderr)
    return 0 if isinstance(events[-1], RunPaused) else 1


def leave(code: int) -> None:
    """Ends this process. One of several that fails ends at once: torch's own goodbye to the others would wait half a minute
    for one that has died."""
    if code and "RANK" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _stand_back()
    leave(main())
