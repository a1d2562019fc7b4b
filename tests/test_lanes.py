"""The test command: it finds or installs a browser, runs every check, and sorts the tests into lanes."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import lanes
from tests.builders import warm

ROOT = Path(__file__).parents[1]


class Machine:
    """A machine with some browsers on it, of which some start, and commands that install more or fail."""

    def __init__(self, monkeypatch, folder, *, root=False, apt=False):
        self.folder, self.asked, self.effects = folder, [], {}
        self.broken: set[str] = set()
        monkeypatch.setattr(lanes, "installed_browsers", lambda: [None, str(folder / "chromium")])
        monkeypatch.setattr(lanes.subprocess, "run", self.run)
        monkeypatch.setattr(lanes.shutil, "which", lambda name: name if apt else None)
        monkeypatch.setattr(lanes.os, "geteuid", lambda: 0 if root else 1000, raising=False)

    def put(self, name):
        (self.folder / name).touch()

    def run(self, command, **options):
        answer = subprocess.CompletedProcess(command, 0, "", "")
        if command[-1] == "--version":
            answer.returncode = int(Path(command[0]).name in self.broken)
        elif command[:2] == [sys.executable, "-c"]:
            answer.stdout = f"{self.folder / 'playwrights-own'}\n"
        else:
            self.asked.append(" ".join(command))
            effect = self.effects.get(command[-1])
            if effect is None:
                answer.returncode = 1
            elif effect:
                self.put(effect)
        return answer


def test_an_installed_browser_is_taken_and_nothing_is_installed(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path)
    machine.put("chromium")
    assert lanes.find_browser() == str(tmp_path / "chromium") and not machine.asked


def test_a_browser_that_does_not_start_does_not_count(monkeypatch, tmp_path):
    """Its libraries are missing, or it is a stub that wants another package manager."""
    machine = Machine(monkeypatch, tmp_path)
    machine.put("chromium")
    machine.put("playwrights-own")
    machine.broken = {"chromium"}
    assert lanes.find_browser() == str(tmp_path / "playwrights-own") and not machine.asked


def test_without_one_playwrights_own_is_installed(monkeypatch, tmp_path):
    machine = Machine(monkeypatch, tmp_path, root=True, apt=True)
    machine.effects = {"chromium": "playwrights-own"}
    assert lanes.find_browser() == str(tmp_path / "playwrights-own")
    assert machine.asked == [f"{sys.executable} -m playwright install chromium"]


@pytest.mark.parametrize(("root", "apt"), [(True, True), (True, False), (False, True)])
def test_where_that_fails_the_systems_packages_are_asked_if_this_user_may(monkeypatch, tmp_path, capsys, root, apt):
    machine = Machine(monkeypatch, tmp_path, root=root, apt=apt)
    playwright = machine.run

    def run(command, **options):
        if command[0] == "apt-get" and command[-1] == "chromium":
            machine.put("chromium")
        return playwright(command, **options)

    monkeypatch.setattr(lanes.subprocess, "run", run)
    assert lanes.find_browser() == (str(tmp_path / "chromium") if root and apt else "")
    assert any("apt-get" in command for command in machine.asked) == (root and apt)
    assert "That did not work" in capsys.readouterr().out


def checks(monkeypatch, arguments, *, browser="/b", broken=None, code=0):
    """What was run, and the result."""
    ran = []

    def run(command, env, **options):
        ran.append((command[2:], env))
        return subprocess.CompletedProcess(command, code if command[2] == broken else 0)

    monkeypatch.setattr(lanes, "find_browser", lambda: browser)
    monkeypatch.setattr(lanes.subprocess, "run", run)
    return lanes.run_checks(arguments), ran


@pytest.mark.parametrize(("broken", "code"), [(None, 0), ("ruff", 1), ("pytest", 5)])
def test_every_check_is_run_and_the_first_that_fails_is_the_result(monkeypatch, capsys, broken, code):
    result, ran = checks(monkeypatch, ["--all", "-x"], broken=broken, code=code)
    assert result == code and [command[0] for command, _ in ran] == ["ruff", "ruff", "mypy", "pytest"]
    assert ran[-1][0][-3:] == ["-m", "", "-x"] and ran[-1][1]["SELF_NPO_TEST_BROWSER"] == "/b"
    assert ("FAILED" in capsys.readouterr().out) == (broken is not None)


@pytest.mark.parametrize(("ci", "result"), [("true", 1), ("", 0)])
def test_without_a_browser_the_command_succeeds_but_in_ci(monkeypatch, capsys, ci, result):
    monkeypatch.setenv("CI", ci)
    assert checks(monkeypatch, [], browser="")[0] == result
    assert ("none could be installed" in capsys.readouterr().out) == bool(result)


@pytest.mark.parametrize(
    ("arguments", "opens"),
    [
        ([], True),
        (["--browser"], True),
        (["--all", "-x"], True),
        (["tests"], True),
        (["tests/app/test_page.py::test_x", "-x"], True),
        (["--fast"], False),
        (["--process", "tests/app"], False),
        (["tests/method"], False),
        (["-k", "guidance", "tests/test_lanes.py"], False),
    ],
)
def test_a_browser_is_set_up_only_where_one_is_opened(monkeypatch, arguments, opens):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("SELF_NPO_TEST_BROWSER", raising=False)  # this test may itself run under the command
    assert ("SELF_NPO_TEST_BROWSER" in checks(monkeypatch, arguments)[1][-1][1]) == opens


SKIPPED = """
from tests.app.conftest import browser
from tests.conftest import pytest_terminal_summary

def test_one(browser): ...
def test_two(browser): ...
def test_three(): ...
"""


@pytest.mark.usefixtures("warm_starts")
@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_tests_of_the_page_are_skipped_with_one_closing_line_and_fail_in_ci(tmp_path, ci, code):
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_terminal_summary\n")
    (tmp_path / "test_page.py").write_text(SKIPPED)
    environment = {**os.environ, "SELF_NPO_TEST_BROWSER": "", "CI": ci, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = warm.run(command, check=False, cwd=tmp_path, env=environment)
    assert ended.returncode == code, ended.stdout
    line = (
        "2 tests of the page were skipped: no Chromium, Chrome or Edge is on this machine, and none could be installed."
    )
    assert (ended.stdout.count(line) == 1) == (not ci)


def test_every_lane_has_tests_and_each_test_is_in_one_of_them(request):
    """Of what pytest has collected here; the marks come from the fixtures, see `tests/conftest.py`."""
    for item in request.session.items:
        marks = {mark.name for mark in item.iter_markers()}
        assert ("browser" in item.fixturenames) <= ("browser" in marks)
        assert "warm_starts" not in item.fixturenames or marks & {"browser", "process"}


def test_no_test_imports_from_another():
    """What several tests need is built in `tests/builders`."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module] if module else [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                last = name.rsplit(".", 1)[-1]
                assert not (name.startswith("tests.") and last.startswith(("test_", "conftest"))), f"{path}: {name}"


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux puts programs")
def test_a_path_without_the_browser_does_not_hide_one_in_its_usual_place(monkeypatch):
    from app import window

    asked = []
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(window.shutil, "which", lambda name, path: asked.append(path.split(os.pathsep)))
    assert not any(window.installed_browsers())
    assert asked and all(path[0] == "/nowhere" and "/usr/bin" in path for path in asked)
