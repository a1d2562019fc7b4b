"""Actions of Train."""

import dataclasses

from app.page import (
    curves,
    train_actions,
)
from core.studio.runs import process
from core.studio.runs.run import get_run
from tests.builders.actions import STARTED, done, run_with


def test_a_plan_shows_the_time_of_the_first_run_from_the_speed_of_rendering(engine):
    values = train_actions.recipe_values("studio")
    form = {name: values[name] for name in train_actions.CONTROLS}
    changes = train_actions.forecast(engine, "miniature-sd15", "studio", form)
    assert "from the speed of rendering" in changes["plan"] and changes["start_run"]["interactive"]
    engine.seconds = None
    assert "known after" in train_actions.forecast(engine, "miniature-sd15", "studio", form)["plan"]
    wrong = train_actions.forecast(engine, "miniature-sd15", "studio", {**form, "steps": None})
    assert "Steps is empty" in wrong["plan"] and not wrong["start_run"]["interactive"]


def test_recipe_profile_and_rank_fill_the_form(workspace):
    paper = train_actions.choose_recipe("paper")
    assert set(train_actions.CONTROLS) < set(paper) and paper["former_rank"] == paper["rank"]
    small = train_actions.choose_profile(workspace, "miniature-sd15", "8")
    assert set(small) == {"meaning"} and train_actions.choose_profile(workspace, "miniature-sd15", "") == {}
    assert 'role="alert"' in train_actions.choose_profile(workspace, "none such", "8")["meaning"]
    assert train_actions.rank_changed(16, 8, 8) == {"former_rank": 16, "lora_alpha": 16}
    assert train_actions.rank_changed(16, 4, 8) == {"former_rank": 16}


def test_a_second_start_shows_the_first_and_a_wrong_one_says_why(engine, workspace, monkeypatch):
    started = []
    monkeypatch.setattr(process, "start_run", lambda run, cpu: started.append(run.id) or run)
    monkeypatch.setattr(train_actions, "enqueue", lambda workspace, run, cpu: started.append(run.id) or run)
    values = train_actions.recipe_values("studio")
    form = {name: values[name] for name in train_actions.CONTROLS}
    first = train_actions.start(engine, "miniature-sd15", "studio", form)
    assert started == [first["run_id"]] and first["note"] == ""
    monkeypatch.setattr(train_actions, "_running", lambda workspace: first["run_id"])
    second = train_actions.start(engine, "miniature-sd15", "studio", form)
    assert second["run_id"] == first["run_id"] and "is already training" in second["note"] and len(started) == 1
    assert "in the queue" in train_actions.enqueue_run(engine, "miniature-sd15", "studio", form)["note"]
    assert 'role="alert"' in train_actions.start(engine, "none such", "studio", form)["note"]


def test_watching_a_run_changes_only_what_is_new_and_clears_the_note_when_it_ends(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1), done(2))
    first = train_actions.watch(workspace, run.id, curves.Shown())
    assert "<svg" in first["curve"] and "step 2 of 100" in first["run_status"] and first["resume"]["interactive"]
    again = train_actions.watch(workspace, run.id, first["seen"])
    assert set(again) == {"timer", "seen"} and not again["timer"].active
    was = dataclasses.replace(first["seen"], status="running")
    assert train_actions.watch(workspace, run.id, was)["note"] == ""
    assert "No run chosen" in train_actions.watch(workspace, "", curves.Shown())["run_status"]
    assert 'role="alert"' in train_actions.watch(workspace, "none", curves.Shown())["run_status"]


def test_what_was_asked_of_a_run_is_shown_until_it_is_done(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(3))
    assert "not running" in train_actions.ask(workspace, run.id, "pause")["run_status"]
    monkeypatch.setattr(type(run), "process", lambda self: object())
    changes = train_actions.ask(workspace, run.id, "pause")
    assert not changes["pause"]["interactive"] and get_run(workspace, run.id).requested == "pause"
    assert "pausing after this step" in curves.status_line(run, run.events()[0])
    assert not train_actions.watch(workspace, run.id, curves.Shown())["stop_run"]["interactive"]


def test_resume_and_attach(engine, workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1))
    monkeypatch.setattr(train_actions, "start_run", lambda run, cpu: run)
    assert "Resuming" in train_actions.resume(engine, run.id)["run_status"]
    assert 'role="alert"' in train_actions.resume(engine, "none")["run_status"]
    assert train_actions.attach(workspace, run.id, "")["run_id"] == run.id
    assert train_actions.attach(workspace, "gone", "")["run_id"] == ""
    assert train_actions.base_of(workspace, run.id) == "miniature-sd15" and train_actions.base_of(workspace, "x") == ""
