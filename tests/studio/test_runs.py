"""Runs are processes of their own: killed, stopped, doubled and resumed, with real signals."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from core.errors import StudioError
from core.events import CheckpointSaved, RunFailed, RunFinished, StepDone
from core.studio.journal import Journal, read_events
from core.studio.runs import create_run, get_run, list_runs, reap, start_run
from core.studio.workspace import Workspace, slug
from core.training.config import TrainConfig

SMALL = {"base": "tiny", "batch_size": 2, "rank": 2, "pool_size": 3, "ddim_grid": 4, "rollout_steps": 1}
SMALL |= {"preview_every": 0, "warmup_steps": 2, "checkpoint_every": 3}


def config(**changes):
    return TrainConfig(**{**SMALL, **changes})


def wait(run, until, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reap()
        if until(run):
            return
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {run.status}, {(run.folder / 'log.txt').read_text()[-2000:]}")


def ended(run):
    return run.process() is None


def losses(run):
    last = {}
    for event in run.events()[0]:
        if isinstance(event, StepDone):
            last.setdefault(event.step, set()).add(event.loss.hex())
    return last


@pytest.fixture
def plain_losses(workspace):
    run = start_run(create_run(workspace, config(steps=12), "whole"), cpu=True)
    wait(run, ended)
    assert run.status == "finished", (run.folder / "log.txt").read_text()
    return losses(run)


@pytest.mark.timeout(300)
def test_killed_at_any_time_and_resumed_the_losses_are_identical(workspace, plain_losses):
    """SIGKILL during a save, just after one, and between steps; each loss of each step is the same to the bit."""
    run = create_run(workspace, config(steps=12), "cut")
    for moment in ("saving", "saved", "step"):
        start_run(run, cpu=True)
        before = run.events()[1]
        staged = run.folder / "checkpoints"

        def reached(run, moment=moment, before=before, staged=staged):
            if moment == "saving":
                return any(staged.glob("*.tmp"))
            events = run.events(before)[0]
            kind = CheckpointSaved if moment == "saved" else StepDone
            return any(isinstance(event, kind) for event in events)

        wait(run, lambda r: reached(r) or ended(r))
        if process := run.process():
            os.kill(process.pid, signal.SIGKILL)
        wait(run, ended)
        assert run.status in ("interrupted", "finished")
    if run.status != "finished":
        start_run(run, cpu=True)
        wait(run, ended)
    assert run.status == "finished"
    assert losses(run) == plain_losses
    assert all(len(values) == 1 for values in losses(run).values())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_within_a_step_and_exits_0(workspace, number):
    run = create_run(workspace, config(steps=100_000, checkpoint_every=90_000))
    command = [sys.executable, "-m", "core.studio.worker", str(run.folder), "--cpu"]
    process = subprocess.Popen(command)
    wait(run, lambda r: any(isinstance(e, StepDone) for e in r.events()[0]))
    process.send_signal(number)
    assert process.wait(60) == 0
    assert run.status == "paused"
    events = run.events()[0]
    assert isinstance(events[-2], CheckpointSaved) and events[-2].step == events[-1].step


@pytest.mark.timeout(120)
def test_many_starts_make_one_process(workspace):
    run = create_run(workspace, config(steps=100_000, checkpoint_every=90_000))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: start_run(run, cpu=True), range(16)))
    first = run.process()
    workers = [p for p in psutil.process_iter(["cmdline"]) if str(run.folder) in (p.info["cmdline"] or [])]
    assert [p.pid for p in workers] == [first.pid]
    began = time.monotonic()
    run.kill()
    assert time.monotonic() - began < 5 and run.process() is None


@pytest.mark.timeout(120)
def test_a_failure_is_told_with_its_remedy(workspace):
    run = create_run(workspace, config(steps=3, prompts_file="nowhere.txt"))
    start_run(run, cpu=True)
    wait(run, ended)
    assert run.status == "failed"
    last = run.events()[0][-1]
    assert isinstance(last, RunFailed) and "nowhere.txt" in last.message and last.remedy


@pytest.mark.timeout(300)
def test_two_processes_train_as_one(workspace):
    run = create_run(workspace, config(steps=6))
    start_run(run, cpu=True, processes=2)
    wait(run, ended, 200)
    assert run.status == "finished", (run.folder / "log.txt").read_text()
    events = run.events()[0]
    assert isinstance(events[-1], RunFinished) and events[0].processes == 2
    assert [e.step for e in events if isinstance(e, StepDone)] == list(range(1, 7))


def test_a_stale_process_id_is_not_taken_for_the_run(workspace):
    run = create_run(workspace, config())
    own = psutil.Process()
    record = {"pid": own.pid, "started": own.create_time() - 1000}
    (run.folder / "process.json").write_text(json.dumps(record))
    assert run.process() is None and run.status == "interrupted"
    (run.folder / "process.json").write_text(json.dumps({"pid": own.pid, "started": own.create_time()}))
    assert run.status == "running"


def test_a_line_cut_short_by_a_crash_hides_nothing_else(tmp_path):
    journal = Journal(tmp_path)
    step = {"loss": 1.0, "learning_rate": 1.0, "gradient_norm": 1.0, "rate": 1.0, "memory": 1}
    journal.append(StepDone(step=1, **step))
    journal.close()
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "StepDo')
    assert [e.step for e in read_events(tmp_path)[0]] == [1]
    journal = Journal(tmp_path)
    journal.append(StepDone(step=2, **step))
    events, offset = read_events(tmp_path)
    assert [e.step for e in events] == [1, 2]
    assert read_events(tmp_path, offset) == ([], offset)


def test_runs_are_listed_newest_first_and_strangers_passed_over(workspace):
    (workspace.runs / "not-a-run").mkdir()
    one, two = create_run(workspace, config(), "one"), create_run(workspace, config(), "two")
    os.utime(one.folder / "config.json", (1, 1))
    assert [run.id for run in list_runs(workspace)] == [two.id, one.id]
    assert list_runs(workspace)[0].status == "new"


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "..", "con", "$(touch x)", "", "--cpu", "x" * 300, "é\u202e"])
def test_any_name_becomes_a_safe_folder_name(name):
    made = slug(name)
    assert made and "/" not in made and ".." not in made and not made.startswith(("-", ".")) and len(made) <= 64


@pytest.mark.parametrize("name", ["../runs", "nothing", ".."])
def test_an_unknown_run_is_refused(workspace, name):
    with pytest.raises(StudioError, match="There is no run"):
        get_run(workspace, name)


def test_too_little_disk_is_refused_with_the_figures(workspace, monkeypatch):
    monkeypatch.setattr(Workspace, "free_bytes", lambda self: 10**7)
    with pytest.raises(StudioError, match="0.0 GB free; a run needs 0.3 GB"):
        create_run(workspace, config())
