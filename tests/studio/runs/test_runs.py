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
import torch
from accelerate import Accelerator

from core.errors import StudioError
from core.events import CheckpointSaved, RunFailed, RunFinished, StepDone
from core.families import get
from core.offsets.offset import Offset
from core.studio.runs import journal as journal_module
from core.studio.runs import process as process_module
from core.studio.runs.journal import FILE, Follower, Journal, read_events, read_newest
from core.studio.runs.process import end_run, enqueue, reap, start_run
from core.studio.runs.run import create_run, get_run, list_runs
from core.studio.runs.training import preview_of
from core.studio.workspace import Workspace, slug
from core.training.config import TrainConfig
from core.training.material import gather
from core.training.self_npo import SelfNpo
from core.training.start_points import StartPoints
from core.training.student import Student
from core.training.trainer import Trainer
from tests.builders import warm
from tests.builders.runs import config, ended, wait

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("warm_runs")]


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT, "pause"])
def test_fault_37_a_run_started_from_the_command_line_shows_and_saves_within_a_step_when_asked_to_end(workspace, asked):
    run = create_run(workspace, config(steps=100_000, checkpoint_every=90_000))
    command = [sys.executable, "-m", "core.studio.runs.worker", str(run.folder), "--cpu"]
    start = subprocess.Popen if asked == "pause" else warm.popen
    process = start(command, start_new_session=True)  # it tells its whole session to stand back
    wait(run, lambda r: any(isinstance(e, StepDone) for e in r.events()[0]))
    assert run.status == "running" and list_runs(workspace)[0].status == "running"
    assert start_run(run, cpu=True).process().pid == process.pid
    if asked == "pause":
        second = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
        assert second.returncode == 1 and f"run {run.id} is already training" in second.stderr
        assert process.poll() is None
        run.request("pause")
    else:
        process.send_signal(asked)
    assert process.wait(60) == 0
    assert run.status == "paused" and not (run.folder / "request").exists()
    events = run.events()[0]
    assert isinstance(events[-2], CheckpointSaved) and events[-2].step == events[-1].step


def test_a_request_cuts_a_preview_short(workspace):
    family = get("sd15")
    pipe = family.load(workspace.models / "tiny")
    asked = []

    def stop():
        asked.append(1)
        return "pause" if len(asked) > 3 else None

    assert preview_of(pipe, family, config(), ("ab", "cd"), stop)(Offset(), "guided") is None and len(asked) == 4
    pictures = preview_of(pipe, family, config(), ("ab", "cd"), lambda: None)(Offset(), "plain")
    assert [picture.size for picture in pictures] == [(32, 32)] * 2


def test_faults_49_and_54_many_starts_make_one_process(workspace, monkeypatch):
    monkeypatch.setattr(process_module, "subprocess", subprocess)
    run = create_run(workspace, config(steps=100_000, checkpoint_every=90_000))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: start_run(run, cpu=True), range(16)))
    first = run.process()
    workers = [p for p in psutil.process_iter(["cmdline"]) if str(run.folder) in (p.info["cmdline"] or [])]
    assert [p.pid for p in workers] == [first.pid]
    began = time.monotonic()
    end_run(run)
    assert time.monotonic() - began < 5 and run.process() is None


def test_a_failure_is_reported_with_its_remedy(workspace):
    run = create_run(workspace, config(steps=3, prompts_file="nowhere.txt"))
    start_run(run, cpu=True)
    wait(run, ended)
    assert run.status == "failed"
    last = run.events()[0][-1]
    assert isinstance(last, RunFailed) and "nowhere.txt" in last.message and last.remedy


def test_two_processes_train_as_one_on_the_mean_of_their_losses(workspace):
    settings = config(steps=6, start="noise", clip_norm=1e6)
    run = create_run(workspace, settings)
    start_run(run, cpu=True, processes=2)
    wait(run, ended, 200)
    assert run.status == "finished", (run.folder / "log.txt").read_text()
    events = run.events()[0]
    assert isinstance(events[-1], RunFinished) and events[0].processes == 2
    done = [e for e in events if isinstance(e, StepDone)]
    assert [e.step for e in done] == list(range(1, 7))
    assert sorted(path.name for path in (run.folder / "checkpoints").iterdir()) == ["step-0000003", "step-0000006"]

    value, gradient = first_step(workspace, run, settings, ranks=(0, 1))
    assert done[0].loss == pytest.approx(value, rel=1e-4)
    assert done[0].gradient_norm == pytest.approx(gradient, rel=1e-3)
    alone, _ = first_step(workspace, run, settings, ranks=(0,))
    assert abs(alone - value) > 1e-3 * value  # each process sees samples of its own
    curve = losses_of_one_process(workspace, run, settings)
    assert [e.loss for e in done] == pytest.approx(curve, rel=1e-3)


class OfBothRanks:
    """The objective of one process that takes the samples of two."""

    def __init__(self, objective):
        self.objective = objective

    def batch(self, reference, step, rank, device):
        return [self.objective.batch(reference, step, each, device) for each in (0, 1)]

    def loss(self, student, batches):
        return torch.stack([self.objective.loss(student, batch) for batch in batches]).mean()


