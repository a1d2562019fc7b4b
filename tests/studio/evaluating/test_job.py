"""An evaluation as a job: started, watched, stopped, resumed, killed; figures as they come."""

import errno
import json
import signal
import time
import tracemalloc

import pytest

from core.errors import DiskFull, StudioError
from core.files import cannot_write
from core.miniature.scorers import JudgeScorer
from core.miniature.world.scene import sample_prompts
from core.studio.evaluating import events, job, work
from core.studio.evaluating.estimate import estimate_of
from core.studio.evaluating.folder import create_evaluation
from core.studio.evaluating.report import write_report
from core.studio.evaluating.settings import NPO, row_forwards
from core.studio.evaluating.share import work_through
from core.studio.evaluating.state import list_states, state_of
from tests.builders.evaluations import LEAN, contents, prepared, settings

pytestmark = pytest.mark.long


@pytest.fixture
def space(workspace, tmp_path):
    return prepared(workspace, tmp_path)


def waited(evaluation, done, seconds=120):
    """The state once `done` says so of it."""
    deadline = time.monotonic() + seconds
    while not done(state := state_of(evaluation)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return state


def test_a_share_is_journaled_and_the_last_writes_the_report(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path, **LEAN))
    assert state_of(evaluation).status == "new"
    list(work_through(space, evaluation, shard=(0, 2), cpu=True))
    state = state_of(evaluation)
    assert (state.status, state.done, state.total, state.pairs, state.planned) == ("stopped", 1, 2, 2, 4)
    assert state.report is None and not state.verdict
    list(work_through(space, evaluation, shard=(1, 2), cpu=True))
    state = state_of(evaluation)
    assert state.status == "finished" and state.report.is_file() and "against CFG" in state.verdict
    kinds = [type(event).__name__ for event in events.read_events(evaluation.folder)[0]]
    assert kinds == ["Started", "Measured", "ChunkDone", "ShareDone", "Started", "Measured", "ChunkDone", "Finished"]


def test_figures_come_with_the_chunks_and_agree_with_the_report(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path))
    seen = []
    for event in work_through(space, evaluation, cpu=True):
        if isinstance(event, events.ChunkDone):
            seen.append(state_of(evaluation).rows)
    assert [rows[0].pairs for rows in seen] == [2, 4]
    report = write_report(evaluation)
    for row in seen[-1]:
        of_report = next(r for r in report["scorers"][row.scorer]["rows"] if r["column"] == row.column)
        assert row.mean == pytest.approx(of_report["mean"]["value"], abs=1e-6)
        if row.column == NPO:
            assert row.difference is None
        else:
            against = of_report["npo_against_it"]
            assert row.difference == pytest.approx(against["difference"]["value"], abs=1e-6)
            assert row.wins == pytest.approx(against["wins"]["value"]) and row.low <= row.difference <= row.high


def test_a_stop_keeps_what_is_done_and_continuing_ends_in_the_same_files(space, tmp_path):
    whole, stopped = (create_evaluation(space, settings(tmp_path, **LEAN)) for _ in range(2))
    list(work_through(space, whole, cpu=True))
    for event in work_through(space, stopped, cpu=True):
        if isinstance(event, events.ChunkDone):
            job.stop(stopped)
    assert (state_of(stopped).status, stopped.done()) == ("stopped", 1)
    job.allow(stopped)
    list(work_through(space, stopped, cpu=True))
    assert state_of(stopped).status == "finished" and contents(stopped) == contents(whole)


def test_a_fault_is_in_the_journal_and_what_is_done_stays(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path, **LEAN))
    list(work_through(space, evaluation, shard=(0, 2), cpu=True))
    (space.offsets / "bad.safetensors").unlink()
    with pytest.raises(StudioError, match="no offset"):
        list(work_through(space, evaluation, cpu=True))
    state = state_of(evaluation)
    assert (state.status, state.done) == ("failed", 1) and "no offset" in state.message and state.rows


