"""launch.py: an interrupted install is mended, a fit environment is used, and each fault is one sentence."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import launch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with a lock of one package, and no environment yet."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\nalpha==1.0\n")
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(launch, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(launch, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    return tmp_path, [lock]


def test_an_environment_that_holds_the_lock_is_used_as_it_is(house, monkeypatch):
    _, locks = house
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0+cpu")
    assert launch.python_for(locks) == sys.executable


@pytest.mark.parametrize("found", ["1.1", None])
def test_one_that_does_not_is_left_alone_and_a_new_one_made(house, monkeypatch, found):
    _, locks = house

    def version(name):
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    asked = []
    monkeypatch.setattr(launch, "install", asked.append)
    assert launch.python_for(locks) == str(launch.PYTHON) and asked == [locks]


def test_an_interrupted_install_is_mended_by_the_next_start(house, monkeypatch):
    _, locks = house
    calls = []

    def interrupted(arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch.install(locks)
    assert not launch.stamped(locks)
    monkeypatch.setattr(launch, "pip", calls.append)
    launch.install(locks)
    assert launch.stamped(locks) and calls[-1] == ["-r", str(locks[0])]
    calls.clear()
    assert launch.python_for(locks) == str(launch.PYTHON) and not calls


def test_another_lock_is_installed_again(house, monkeypatch):
    _, locks = house
    monkeypatch.setattr(launch, "pip", lambda arguments: None)
    launch.install(locks)
    locks[0].write_text("alpha==2.0\n")
    assert not launch.stamped(locks)


def test_a_full_disk_is_said_with_the_figures_before_anything_is_made(house, monkeypatch):
    folder, locks = house
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**8})())
    with pytest.raises(SystemExit, match="needs 3 GB; 0.1 GB are free"):
        launch.install(locks)
    assert not (folder / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_said(house, monkeypatch):
    _, locks = house
    monkeypatch.setattr(launch.os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match="cannot be written"):
        launch.install(locks)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("[Errno 13] Permission denied", "cannot be written"),
        ("ERROR: No matching distribution found for alpha==1.0", "not to be had"),
    ],
)
def test_a_failing_pip_ends_in_one_sentence(house, monkeypatch, printed, said):
    folder, locks = house
    script = folder / "fake-python"
    script.write_text(f"#!/bin/sh\necho '{printed}'\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(launch, "PYTHON", script)
    with pytest.raises(SystemExit, match=said):
        launch.pip(["alpha"])


def test_an_old_python_is_told_so_in_a_sentence():
    code = "import sys; sys.version_info = (3, 8, 1); exec(compile(open('launch.py').read(), 'launch.py', 'exec'))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and "needs Python 3.11 or newer; this is 3.8" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_locks_pin_every_direct_dependency():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {launch.re.split(r"[<>=\[ ]", need)[0].lower().replace("_", "-") for need in project["dependencies"]}
    assert names <= {name.lower().replace("_", "-") for name in launch.pins(ROOT / "requirements.lock")}
    tools = set(project["optional-dependencies"]["test"])
    assert tools <= set(launch.pins(ROOT / "requirements-test.lock"))
