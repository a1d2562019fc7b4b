"""Actions of Library and Settings."""

import json

from app.page import (
    library_actions,
    settings_actions,
)


def test_the_library_lists_and_says_what_a_file_is_or_why_not(workspace, tmp_path):
    changes = library_actions.refresh(workspace)
    assert "sd15-mini-negative" in changes["file"]["choices"] and changes["table"]["headers"][0] == "name"
    assert "diffusers" in library_actions.tell(workspace, "sd15-mini-negative")["library_status"]
    assert 'role="alert"' in library_actions.tell(workspace, None)["library_status"]
    assert 'role="alert"' in library_actions.to_kohya(workspace, None, "miniature-sd15")["library_status"]
    for action in (library_actions.extract, library_actions.merge):
        assert 'role="alert"' in action(workspace, None, "miniature-sd15", 4)["library_status"]
    assert library_actions.bring(workspace, None) == {}
    assert 'role="alert"' in library_actions.change_folder(workspace, "/none/such", added=True)["library_status"]
    (tmp_path / "models").mkdir()
    added = library_actions.change_folder(workspace, str(tmp_path / "models"), added=True)
    assert "models" in added["library_status"] and str(tmp_path) not in added["library_status"]
    removed = library_actions.change_folder(workspace, str(tmp_path / "models"), added=False)
    assert "models" not in removed["library_status"]
    assert 'role="alert"' in list(library_actions.fetch(workspace, "not a repo", ""))[-1]["library_status"]


def test_settings_keep_what_a_self_test_found_and_say_where_things_are(workspace, monkeypatch):
    monkeypatch.setattr(settings_actions.doctor, "facts", lambda workspace, **_: {"a": 1})
    monkeypatch.setattr(settings_actions.doctor, "self_test", lambda cpu: iter([("x", True, ""), ("y", False, "no")]))
    assert json.loads(settings_actions.tell(workspace, "")["report"]) == {"a": 1}
    assert settings_actions.tell(workspace, "kept")["report"] == "kept"
    report = json.loads(list(settings_actions.check(workspace, cpu=True))[-1]["report"])
    assert report["self_test"] == {"x": "ok", "y": "FAILED no"}
    assert str(workspace.runs) in settings_actions.where(workspace)