def test_a_full_disk_is_reported_and_finished_work_is_continued(space, tmp_path, monkeypatch):
    whole, full = (create_evaluation(space, settings(tmp_path, **LEAN)) for _ in range(2))
    list(work_through(space, whole, cpu=True))
    sound = work.write_json

    def filling(path, *args, **options):
        if path.name == "000001.json":
            raise cannot_write(path.name, OSError(errno.ENOSPC, "no room"))
        sound(path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(work, "write_json", filling)
        with pytest.raises(DiskFull, match="disk is full"):
            list(work_through(space, full, cpu=True))
    state = state_of(full)
    assert (state.status, state.done, state.remedy) == ("failed", 1, "Free disk space.")
    list(work_through(space, full, cpu=True))
    assert contents(full) == contents(whole)


def test_the_cost_of_a_hundred_thousand_prompts_is_shown_without_holding_them(space, tmp_path):
    many, text = tmp_path / "many.txt", sample_prompts(1, seed=1)[0]
    with many.open("w") as file:
        for number in range(100_000):
            file.write(f"{text}, number {number}\n")
    chosen = settings(tmp_path, prompts=str(many), count=100_000, keep=100)
    tracemalloc.start()
    cost = estimate_of(space, chosen, pace=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cost.prompts == 100_000 and cost.seconds > 3600 and cost.disk > 100_000 * 800
    assert peak < 8_000_000, "less than the file itself"


def test_scorers_leave_the_device_when_the_work_ends_however_it_ends(space, tmp_path, monkeypatch):
    places = []
    monkeypatch.setattr(JudgeScorer, "to", lambda self, device: places.append(device))
    evaluation = create_evaluation(space, settings(tmp_path, scorers=("judge-preference",)))
    for _ in work.run_evaluation(space, evaluation, device="cpu"):
        break  # before the first chunk
    (space.offsets / "bad.safetensors").unlink()
    with pytest.raises(StudioError):
        list(work.run_evaluation(space, evaluation, device="cpu"))
    assert places == ["cpu", "cpu"]


def test_a_damaged_evaluation_is_named_and_the_others_are_listed(space, tmp_path):
    first, second = (create_evaluation(space, settings(tmp_path), name) for name in ("a", "b"))
    (first.folder / "settings.json").write_text("{")
    faults = []
    assert [state.id for state in list_states(space, faults.append)] == [second.id] and len(faults) == 1


def test_lines_of_a_journal_that_cannot_be_read_are_passed_over(tmp_path):
    events.append_event(tmp_path, events.Stopped(done=1, total=2))
    with (tmp_path / events.FILE).open("a") as file:
        file.write('{"event": "ChunkDone"}\n[1]\n{"event": "Stopped", "do')
    events.append_event(tmp_path, events.Stopped(done=2, total=2))
    assert [event.done for event in events.read_events(tmp_path)[0]] == [1, 2]


def test_the_cost_is_shown_before_anything_is_made(space, tmp_path):
    chosen = settings(tmp_path)
    before = estimate_of(space, chosen)
    assert before.row_forwards == row_forwards(chosen) and before.seconds is None and before.prompts == 4
    assert before.columns == 7, "NPO, two controls, CFG at 1, 2, 3 and at the effective scale"
    assert estimate_of(space, chosen, pace=0.5).seconds == before.row_forwards / 2
    assert not list_states(space)
    evaluation = create_evaluation(space, chosen)
    list(work_through(space, evaluation, cpu=True))
    after = estimate_of(space, settings(tmp_path, cfg=(1.0,)))
    assert after.like == evaluation.id and 0 < after.seconds < 600


@pytest.mark.slow
def test_a_detached_job_outlives_its_starter_is_killed_and_continues_in_two_processes(space, tmp_path):
    whole, shared = (create_evaluation(space, settings(tmp_path, batch=1)) for _ in range(2))
    list(work_through(space, whole, cpu=True))
    job.start(shared, cpu=True)
    assert waited(shared, lambda state: state.done).status == "running"
    for process in job.running(shared):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert state_of(shared).status == "interrupted"
    job.start(shared, cpu=True, processes=2)
    assert waited(shared, lambda state: state.status == "finished").status == "finished"
    assert contents(shared) == contents(whole)
    assert write_report(shared)["scorers"] == write_report(whole)["scorers"]
    begun = [e for e in events.read_events(shared.folder)[0] if isinstance(e, events.Started)]
    assert {event.share for event in begun} == {"1/1", "1/2", "2/2"}
    assert json.loads((shared.folder / "report.json").read_text())["pairs"] == 4
