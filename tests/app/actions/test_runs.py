"""Actions of Runs."""

from pathlib import Path

from app.page import runs_actions
from core.events import RunFinished
from core.studio.runs.notes import read_notes
from tests.builders.actions import STARTED, done, run_with


def test_runs_are_looked_at_noted_compared_put_away_and_brought_back(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    one = run_with(workspace, STARTED, done(1), RunFinished(offset="o"))
    two = run_with(workspace, STARTED, done(1), done(2), rank=16)
    refreshed = runs_actions.refresh(workspace, None)
    assert len(refreshed["runs"]["choices"]) == 2 and refreshed["runs"]["value"] in (one.id, two.id)
    looked = runs_actions.look(workspace, one.id)
    assert (
        "finished" in looked["runs_status"]
        and not looked["download"]["interactive"]
        and not looked["runs_timer"].active
    )
    assert "No runs yet" in runs_actions.look(workspace, None)["runs_status"]
    (one.folder / "offset.safetensors").write_bytes(b"x")
    followed = runs_actions.follow(workspace, one.id)
    assert followed["download"]["interactive"] and followed["runs_use"]["interactive"]
    served = Path(followed["download"]["value"])
    assert served.read_bytes() == b"x" and served.is_relative_to(tmp_path / "served"), "Gradio sends nothing else"
    assert runs_actions.follow(workspace, one.id)["download"]["value"] == str(served)
    named = runs_actions.keep_notes(workspace, one.id, "The good one", "because")
    assert any(line.startswith("The good one") for line, _ in named["runs"]["choices"])
    assert read_notes(one).text == "because"
    assert "at most" in runs_actions.keep_notes(workspace, one.id, "x" * 121, "")["runs_status"]
    both = runs_actions.overlay(workspace, [one.id, two.id])
    assert both["runs_chart"].count("<polyline") == 2 and "<td>16</td>" in both["runs_table"]
    gone = runs_actions.delete(workspace, two.id, [one.id, two.id])
    assert gone["runs_chart"].count("<polyline") == 1 and gone["beside"]["value"] == [one.id]
    assert gone["runs_undo"]["interactive"] and len(gone["runs"]["choices"]) == 1
    back = runs_actions.undo(workspace, gone["runs_away"])
    assert len(back["runs"]["choices"]) == 2 and 'role="alert"' in runs_actions.undo(workspace, "/tmp/x")["runs_status"]
    again = runs_actions.duplicate(workspace, two.id)
    assert (
        again["rank"] == 16 and again["train_base"] == "miniature-sd15" and runs_actions.duplicate(workspace, "x") == {}
    )


def test_a_run_that_runs_is_followed_until_it_has_ended(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1))
    monkeypatch.setattr(type(run), "process", lambda self: object())
    looked = runs_actions.look(workspace, run.id)
    assert looked["runs_timer"].active and not looked["delete_run"]["interactive"]
    assert "is running" in runs_actions.delete(workspace, run.id, [])["runs_status"]
    monkeypatch.setattr(type(run), "process", lambda self: None)
    assert not runs_actions.follow(workspace, run.id)["runs_timer"].active
