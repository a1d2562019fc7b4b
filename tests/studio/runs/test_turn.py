"""One training at a time in a workspace, whoever starts it, and whoever comes second is told who."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.errors import StudioError
from core.files import write_json
from core.studio.runs import process
from core.studio.runs.process import begin_run, end_run, enqueue, reap, start_next, start_run
from core.studio.runs.run import create_run, list_runs
from core.studio.runs.turn import HOLDER, claim, holder_of, training_turn
from tests.builders.runs import config, wait
from tests.torture.starts import STAND_IN, race

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[3]


@pytest.fixture
def stand_in(monkeypatch):
    """A training process that takes its turn, as the real one does, and then only waits: no libraries to load."""
    monkeypatch.setattr(process, "command_of", lambda run, **_: [sys.executable, "-c", STAND_IN, str(run.folder)])


@pytest.mark.timeout(120)
def test_faults_54_and_77_of_many_that_start_at_once_one_trains_and_the_others_learn_who(workspace):
    tally = race(workspace.root, rounds=3, starters=8, seed=0)
    assert (tally.tries, tally.failures) == (3, [])


@pytest.mark.timeout(120)
def test_fault_77_whoever_comes_second_learns_who_trains(workspace, stand_in):
    first, second = (create_run(workspace, config(), name) for name in ("first", "second"))
    start_run(first)
    pid = first.process().pid
    sentence = rf"The run {first.id} is already training in this workspace \(process {pid}\)\. Pause or stop it"
    for start in (
        lambda: start_run(second),
        lambda: begin_run(workspace, config(), "third"),
    ):
        with pytest.raises(StudioError, match=sentence):
            start()
    assert start_run(first).process().pid == pid, "the one that runs is left alone"
    by_hand = subprocess.run(
        [sys.executable, "-m", "core.studio.runs.worker", str(second.folder), "--cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert by_hand.returncode == 1 and f"The run {first.id} is already training" in by_hand.stderr
    assert second.status == "new" and not (second.folder / "events.jsonl").exists(), "nothing of it is changed"
    enqueue(workspace, second)
    assert second.status == "queued" and start_next(workspace) is None
    assert {run.id for run in list_runs(workspace)} == {first.id, second.id}, "nothing is left of the third"
    end_run(first)
    reap()
    assert start_next(workspace).id == second.id
    end_run(second)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("command", [["train", "--detach", "--base", "tiny"], ["resume", "RUN", "--detach"]])
def test_fault_77_the_command_line_learns_who_trains(workspace, stand_in, command):
    first, second = (create_run(workspace, config(), name) for name in ("first", "second"))
    start_run(first)
    command = [second.id if word == "RUN" else word for word in command]
    ended = subprocess.run(
        [sys.executable, "-m", "app", *command, "--workspace", str(workspace.root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    end_run(first)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: The run {first.id} is already training in this workspace (process ")
    assert len(list_runs(workspace)) == 2


@pytest.mark.timeout(120)
def test_fault_55_the_lock_ends_with_its_holder_however_that_ends(workspace, stand_in):
    run = create_run(workspace, config())
    start_run(run)
    wait(run, lambda _: (run.folder / "turn").exists())
    with pytest.raises(StudioError, match="already training"), training_turn(create_run(workspace, config(), "other")):
        pass
    run.process().kill()
    wait(run, lambda _: run.process() is None)
    assert holder_of(workspace.root) is None and run.status == "interrupted"
    with training_turn(run):
        assert holder_of(workspace.root).process.pid == os.getpid()
    assert holder_of(workspace.root) is None


def test_fault_48_a_stale_process_id_holds_nothing(workspace):
    run = create_run(workspace, config())
    own = psutil.Process()
    write_json(workspace.root / HOLDER, {"run": run.id, "pid": own.pid, "started": own.create_time() - 1000})
    assert holder_of(workspace.root) is None
    for record in ({}, {"pid": 10**30, "started": 0}, {"pid": "x", "started": []}, [5], "", {"pid": -1, "started": 0}):
        write_json(workspace.root / HOLDER, record)
        assert holder_of(workspace.root) is None
    claim(run, own)
    assert holder_of(workspace.root).run == run.id


def test_a_refused_claim_leaves_no_orphaned_process(workspace, stand_in, monkeypatch):
    def refuse(*_):
        raise StudioError("The disk is full.")

    monkeypatch.setattr(process, "claim", refuse)
    run = create_run(workspace, config())
    with pytest.raises(StudioError, match="could not be started. Check that the workspace can be written"):
        start_run(run)
    process._children[-1].wait(10)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(run.folder) in (p.info["cmdline"] or [])]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start of a process is read from the machine's clock")
def test_row_51_a_clock_that_was_set_makes_no_living_run_look_interrupted(workspace, monkeypatch):
    run = create_run(workspace, config())
    claim(run, psutil.Process())
    run.record(psutil.Process())
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 86_400.0)
    assert holder_of(workspace.root).process.pid == os.getpid() and run.status == "running"
