"""The list of renderings that wait, without a browser."""

import pytest

from app.page import waiting
from app.page.waiting import Job, WaitingList
from core.studio.comparing.settings import opening_values
from core.studio.workspace import Workspace
from tests.builders.player import Player


@pytest.fixture
def engine(tmp_path):
    return Player(Workspace(tmp_path / "space"))


@pytest.fixture
def values(engine):
    return opening_values(engine.workspace, {"images": 1})


def prompts(asked):
    return [comparison.prompt for comparison in asked]


def test_what_waits_is_rendered_in_the_order_it_was_put_into_and_each_fault_is_its_own(engine, values):
    jobs = WaitingList()
    going = waiting.render_all(engine, Job({**values, "prompt": "one"}), "fixed", jobs, lambda: False, lambda: None)
    next(going)
    for prompt in ("two", "three", "four", "five"):
        changes = waiting.enqueue(jobs, Job({**values, "prompt": prompt}))
    assert changes["waiting"].count("<li") == 4 and "two" in changes["waiting"]
    keys = {job.values["prompt"]: job.key for job in jobs.jobs}
    waiting.change(jobs, keys["four"], "up")
    waiting.change(jobs, keys["two"], "down")
    assert "five" not in waiting.change(jobs, keys["five"], "remove")["waiting"]
    waiting.change(jobs, 99, "up")
    waiting.change(jobs, "x", "remove")
    steps = list(going)
    assert prompts(engine.asked) == ["one", "four", "two", "three"]
    assert steps[-1]["waiting"] == "" and not jobs.busy
    assert steps[-1]["status"].startswith("Done."), "the last answer holds the result: a program reads no other"


def test_a_stop_ends_the_current_one_and_the_next_begins(engine, values):
    jobs, stopped = WaitingList(), []
    going = waiting.render_all(
        engine, Job({**values, "prompt": "one"}), "fixed", jobs, lambda: bool(stopped), stopped.clear
    )
    next(going)
    waiting.enqueue(jobs, Job({**values, "prompt": "two"}))
    stopped.append(True)
    final = {}
    for changes in going:
        final |= changes
    assert prompts(engine.asked) == ["one", "two"] and final["records"][0].cells[0].settings["prompt"] == "two"


def test_nothing_that_cannot_be_rendered_is_accepted(engine, values):
    jobs = WaitingList()
    assert "Nothing is being rendered" in waiting.enqueue(jobs, Job(values))["status"]
    jobs.begin()
    assert "Strength ω is 99" in waiting.enqueue(jobs, Job({**values, "omega": 99}))["status"]
    for _ in range(waiting.MOST):
        waiting.enqueue(jobs, Job(values))
    assert "16 renderings wait already" in waiting.enqueue(jobs, Job(values))["status"]
    jobs.end()
    assert jobs.jobs == [] and waiting.listing(jobs) == ""


def test_a_page_that_was_closed_leaves_nothing_waiting(engine, values):
    jobs = WaitingList()
    going = waiting.render_all(engine, Job(values), "fixed", jobs, lambda: False, lambda: None)
    next(going)
    waiting.enqueue(jobs, Job(values))
    going.close()
    assert not jobs.jobs and not jobs.busy
