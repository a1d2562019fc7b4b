"""Asked to end, a trainer ends within five seconds whatever it is doing, and what was reached is kept."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.events import CheckpointSaved, PoolProgress, PreviewDue, RunPaused, StepDone
from core.studio.runs.run import create_run
from core.studio.runs.turn import holder_of
from tests.builders import warm
from tests.builders.runs import config, wait

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("warm_runs")]
ROOT = Path(__file__).parents[3]
PATIENCE = 20
"""Seconds: five on a machine that is otherwise idle."""


def command_of(run):
    return [sys.executable, "-m", "core.studio.runs.worker", str(run.folder), "--cpu"]


def seen(kind):
    return lambda run: any(isinstance(event, kind) for event in run.events()[0])


def end(process, run):
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, f"still there after {time.monotonic() - began:.0f} s"
    assert run.status == "paused" and isinstance(run.events()[0][-1], RunPaused)


def test_fault_37_asked_while_the_libraries_load_it_ends_at_once(workspace):
    run = create_run(workspace, config())
    process = subprocess.Popen(command_of(run), cwd=ROOT)  # a cold start: it is the imports that are cut
    wait(run, lambda _: holder_of(workspace.root) is not None)
    end(process, run)
    assert run.events()[0][-1].reason == "before the first step" and holder_of(workspace.root) is None


def test_fault_37_asked_while_own_samples_are_drawn_it_ends_at_once(workspace):
    run = create_run(workspace, config(ddim_grid=500, pool_size=64, batch_size=1))
    process = warm.popen(command_of(run), cwd=ROOT)
    wait(run, lambda r: seen(PoolProgress)(r) or seen(StepDone)(r))
    end(process, run)
    assert not seen(StepDone)(run)


def test_fault_37_asked_in_the_bases_previews_it_ends_at_once(workspace):
    prompts = tuple(f"prompt {number}" for number in range(60))
    run = create_run(workspace, config(preview_every=1, preview_prompts=prompts))
    process = warm.popen(command_of(run), cwd=ROOT)
    wait(run, seen(PreviewDue))
    end(process, run)
    assert not seen(StepDone)(run)


def test_fault_37_asked_in_a_preview_it_keeps_a_checkpoint(workspace):
    prompts = tuple(f"prompt {number}" for number in range(30))
    run = create_run(workspace, config(steps=1000, preview_every=1, preview_prompts=prompts, checkpoint_every=900))
    process = warm.popen(command_of(run), cwd=ROOT)
    wait(run, lambda r: any(isinstance(event, PreviewDue) and event.step for event in r.events()[0]))
    end(process, run)
    saved = [event for event in run.events()[0] if isinstance(event, CheckpointSaved)]
    assert saved and (run.folder / "checkpoints" / saved[-1].name / "manifest.json").is_file()
