"""What a machine does to a run: SIGKILL between and inside saves, and a disk that fills up. Nothing is lost."""

import os
import signal
import sys

import pytest
import torch

from core.events import CheckpointSaved, Notice, RunPaused
from core.offsets.files import load_lora, read_offset
from core.studio.runs.process import start_run
from core.studio.runs.run import create_run
from tests.builders import warm
from tests.builders.runs import config, ended, losses, wait

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("warm_runs")]

DIE_AT_STEP = """
import os, signal, sys
from core.training.trainer import Trainer
real = Trainer.step

def step(self, objective):
    if self.steps_done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, objective)

Trainer.step = step
from core.studio.runs.worker import main
sys.exit(main([sys.argv[1], "--cpu"]))
"""

DIE_AT_FLUSH = """
import os, signal, sys
real, calls = os.fsync, []

def fsync(handle):
    if "/checkpoints/" in os.readlink(f"/proc/self/fd/{handle}"):
        calls.append(handle)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)

os.fsync = fsync
from core.studio.runs.worker import main
sys.exit(main([sys.argv[1], "--cpu"]))
"""

FULL_DISK = """
import errno, os, sys
from core.training import checkpoints
real, calls = checkpoints.save_file, []

def save_file(tensors, path):
    calls.append(path)
    if len(calls) > 1:
        path.write_bytes(b"as much as there was room for")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(tensors, path)

checkpoints.save_file = save_file
from core.studio.runs.worker import main
sys.exit(main([sys.argv[1], "--cpu"]))
"""


def contents(folder):
    return {path: path.read_bytes() for path in folder.glob("step-*/*") if not path.parent.suffix}


@pytest.mark.parametrize("changes", [{}, {"weights": "full", "learning_rate": 1e-4, "reference": "ema"}], ids=str)
def test_faults_33_and_34_killed_between_and_inside_saves_and_resumed_everything_is_identical(workspace, changes):
    settings = config(steps=9, **changes)
    whole = start_run(create_run(workspace, settings, "whole"), cpu=True)
    wait(whole, ended)
    assert whole.status == "finished", (whole.folder / "log.txt").read_text()

    cut = create_run(workspace, settings, "cut")
    died = warm.run([sys.executable, "-c", DIE_AT_STEP, str(cut.folder), "4"], check=False)
    assert died.returncode == -signal.SIGKILL and cut.status == "interrupted"
    assert max(losses(cut)) == 4

    # four flushes make a save; the second, of the manifest, is in the midst of it
    checkpoints = cut.folder / "checkpoints"
    before = contents(checkpoints)
    died = warm.run([sys.executable, "-c", DIE_AT_FLUSH, str(cut.folder), "2"], check=False)
    assert died.returncode == -signal.SIGKILL and list(checkpoints.glob("*.tmp"))
    assert before and contents(checkpoints) == before
    assert cut.status == "interrupted"
    start_run(cut, cpu=True)
    wait(cut, ended)

    assert cut.status == "finished"
    assert losses(cut) == losses(whole) and all(len(values) == 1 for values in losses(cut).values())
    one, other = load_lora(cut.offset).low_rank, load_lora(whole.offset).low_rank
    assert all(torch.equal(one[n].up, other[n].up) and torch.equal(one[n].down, other[n].down) for n in other)
    assert read_offset(cut.offset).provenance == read_offset(whole.offset).provenance
    assert not list((cut.folder / "checkpoints").glob("*.tmp"))


def test_fault_35_a_full_disk_pauses_the_run_with_what_to_free_and_it_continues(workspace):
    run = create_run(workspace, config(steps=9))
    process = warm.run([sys.executable, "-c", FULL_DISK, str(run.folder)], check=False)
    assert process.returncode == 0 and run.status == "paused"
    events = run.events()[0]
    assert isinstance(events[-1], RunPaused) and "disk is full. Free 0.1 GB" in events[-1].reason
    assert isinstance(events[-2], Notice) and events[-2].message == events[-1].reason
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [3]
    assert os.listdir(run.folder / "checkpoints") == ["step-0000003"]
    start_run(run, cpu=True)
    wait(run, ended)
    assert run.status == "finished"
