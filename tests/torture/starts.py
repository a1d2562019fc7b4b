"""Races: several start a training in one workspace at the same moment. One must train; the others must be told who."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from unittest.mock import patch

from core.errors import StudioError
from core.studio.runs import process
from core.studio.runs.process import begin_run, end_run, enqueue, reap, start_run
from core.studio.runs.run import Run, create_run
from core.studio.runs.turn import HOLDER, LOCK
from core.studio.workspace import Workspace
from core.training.config import TrainConfig
from tests.torture.tally import Tally

STAND_IN = """
import pathlib, sys, time
from core.errors import StudioError
from core.studio.runs.run import Run
from core.studio.runs.turn import training_turn
run = Run(pathlib.Path(sys.argv[1]))
try:
    with training_turn(run):
        (run.folder / "turn").touch()
        time.sleep(60)
except StudioError:
    sys.exit(1)
"""
"""The training process without its libraries: it takes its turn as the worker does, marks that it has it, and waits."""


def race(root: Path, *, rounds: int, starters: int = 6, seed: int = 0) -> Tally:
    """Lets starters of every kind (a new run, a resumed one, the queue, one by hand) begin at one moment, again and again."""
    workspace, config = Workspace(root), TrainConfig(base="tiny", preview_every=0)
    tally, dice = Tally("starts", seed), random.Random(seed)
    stand_in = patch.object(process, "command_of", lambda run, **_: [sys.executable, "-c", STAND_IN, str(run.folder)])
    with stand_in:
        for number in range(rounds):
            kinds = [dice.choice(("begin", "resume", "queue", "hand")) for _ in range(starters)]
            if not {"begin", "resume"} & set(kinds):
                kinds[0] = "begin"
            _round(workspace, config, kinds, tally, number)
    return tally


def _round(workspace: Workspace, config: TrainConfig, kinds: list[str], tally: Tally, number: int) -> None:
    tally.tries += 1
    prepared = [None if kind == "begin" else create_run(workspace, config, kind) for kind in kinds]
    gate, refusals, faults = threading.Barrier(len(kinds)), [], []
    by_hand: list[process.subprocess.Popen] = []

    def start(kind: str, run: Run | None) -> None:
        gate.wait()
        try:
            if run is None:
                begin_run(workspace, dataclasses.replace(config, seed=number))
            elif kind == "resume":
                start_run(run)
            elif kind == "queue":
                enqueue(workspace, run)
            else:
                by_hand.append(process.subprocess.Popen(process.command_of(run), cwd=process.ROOT))
        except StudioError as error:
            refusals.append(str(error))
        except BaseException as error:  # whatever else comes out is the failure that is looked for
            faults.append(f"round {number}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=start, args=pair) for pair in zip(kinds, prepared, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.failures += faults
    tally.failures += [f"round {number}: {text}" for text in refusals if "is already training" not in text]
    # every process that was started has either its turn or ended
    until, marks = time.monotonic() + 30, []
    while time.monotonic() < until:
        reap()
        marks = list(workspace.runs.glob("*/turn"))
        if marks and _settled(by_hand):
            break
        time.sleep(0.02)
    if len(marks) != 1:
        tally.failures.append(f"round {number} of {kinds}: {len(marks)} took a turn")
    for child in by_hand:
        child.kill()
        child.wait()
    for mark in workspace.runs.glob("*"):
        end_run(Run(mark))
    while process._children:
        reap()
        time.sleep(0.005)
    for folder in workspace.runs.iterdir():
        shutil.rmtree(folder)
    for name in (HOLDER, LOCK):
        (workspace.root / name).unlink(missing_ok=True)


def _settled(by_hand: list[process.subprocess.Popen]) -> bool:
    """Whether nobody but the one who has the turn is still on the way."""
    return len([child for child in [*by_hand, *process._children] if child.poll() is None]) <= 1
