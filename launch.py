"""Starts the studio: `python launch.py`. Makes `.venv` beside itself the first time, then hands over to the program.

    python launch.py [options]        the page
    python launch.py test [--all]     sets up what the tests need and runs them
    python launch.py COMMAND …        train, resume, compare, runs, offset, bench: see --help

Standard library only. Where the running environment already has everything of the lock file, it is used as it is.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Self-NPO Studio needs Python 3.11 or newer; this is %d.%d. Install one and start again with it."
        % sys.version_info[:2]
    )

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK, TEST_LOCK = ROOT / "requirements.lock", ROOT / "requirements-test.lock"
NEEDED_BYTES = 3 * 10**9
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PYTHON = VENV / SCRIPTS / ("python.exe" if os.name == "nt" else "python")


def pins(lock: Path) -> dict[str, str]:
    """Names and versions of a lock file."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def satisfied(locks: list[Path]) -> bool:
    """Whether the running environment holds every pinned version; a build tag such as +cpu does not matter."""
    for lock in locks:
        for name, wanted in pins(lock).items():
            try:
                found = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return False
            if found.split("+")[0] != wanted.split("+")[0]:
                return False
    return True


def digest(locks: list[Path]) -> str:
    """What a finished installation of these locks is stamped with."""
    whole = hashlib.sha256(sys.version.encode())
    for lock in locks:
        whole.update(lock.read_bytes())
    return whole.hexdigest()


def stamp_of(locks: list[Path]) -> Path:
    """The file that says these locks are installed whole; written last, so an interrupted install has none."""
    return VENV / f"installed-{len(locks)}.txt"


def stamped(locks: list[Path]) -> bool:
    """Whether `.venv` holds a finished installation of these locks."""
    try:
        return stamp_of(locks).read_text(encoding="utf-8") == digest(locks) and PYTHON.exists()
    except OSError:
        return False


def explain(output: str) -> str:
    """One sentence for a failed pip, from what it printed."""
    if re.search(r"No space left|Errno 28", output):
        return "The disk is full. Free some space and start again; the installation goes on where it stopped."
    if re.search(r"Permission denied|Errno 13|Read-only file system|Errno 30", output):
        return f"{ROOT.name} cannot be written. Move it to a folder of your own and start again."
    if re.search(
        r"Temporary failure in name resolution|NewConnectionError|ConnectionError|timed out|getaddrinfo", output
    ):
        return "The package index cannot be reached. Check the network and start again; the second start needs none."
    if re.search(r"No matching distribution|Could not find a version", output):
        return "A package of the lock file is not to be had for this Python or system. Try Python 3.12."
    return "The installation failed; what pip printed above says why. Start again to go on."


def pip(arguments: list[str]) -> None:
    """Runs pip of `.venv` with its progress shown; ends the program with one sentence where it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    tail: list[str] = []
    for line in process.stdout:
        tail = [*tail[-40:], line]
        if re.match(r"(Collecting|  ?Downloading|Downloading|Installing|Building|ERROR)", line.strip()):
            shown = line.strip()
            print(f"  {shown[:110]}", flush=True)
    if process.wait():
        print("".join(tail[-12:]), file=sys.stderr)
        sys.exit(explain("".join(tail)))


def install(locks: list[Path]) -> None:
    """Makes or mends `.venv` until it holds the locks."""
    if not os.access(ROOT, os.W_OK):
        sys.exit(f"{ROOT.name} cannot be written. Move it to a folder of your own and start again.")
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES and not PYTHON.exists():
        sys.exit(f"The installation needs {NEEDED_BYTES / 1e9:.0f} GB; {free / 1e9:.1f} GB are free. Free some space.")
    began = time.monotonic()
    print(f"Installing {sum(len(pins(lock)) for lock in locks)} packages into .venv; this is done once.", flush=True)
    try:
        working = (
            PYTHON.exists()
            and not subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True).returncode
        )
        if not working:
            # an interrupted start may have left half an environment
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", str(VENV)], check=True, capture_output=True, text=True
            )
        stamp_of(locks).unlink(missing_ok=True)
        # torch by itself and first: what is pinned then decides its build, and nothing pulls in another one
        torch = [f"torch=={pins(lock)['torch']}" for lock in locks if "torch" in pins(lock)]
        if torch:
            pip(torch)
        pip([part for lock in locks for part in ("-r", str(lock))])
        staged = VENV / "installed.tmp"
        staged.write_text(digest(locks), encoding="utf-8")
        os.replace(staged, stamp_of(locks))
    except subprocess.CalledProcessError as error:
        text = f"{error.stdout}{error.stderr}"
        sys.exit(
            "Python's venv module is missing. Install it (on Debian and Ubuntu: python3-venv) and start again."
            if "ensurepip" in text
            else explain(text)
        )
    except OSError as error:
        sys.exit(explain(f"[Errno {error.errno}] {error}"))
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)


def python_for(locks: list[Path]) -> str:
    """The Python that has everything of the locks, installed now if need be."""
    if stamped(locks):
        return str(PYTHON)
    if satisfied(locks):
        return sys.executable
    install(locks)
    return str(PYTHON)


def hand_over(command: list[str]) -> None:
    """Becomes the command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if os.name == "nt":
        sys.exit(subprocess.run(command, env=environment).returncode)
    os.execve(command[0], command, environment)


def test(arguments: list[str]) -> int:
    """Lint, format, types and the suite; the first that fails decides the exit code, but all are run."""
    python = python_for([LOCK, TEST_LOCK])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    suite = ["-m", "pytest", *(["-m", ""] if "--all" in arguments else [])]
    checks = [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        [*suite, *(argument for argument in arguments if argument != "--all")],
    ]
    results = []
    for check in checks:
        print(f"$ python {' '.join(check)}", flush=True)
        results.append(subprocess.run([python, *check], cwd=ROOT, env=environment).returncode)
    return next((result for result in results if result), 0)


def main() -> None:
    """Sets up what the command needs and hands over to it."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["test"]:
        sys.exit(test(arguments[1:]))
    hand_over([python_for([LOCK]), "-m", "app", *arguments])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted. Start again to go on.")
