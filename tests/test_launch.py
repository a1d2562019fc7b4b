"""launch.py: an interrupted install is mended, a fit environment is used, and each fault is one sentence."""

import ast
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import launch

ROOT = Path(__file__).parents[1]


def hashed(lock: Path, sha: str) -> None:
    """Writes the file of hashes that belongs to a lock of alpha."""
    launch.hashes_of(lock).write_text(f"alpha==1.0 --hash=sha256:{sha}\n")


def asked_for(*locks: Path) -> list[str]:
    """What pip is asked for of these locks."""
    return ["--require-hashes", "--no-deps", *(part for lock in locks for part in ("-r", str(launch.hashes_of(lock))))]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with a lock of one package, and no environment yet."""
    lock = tmp_path / "requirements.txt"
    lock.write_text('# comment\nalpha==1.0\nbeta==3.0; sys_platform == "none"\n')
    hashed(lock, "0" * 64)
    python = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(launch, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(launch, "PYTHON", tmp_path / ".venv" / python)
    return tmp_path, [lock]


@pytest.fixture(autouse=True)
def without_uv(monkeypatch):
    """Whether the machine of the tests has uv plays no part."""
    monkeypatch.setattr(launch, "uv_program", lambda: "")


@pytest.fixture
def pip(monkeypatch, house):
    """What pip would have been asked to install, into an environment that is a Python alone."""

    def make_environment():
        launch.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        launch.PYTHON.touch()
        (launch.VENV / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")

    asked: list[list[str]] = []
    monkeypatch.setattr(launch, "make_environment", make_environment)
    monkeypatch.setattr(launch, "pip", asked.append)
    return asked


# which Python is used


def test_an_environment_that_holds_the_lock_is_used_as_it_is(house, monkeypatch):
    _, locks = house
    monkeypatch.setattr(importlib.metadata, "version", {"alpha": "1.0+cpu"}.__getitem__)
    assert launch.python_for(locks) == sys.executable


@pytest.mark.parametrize("installed", ["1.1", None])
def test_one_that_does_not_is_left_alone_and_a_new_one_made(house, monkeypatch, installed):
    _, locks = house

    def version(name):
        if installed is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(importlib.metadata, "version", version)
    asked = []
    monkeypatch.setattr(launch, "install", asked.append)
    assert launch.python_for(locks) == str(launch.PYTHON) and asked == [locks]


def test_the_second_start_neither_asks_pip_nor_looks_at_packages(house, pip, monkeypatch):
    _, locks = house
    launch.install(locks)
    pip.clear()
    monkeypatch.setattr(launch, "satisfied", lambda locks: pytest.fail("looked at packages"))
    assert launch.python_for(locks) == str(launch.PYTHON) and not pip


def test_after_the_tests_were_installed_the_studio_starts_without_pip(house, pip):
    folder, locks = house
    extras = folder / "requirements-test.txt"
    extras.write_text("gamma==1.0\n")
    hashed(extras, "1" * 64)
    launch.install([*locks, extras])
    assert launch.stamped(locks) and launch.stamped([extras])


def test_the_tests_are_added_to_what_the_studio_has(house, pip):
    folder, locks = house
    extras = folder / "requirements-test.txt"
    extras.write_text("gamma==1.0\n")
    hashed(extras, "1" * 64)
    launch.install(locks)
    pip.clear()
    launch.install([*locks, extras])
    assert pip == [asked_for(extras)], (
        "what is there is not asked for again, and nothing is resolved that could move it"
    )
    assert launch.stamped([*locks, extras])


def test_help_needs_no_installation(tmp_path):
    """The parser of the command line is the standard library's alone: -S leaves all installed packages out."""
    command = [sys.executable, "-S", "-m", "app", "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and "--no-browser" in ended.stdout, ended.stderr


@pytest.mark.parametrize("python", [sys.executable, "other"])
def test_a_folder_named_app_where_it_is_started_from_is_not_taken_for_the_studio(tmp_path, python, monkeypatch):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-m", "app", "--version"]
    ended = subprocess.run(command, cwd=tmp_path, env=launch.surroundings(python), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    kept = str(tmp_path) in launch.surroundings(python)["PYTHONPATH"]
    assert kept == (python == sys.executable), "what a fit environment brought along stays; .venv needs none of it"


# interrupted, changed, moved


def test_an_interrupted_install_is_repaired_by_the_next_start(house, pip, monkeypatch):
    _, locks = house

    def interrupted(arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(launch, "pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            launch.install(locks)
    assert not launch.stamped(locks)
    launch.install(locks)
    assert launch.stamped(locks) and pip == [asked_for(*locks)]


@pytest.mark.process
def test_half_an_environment_is_rebuilt(house):
    launch.PYTHON.parent.mkdir(parents=True)
    launch.PYTHON.write_text("")
    launch.PYTHON.chmod(0o755)
    assert not launch.usable()
    launch.make_environment()
    assert launch.usable()


def test_another_lock_is_installed_again(house, pip):
    _, locks = house
    launch.install(locks)
    before = locks[0].read_text()
    locks[0].write_text("alpha==2.0\n")
    assert not launch.stamped(locks)
    locks[0].write_text(before)
    assert launch.stamped(locks)
    hashed(locks[0], "2" * 64)
    assert not launch.stamped(locks)


def test_an_environment_whose_python_is_gone_is_installed_again(house, pip, monkeypatch):
    _, locks = house
    launch.install(locks)
    settings = launch.VENV / "pyvenv.cfg"
    settings.write_text(re.sub("home = .*", "home = /nowhere", settings.read_text()))
    assert not launch.stamped(locks)


@pytest.mark.skipif(os.name == "nt", reason="holds the lock the Unix way")
def test_a_second_start_waits_for_the_installation_of_the_first(house, pip, monkeypatch, capsys):
    import fcntl

    folder, locks = house
    launch.install(locks)
    pip.clear()
    with open(folder / ".install.lock", "w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        monkeypatch.setattr(launch.time, "sleep", lambda seconds: fcntl.flock(first, fcntl.LOCK_UN))
        launch.install(locks)
    assert "Another start is installing" in capsys.readouterr().out
    assert not pip, "the first start's installation is used"


# which torch


@pytest.mark.skipif(os.name == "nt", reason="the pretended uv is a shell script")
@pytest.mark.parametrize("fails", [False, True])
def test_uv_installs_where_it_is_and_pip_where_uv_cannot(house, monkeypatch, fails):
    folder, _ = house
    uv = folder / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked-uv\nexit {int(fails)}\n')
    uv.chmod(0o755)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked-pip\n')
    python.chmod(0o755)
    monkeypatch.setattr(launch, "PYTHON", python)
    monkeypatch.setattr(launch, "uv_program", lambda: str(uv))
    launch.pip(["alpha==1.0"])
    asked = f"pip install --python {python} --index-strategy unsafe-best-match alpha==1.0\n"
    assert (folder / "asked-uv").read_text() == asked
    assert (folder / "asked-pip").exists() == fails
    assert not (launch.VENV / "tmp").exists()


def test_torch_is_installed_by_itself_and_moves_nothing_else(house, pip, monkeypatch):
    _, locks = house
    locks[0].write_text("alpha==1.0\ntorch==9.9\n")
    monkeypatch.setenv("SELF_NPO_TORCH_INDEX", "https://example.invalid/whl")
    launch.install(locks)
    torch = ["torch==9.9", "-c", str(locks[0]), "--extra-index-url", "https://example.invalid/whl"]
    assert pip == [asked_for(*locks), torch]


@pytest.mark.parametrize(
    ("system", "card", "answers", "wanted"),
    [
        ("linux", False, True, launch.CPU_INDEX),
        ("linux", False, False, ""),
        ("linux", True, True, ""),
        ("darwin", False, True, ""),
        ("win32", True, True, ""),
    ],
)
def test_the_small_build_is_taken_on_linux_without_a_card_where_its_index_answers(
    monkeypatch, capsys, system, card, answers, wanted
):
    def urlopen(address, timeout):
        if not answers:
            raise OSError("no such host")
        return open(os.devnull)

    monkeypatch.delenv("SELF_NPO_TORCH_INDEX", raising=False)
    monkeypatch.setattr(launch.sys, "platform", system)
    monkeypatch.setattr(launch, "nvidia", lambda: card)
    monkeypatch.setattr(launch.urllib.request, "urlopen", urlopen)
    assert launch.torch_index() == wanted
    assert ("does not answer" in capsys.readouterr().out) == (not answers)


# faults, each one sentence


@pytest.mark.parametrize(("card", "figure"), [(False, "needs 3 GB"), (True, "needs 10 GB")])
def test_a_full_disk_is_reported_with_the_figures_before_anything_is_made(house, monkeypatch, card, figure):
    folder, locks = house
    monkeypatch.setattr(launch.sys, "platform", "linux")
    monkeypatch.setattr(launch, "nvidia", lambda: card)
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**8})())
    with pytest.raises(SystemExit, match=f"{figure} of disk; 0.1 GB are free. Free some space"):
        launch.install(locks)
    assert not (folder / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_reported(house, monkeypatch):
    folder, locks = house
    monkeypatch.setattr(launch.os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit) as ended:
        launch.install(locks)
    assert ended.value.code == launch.READ_ONLY and set(folder.iterdir()) == {*locks, *map(launch.hashes_of, locks)}


@pytest.mark.parametrize(
    ("number", "sentence"), [(13, "is read-only"), (30, "is read-only"), (28, "disk is full"), (122, "disk is full")]
)
def test_a_fault_of_the_disk_on_the_way_is_a_sentence_without_a_path(house, pip, monkeypatch, number, sentence):
    folder, locks = house

    def failing(arguments):
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(launch, "pip", failing)
    with pytest.raises(SystemExit, match=sentence) as ended:
        launch.install(locks)
    assert str(folder) not in str(ended.value.code)


@pytest.mark.skipif(os.name == "nt", reason="the pretended pip is a shell script")
@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("NewConnectionError: Temporary failure in name resolution\nERROR: No matching distribution", "be reached"),
        ("Traceback ReadTimeoutError: Read timed out.", "be reached"),
        ("SSLError(SSLCertVerificationError(1, CERTIFICATE_VERIFY_FAILED))", "secure connection"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("[Errno 13] Permission denied", "read-only"),
        ("ERROR: No matching distribution found for alpha==1.0", "does not exist for this Python"),
    ],
)
def test_a_failing_pip_ends_in_one_sentence(house, printed, sentence, capfd):
    launch.PYTHON.parent.mkdir(parents=True)
    launch.PYTHON.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{printed}\nEND\nexit 1\n")
    launch.PYTHON.chmod(0o755)
    with pytest.raises(SystemExit, match=sentence):
        launch.pip(["alpha"])
    assert not "".join(capfd.readouterr()), "the sentence alone, no trace of pip's own"


@pytest.mark.skipif(os.name == "nt", reason="the pretended pip is a shell script")
def test_an_unforeseen_fault_shows_what_pip_said(house, capfd):
    launch.PYTHON.parent.mkdir(parents=True)
    launch.PYTHON.write_text("#!/bin/sh\necho something new >&2\nexit 1\n")
    launch.PYTHON.chmod(0o755)
    with pytest.raises(SystemExit, match="lines above say why"):
        launch.pip(["alpha"])
    assert "something new" in capfd.readouterr().err


def test_a_python_without_venv_learns_what_to_install(house, monkeypatch):
    _, locks = house

    def run(command, **options):
        raise subprocess.CalledProcessError(1, command, "The virtual environment ... ensurepip is not available", "")

    monkeypatch.setattr(launch.subprocess, "run", run)
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        launch.install(locks)


def test_an_old_python_can_read_the_file_and_prints_one_sentence():
    source = (ROOT / "launch.py").read_text(encoding="ascii")
    ast.parse(source, feature_version=(3, 6))
    code = "import sys; sys.version_info = (3, 6, 1); exec(compile(open('launch.py').read(), 'launch.py', 'exec'))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and "needs Python 3.11 or newer; this is 3.6" in ended.stderr
    assert "Traceback" not in ended.stderr


# the test command and the locks


def plain(name: str) -> str:
    return re.split(r"[<>=\[ ;]", name)[0].lower().replace("_", "-")


def test_the_locks_pin_every_direct_dependency_within_its_range():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for lock, needs in (
        ("requirements.txt", project["dependencies"]),
        ("requirements-test.txt", project["optional-dependencies"]["test"]),
    ):
        pinned = {plain(name): version for name, version in launch.pins(ROOT / lock).items()}
        for need in map(Requirement, needs):
            assert pinned[plain(need.name)] in need.specifier, f"{lock}: {need}"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_every_pin_but_torch_has_hashes(name):
    entries = re.split(r"\n(?=\w)", launch.hashes_of(ROOT / name).read_text())
    hashes = {
        entry.split(" ")[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry)
        for entry in entries
        if "==" in entry.split(" ")[0]
    }
    lines = (line.split("#")[0].split(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    wanted = {line for line in lines if "==" in line and not line.startswith("torch==")}
    normal = lambda pins: {(plain(pin.split("==")[0]), pin.split("==")[1].rstrip(";")) for pin in pins}  # noqa: E731
    assert normal(hashes) == normal(wanted) and all(hashes.values())


def test_the_locks_pin_what_their_packages_need_on_every_system():
    """Closed under dependencies on Linux, macOS and Windows and Python 3.11 to 3.13, CUDA libraries of torch aside."""
    from packaging.requirements import Requirement

    lines = "".join((ROOT / f"requirements{part}.txt").read_text() for part in ("", "-test")).splitlines()
    pinned = {plain(line): Requirement(line) for line in lines if "==" in line and not line.startswith("#")}
    systems = [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]
    machines = [
        {"sys_platform": name, "platform_system": title, "python_version": python, "python_full_version": f"{python}.1"}
        for name, title in systems
        for python in ("3.11", "3.12", "3.13")
    ]
    for machine in ({**machine, "extra": ""} for machine in machines):
        installed = {name for name, pin in pinned.items() if pin.marker is None or pin.marker.evaluate(machine)}
        for name in installed & {
            plain(distribution.metadata["Name"]) for distribution in importlib.metadata.distributions()
        }:
            for need in map(Requirement, importlib.metadata.requires(name) or []):
                if need.marker is None or need.marker.evaluate(machine):
                    cuda = name == "torch" and plain(need.name).startswith(("nvidia", "cuda", "triton"))
                    assert cuda or plain(need.name) in installed, f"{name} needs {need} on {machine['sys_platform']}"


# a real installation, of a package made here


def wheel(folder: Path, content: str = "VALUE = 1\n") -> None:
    """A package as some build tools order it: its metadata before its code."""
    with zipfile.ZipFile(folder / "alpha-1.0-py3-none-any.whl", "w") as made:
        made.writestr("alpha-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n")
        made.writestr("alpha-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("alpha.py", content)
        made.writestr("alpha-1.0.dist-info/RECORD", "")


@pytest.mark.process
def test_a_real_pip_installs_repairs_what_a_kill_left_and_fails_in_a_sentence(house, monkeypatch):
    folder, locks = house
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(SystemExit, match="does not exist for this Python"):
        launch.install(locks)
    assert not launch.stamped(locks)
    wheel(folder)
    with pytest.raises(SystemExit, match="not the one that was tested: its sha256"):
        launch.install(locks)
    assert not launch.stamped(locks) and not list(launch.VENV.rglob("alpha.py"))
    hashed(locks[0], hashlib.sha256((folder / "alpha-1.0-py3-none-any.whl").read_bytes()).hexdigest())
    launch.install(locks)
    assert launch.stamped(locks) and not (launch.VENV / "tmp").exists()
    code = next(launch.VENV.rglob("alpha.py"))
    # as after a kill between the metadata and the code
    code.unlink()
    (next(launch.VENV.rglob("alpha-1.0.dist-info")) / "INSTALLER").unlink()
    launch.stamp_of(locks[0]).unlink()
    launch.install(locks)
    assert code.read_text() == "VALUE = 1\n"
