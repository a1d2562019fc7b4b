"""What Train and Runs show of a run: its state, curve and previews."""

import dataclasses

import pytest
from PIL import Image

from app.page import curves
from core.events import PoolProgress, PreviewSaved, RunFailed
from core.studio.runs.journal import Journal
from tests.builders.actions import STARTED, done, run_with


def test_what_a_run_says_of_itself(workspace):
    drawing = run_with(workspace, STARTED, PoolProgress(done=3, total=9))
    assert "interrupted" in curves.status_line(drawing, drawing.events()[0])
    failed = run_with(workspace, STARTED, done(1), RunFailed(message="It <b>broke.", remedy="Repair it."))
    assert "It &lt;b&gt;broke." in curves.status_line(failed, failed.events()[0])
    Image.new("RGB", (8, 8)).save(failed.folder / "p.png")
    shown = curves.preview_board(failed, [PreviewSaved(step=4, plain=("p.png",), guided=("p.png",))])
    assert shown.count("data:image") == 2 and "with, step 4" in shown and curves.preview_board(failed, []) == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.13, 0.131), (0, 5000), (3, 3), (float("nan"), 1)])
def test_ticks_are_few_and_within(low, high):
    ticks = curves.ticks(low, high)
    assert 1 <= len(ticks) <= 7 and (len(ticks) == 1 or all(low <= tick <= high for tick in ticks))


def test_a_chart_draws_each_run_and_survives_odd_losses():
    assert curves.loss_chart({}) == curves.loss_chart({"a": [(1, float("nan"))]}) == ""
    chart = curves.loss_chart({"a": [(1, 0.5), (2, 0.25)], "b<": [(1, 0.5)]})
    assert chart.count("<polyline") == 2 and "b&lt;" in chart
    points = curves.loss_points([done(step) for step in range(1, 1001)])
    assert len(points) <= curves.POINTS and points[0][0] < points[-1][0]


def test_time_left_is_unknown_after_resume_until_the_first_step_of_the_new_process(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(50), dataclasses.replace(STARTED, step=50, resumed=True))
    monkeypatch.setattr(type(run), "process", lambda self: object())
    resumed = curves.status_line(run, run.events()[0])
    assert "loading" in resumed and ">left" not in resumed and "left <b>" not in resumed
    journal = Journal(run.folder)
    journal.append(done(51, rate=0.5))
    journal.close()
    assert "left <b>1 min 38 s</b>" in curves.status_line(run, run.events()[0])
