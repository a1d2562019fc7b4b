"""The report for a bug: it says what is needed, leaks nothing, asks nobody unasked, and survives what it reports."""

import getpass
import json
import socket
import sys
from pathlib import Path

import pytest

from core.errors import StudioError
from core.studio import doctor
from core.studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "a-private-name")


def test_the_report_has_what_a_bug_needs_and_nothing_private(workspace, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    facts = doctor.facts(workspace)
    assert facts["packages"]["torch"] and facts["memory_gib"] > 0 and all(facts["folders_writable"].values())
    assert facts["hub"] == "offline by setting"
    text = json.dumps(facts)
    for private in ("hf_secret", "a-private-name", str(Path.home()) + "/", sys.prefix, str(workspace.root)):
        assert private not in text
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text


def test_the_hub_is_asked_only_where_it_is_asked_for(workspace, monkeypatch):
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: asked.append(a) or _refused())
    assert doctor.facts(workspace, ask_hub=False)["hub"] == "not asked" and not asked
    assert doctor.facts(workspace)["hub"].startswith("not reachable") and len(asked) == 1


def _refused():
    raise OSError


def test_a_folder_that_cannot_be_written_and_a_card_that_does_not_answer_are_reported(workspace, monkeypatch):
    def broken():
        raise RuntimeError(f"CUDA error in {workspace.root}")

    monkeypatch.setattr(doctor, "_card", broken)
    workspace.models.rmdir()
    workspace.models.write_text("in the way")
    facts = doctor.facts(workspace, ask_hub=False)
    assert facts["folders_writable"]["models"] is False and facts["folders_writable"]["runs"] is True
    assert facts["gpu"].startswith("could not be asked: RuntimeError in test_doctor.py, line ")
    assert "a-private-name" not in json.dumps(facts)


def test_the_self_test_works_here_and_names_what_does_not(workspace, monkeypatch):
    checks = list(doctor.self_test(cpu=True))
    assert [name for name, right, _ in checks if right] == [
        "render a pair",
        "pictures keep their settings",
        "the offset changes the picture",
        "train two steps",
    ]

    def broken(cpu):
        raise ImportError(f"cannot open {workspace.root}")
        yield

    def refused(cpu):
        raise StudioError("The model “x” is damaged.", "Copy it again.")
        yield

    broken.__name__, refused.__name__ = "_render_a_pair", "_train_two_steps"
    monkeypatch.setattr(doctor, "_render_a_pair", broken)
    monkeypatch.setattr(doctor, "_train_two_steps", refused)
    (first, second) = doctor.self_test(cpu=True)
    assert first[:2] == ("render a pair", False) and first[2].startswith("ImportError in test_doctor.py, line ")
    assert second == ("train two steps", False, "The model “x” is damaged. Copy it again.")
