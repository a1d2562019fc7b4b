"""A training outlives whoever started it, and dies whole: neither the page's server nor one of several ranks matters more."""

import os
import signal
import sys
import time

import psutil
import pytest

from core.events import StepDone
from core.studio.runs.process import end_run, start_run
from core.studio.runs.run import create_run, get_run, list_runs
from core.studio.runs.turn import holder_of
from tests.builders import warm
from tests.builders.runs import config, wait

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("warm_runs")]

SERVER = """
import sys, time
from core.studio.runs.process import begin_run
from core.studio.workspace import Workspace
from tests.builders.runs import config
print(begin_run(Workspace(sys.argv[1]), config(steps=100_000, checkpoint_every=90_000), "mine", cpu=True).id, flush=True)
time.sleep(600)
"""


def steps(run):
    return sum(isinstance(event, StepDone) for event in run.events()[0])


def test_row_47_a_training_continues_when_the_server_that_started_it_is_killed(workspace):
    server = warm.popen([sys.executable, "-c", SERVER, str(workspace.root)], stdout=warm.subprocess.PIPE, text=True)
    name = server.stdout.readline().strip()
    run = get_run(workspace, name)
    wait(run, lambda r: steps(r) > 2)
    os.kill(server.pid, signal.SIGKILL)
    server.wait(20)
    reached = steps(run)
    wait(run, lambda r: steps(r) > reached + 2)
    # the next server finds it running, is not allowed a second one, and can end it
    assert [(one.id, one.status) for one in list_runs(workspace)] == [(name, "running")]
    assert holder_of(workspace.root).run == name and start_run(run, cpu=True).process().pid == run.process().pid
    run.request("pause")
    wait(run, lambda r: r.status == "paused")


def test_row_50_when_one_rank_dies_all_end_within_half_a_minute(workspace):
    run = create_run(workspace, config(steps=100_000, checkpoint_every=90_000, start="noise"))
    start_run(run, cpu=True, processes=2)
    try:
        wait(run, lambda r: steps(r) > 2)
        launcher = run.process()
        ranks = [p for p in psutil.process_iter(["cmdline"]) if is_rank(p, run)]
        assert len(ranks) == 2
        ranks[1].kill()
        began = time.monotonic()
        psutil.wait_procs([*ranks, launcher], timeout=60)
        assert time.monotonic() - began < 30
        assert run.process() is None and run.status in ("interrupted", "failed")
        assert holder_of(workspace.root) is None, "the next one may train"
    finally:
        end_run(run)


def is_rank(process, run):
    command = process.info["cmdline"] or []
    return str(run.folder) in command and "torch.distributed.run" not in command
