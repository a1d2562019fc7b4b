"""SIGKILL of a trainer at random moments, about half of them inside a save. Every run goes on to the same end. Those of what
the server does are in `tests.torture.server_kills`."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.events import StepDone
from core.studio.runs.process import ROOT
from core.studio.runs.run import Run, create_run
from core.studio.workspace import Workspace
from core.training.config import TrainConfig
from tests.torture.tally import Tally

SMALL: dict[str, Any] = {"base": "tiny", "batch_size": 2, "rank": 2, "pool_size": 3, "ddim_grid": 4, "rollout_steps": 1}
SMALL |= {"preview_every": 4, "warmup_steps": 2, "checkpoint_every": 2, "steps": 9}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"weights": "full", "learning_rate": 1e-4, "reference": "ema"},
}


class Host:
    """Trains runs in forks of one process that has its libraries already."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.host"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def train(self, run: Run, **kill: float) -> tuple[int, int]:
        """(exit code or minus the signal, changes of files in its saves)."""
        return self.order(run.folder, **kill)

    def order(self, folder: Path, **what: float) -> tuple[int, int]:
        """The same of any order that `tests.torture.host` takes."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"folder": str(folder), **what}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["ops"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:  # an interrupted attack does not wait for the run that is under way
            self._process.kill()
            self._process.wait()


def result_of(run: Run) -> dict[str, Any]:
    """What must be equal to the bit: losses, the offset, and the offset of each checkpoint."""
    losses: dict[int, set[str]] = {}
    for event in run.events()[0]:
        if isinstance(event, StepDone):
            losses.setdefault(event.step, set()).add(event.loss.hex())
    files = [run.folder / "offset.safetensors", *sorted((run.folder / "offsets").glob("*.safetensors"))]
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}
    return {"losses": losses, "files": hashes}


def damaged(run: Run) -> list[str]:
    """Names of checkpoints that have a manifest and are not what it says."""
    from core.training.checkpoints import load_newest

    return load_newest(run.folder / "checkpoints")[1]


def kills(root: Path, *, count: int, seed: int = 0, only: Sequence[str] | None = None) -> Tally:
    """Kills `count` times: a trainer of each kind, and what the server does. Whenever a run reaches its end, it is compared
    with one that nobody killed.

    Args:
        root: an empty folder; a workspace with a tiny model is made there.
        only: of "lora", "full" and "server", all by default; the server has a third of the kills beside trainers.
    """
    from core.families import get
    from tests.torture.server_kills import kill_the_server

    tally, dice, host = Tally("kills", seed), random.Random(seed), Host()
    workspace, chosen = Workspace(root), list(only or [*KINDS, "server"])
    kinds = [kind for kind in KINDS if kind in chosen]
    of_trainers = count if "server" not in chosen else count * 2 // 3 if kinds else 0
    get("sd15").tiny().save_pretrained(workspace.models / "tiny")
    (workspace.models / "tiny" / "prompts.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    try:
        if kinds:
            _kill_trainers(workspace, host, dice, tally, of_trainers, kinds)
        if "server" in chosen:
            kill_the_server(workspace, host, dice, tally, count)
    finally:
        host.close()
    return tally


def _kill_trainers(
    workspace: Workspace, host: Host, dice: random.Random, tally: Tally, count: int, kinds: Sequence[str]
) -> None:
    whole: dict[str, tuple[dict[str, Any], int, float]] = {}
    for kind in kinds:
        run = create_run(workspace, TrainConfig(**SMALL, **KINDS[kind]), kind)
        began = time.monotonic()
        code, ops = host.train(run)
        if code:
            raise RuntimeError((run.folder / "log.txt").read_text(encoding="utf-8")[-2000:])
        whole[kind] = (result_of(run), ops, time.monotonic() - began)
    number = 0
    while tally.tries < count:
        kind = kinds[number % len(kinds)]
        number += 1
        expected, ops, seconds = whole[kind]
        run = create_run(workspace, TrainConfig(**SMALL, **KINDS[kind]), f"cut-{kind}")
        _until_finished(run, host, dice, tally, count, ops, seconds)
        if tally.tries < count and result_of(run) != expected:
            tally.failures.append(f"{run.id}: losses or offsets differ from the run that nobody killed")
        elif tally.tries < count:
            tally.count("runs equal to the bit")
        shutil.rmtree(run.folder)


def _until_finished(
    run: Run, host: Host, dice: random.Random, tally: Tally, count: int, ops: int, seconds: float
) -> None:
    """Kills the run again and again until it has come to its end in spite of it."""
    for attempt in range(40):
        if tally.tries >= count:
            return
        inside = dice.random() < 0.55
        if attempt > 8:  # it has been killed often enough: let it end
            code, _ = host.train(run)
        elif inside:
            code, _ = host.train(run, op=dice.randint(1, max(2, ops // 2)))
        else:
            code, _ = host.train(run, after=dice.uniform(0.05, seconds))
        if code == -signal.SIGKILL:
            tally.tries += 1
            tally.count("inside a save" if inside else "elsewhere")
            if names := damaged(run):
                tally.failures.append(f"{run.id}: damaged after a kill: {', '.join(names)}")
        elif code == 0:
            return
        else:
            tally.failures.append(f"{run.id}: ended with {code}: {_last_line(run)}")
            return


def _last_line(run: Run) -> str:
    lines = (run.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