def losses_of_one_process(workspace, run, settings):
    """The losses of all steps, of one process at the same global batch."""
    family, accelerator = get("sd15"), Accelerator(cpu=True)
    pipe = family.load(workspace.models / "tiny")
    material = gather(settings, run.folder, pipe, family, [], accelerator)
    trainer = Trainer(settings, family, pipe.unet, accelerator)
    objective = OfBothRanks(SelfNpo(settings, material, StartPoints(), processes=2))
    return [trainer.step(objective).loss for _ in range(settings.steps)]


def first_step(workspace, run, settings, ranks):
    """Loss and gradient norm of the first step, over the samples of all ranks, in this process."""
    family = get("sd15")
    pipe = family.load(workspace.models / "tiny")
    material = gather(settings, run.folder, pipe, family, [], Accelerator(cpu=True))
    student = Student(pipe.unet, family.lora_targets, settings)
    objective = SelfNpo(settings, material, StartPoints())
    total = torch.zeros(())
    for rank in ranks:
        with student.reference() as network:
            batch = objective.batch(
                lambda *args, network=network: family.predict(network, *args), 0, rank, torch.device("cpu")
            )
        total = total + objective.loss(lambda *args: family.predict(pipe.unet, *args), batch) / len(ranks)
    total.backward()
    norms = torch.stack([p.grad.norm() for p in student.parameters if p.grad is not None])
    return float(total.detach()), float(norms.norm())


def test_fault_48_a_stale_process_id_is_not_taken_for_the_run(workspace):
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


def test_the_newest_events_are_read_at_a_cost_that_does_not_grow(tmp_path):
    journal = Journal(tmp_path)
    step = {"loss": 1.0, "learning_rate": 1.0, "gradient_norm": 1.0, "rate": 1.0, "memory": 1}
    for n in range(1000):
        journal.append(StepDone(step=n, **step))
    newest = read_newest(tmp_path, size=2000)
    assert [e.step for e in newest] == list(range(1000 - len(newest), 1000)) and 5 < len(newest) < 20
    assert len(read_newest(tmp_path, size=10**7)) == 1000


def test_a_follower_parses_only_what_is_new(tmp_path, monkeypatch):
    journal, follower = Journal(tmp_path), Follower(tmp_path)
    assert follower.events() == ([], 0)
    step = {"loss": 1.0, "learning_rate": 1.0, "gradient_norm": 1.0, "rate": 1.0, "memory": 1}
    parsed = []
    real = journal_module.from_json
    monkeypatch.setattr(journal_module, "from_json", lambda line: parsed.append(line) or real(line))
    for n in range(5):
        journal.append(StepDone(step=n, **step))
        events, position = follower.events()
        assert [e.step for e in events] == list(range(n + 1)) and position == (tmp_path / FILE).stat().st_size
    follower.events()
    assert len(parsed) == 5
    (tmp_path / FILE).unlink()  # deleted, and another of its name begun
    Journal(tmp_path).append(StepDone(step=9, **step))
    assert [e.step for e in follower.events()[0]] == [9]


def test_runs_are_listed_newest_first_and_strangers_passed_over(workspace):
    (workspace.runs / "not-a-run").mkdir()
    one, two = create_run(workspace, config(), "one"), create_run(workspace, config(), "two")
    os.utime(one.folder / "config.json", (1, 1))
    assert [run.id for run in list_runs(workspace)] == [two.id, one.id]
    assert list_runs(workspace)[0].status == "new"


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "..", "con", "$(touch x)", "", "--cpu", "x" * 300, "é\u202e"])
def test_fault_29_any_name_becomes_a_safe_folder_name(name):
    made = slug(name)
    assert made and "/" not in made and ".." not in made and not made.startswith(("-", ".")) and len(made) <= 64


@pytest.mark.parametrize("name", ["../runs", "nothing", ".."])
def test_an_unknown_run_is_refused(workspace, name):
    with pytest.raises(StudioError, match="There is no run"):
        get_run(workspace, name)


def test_fault_36_too_little_disk_is_refused_with_the_figures(workspace, monkeypatch):
    monkeypatch.setattr(Workspace, "free_bytes", lambda self: 10**7)
    with pytest.raises(StudioError, match="0.0 GB free; a run needs 0.3 GB"):
        create_run(workspace, config())


def test_a_queue_starts_the_next_run_when_one_has_ended_and_a_paused_run_can_be_tried(tmp_path):
    from core.studio.runs.forecast import plan

    workspace = Workspace(tmp_path)
    config = TrainConfig(steps=3, batch_size=2, pool_size=2, ddim_grid=6, rollout_steps=2, preview_every=0)
    assert plan(workspace, config).seconds is None
    first, second = (enqueue(workspace, create_run(workspace, config, name), cpu=True) for name in ("one", "two"))
    assert (first.status, second.status) == ("running", "queued")
    deadline = time.monotonic() + 150
    while second.status != "finished" and time.monotonic() < deadline:
        time.sleep(0.3)
        reap()
    assert (first.status, second.status) == ("finished", "finished")
    forecast = plan(workspace, config)
    assert forecast.like == second.id and forecast.seconds > 0 and forecast.memory > 2**20
