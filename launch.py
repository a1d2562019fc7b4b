"""Starts the studio: `python launch.py`. Makes `.venv` beside itself the first time, then hands over to the program.

    python launch.py [options]        the page
    python launch.py test [LANE]      sets up what the tests need, a browser too, and runs them; LANE is --fast, --process
                                      or --browser, and --all adds long checks
    python launch.py torture WHAT     attacks the program: kills, files, starts, parsers, http, sessions, soak
    python launch.py COMMAND ...      train, resume, compare, runs, offset, bench: see --help

Standard library only. Where the running environment already has everything of the lock file, it is used as it is.
"""

import sys

# the annotation is what Python 2 stumbles over, and it shows the line it stumbled over; so this file stays ASCII
OLDEST: tuple = (3, 11)  # Self-NPO Studio needs Python 3.11 or newer. Install one and start again with it.
if sys.version_info < OLDEST:
    sys.exit(
        "Self-NPO Studio needs Python 3.11 or newer; this is %d.%d. Install one and start again with it."
        % tuple(sys.version_info[:2])
    )

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TextIO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCK, TEST_LOCK = ROOT / "requirements.txt", ROOT / "requirements-test.txt"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GIGABYTE = 10**9
AGAIN = "Start again to go on where it stopped."
READ_ONLY = "The folder of the studio is read-only. Move it to a folder of your own and start again."

# what pip prints, and the one sentence a person gets for it; the first that is found counts
FAULTS = {
    r"No space left|Errno 28|not enough space|quota exceeded": f"The disk is full. Free some space. {AGAIN}",
    r"Permission denied|Errno 13|Access is denied|Read-only file system|Errno 30": READ_ONLY,
    r"CERTIFICATE_VERIFY_FAILED": "A secure connection to the package index was refused. Check this machine's clock, "
    f"certificates and proxy. {AGAIN}",
    r"NewConnectionError|NameResolution|name resolution|getaddrinfo|ConnectionError|Connection (broken|refused|reset)"
    r"|[Tt]imed? ?out|ProxyError|IncompleteRead|HTTP error [45]": "The package index cannot be reached. Check the "
    f"network. {AGAIN} Later starts need no network.",
    r"DO NOT MATCH THE HASHES|Hashes are required": "A downloaded package is not the one that was tested: its sha256 "
    "differs. Check the package index and the proxy that pip is set to use, and start again.",
    r"No matching distribution|Could not find a version": "A package of the lock file does not exist for this Python "
    "or system. Try Python 3.12, 64 bit.",
    r"ensurepip|No module named venv": "Python's venv module is missing. Install it (on Debian and Ubuntu: "
    "apt install python3-venv) and start again.",
}


def give_up(output: str) -> NoReturn:
    """Ends the program with one sentence for what pip or the system said, and with all of it where none fits."""
    for pattern, sentence in FAULTS.items():
        if re.search(pattern, output):
            sys.exit(sentence)
    print(output, file=sys.stderr)
    sys.exit(f"The installation failed; the lines above say why. {AGAIN}")


def pins(lock: Path) -> dict[str, str]:
    """Names and versions of a lock file; pins for other systems and Pythons, those with a marker, are left out."""
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line and ";" not in line)


def hashes_of(lock: Path) -> Path:
    """The file with the same pins, torch aside, and the sha256 of each package."""
    return lock.with_name(f"{lock.stem}-hashes.txt")


def satisfied(locks: list[Path]) -> bool:
    """Whether the running environment holds every pinned version; a build tag such as +cpu does not matter.

    A Hugging Face Space installs requirements.txt itself when it is built, and sets some versions of its own: there it
    is enough that nothing is missing.
    """
    in_a_space = bool(os.environ.get("SPACE_ID"))
    for lock in locks:
        for name, wanted in pins(lock).items():
            try:
                installed = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return False
            if installed.split("+")[0] != wanted and not in_a_space:
                return False
    return True


def stamp_of(lock: Path) -> Path:
    """The file that says a lock is installed whole. Written last, so an interrupted installation has none."""
    return VENV / f"{lock.stem}.installed"


def digest(lock: Path) -> str:
    """What a finished installation of this lock is stamped with: the lock, and the Python below `.venv`.

    Raises:
        OSError: there is no `.venv`, or the Python it was made from is gone.
    """
    settings = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    python = PYTHON.resolve(strict=True)
    home = re.search(r"^home *= *(.+)$", settings, re.MULTILINE)
    if home:
        os.stat(home[1].strip())
    pinned = "".join(file.read_text(encoding="utf-8") for file in (lock, hashes_of(lock)))
    return hashlib.sha256(f"{pinned}\n{settings}\n{python}".encode()).hexdigest()


def stamped(locks: list[Path]) -> bool:
    """Whether `.venv` holds a finished installation of these locks."""
    try:
        return all(stamp_of(lock).read_text(encoding="utf-8") == digest(lock) for lock in locks)
    except OSError:
        return False


def nvidia() -> bool:
    """Whether an NVIDIA graphics card is at hand, WSL included."""
    return bool(shutil.which("nvidia-smi")) or any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/dxg"))


def torch_index() -> str:
    """Address of the index that has the build of torch for this machine; empty for the package index itself.

    On Linux the package index has the build for NVIDIA cards, some gigabytes larger; without a card the CPU's is taken
    from PyTorch's own index, if that answers. `SELF_NPO_TORCH_INDEX` overrides, and empty means the package index.
    """
    if "SELF_NPO_TORCH_INDEX" in os.environ:
        return os.environ["SELF_NPO_TORCH_INDEX"]
    if sys.platform != "linux" or nvidia():
        return ""
    try:
        urllib.request.urlopen(f"{CPU_INDEX}/", timeout=5).close()
    except (OSError, ValueError):
        print("PyTorch's own index, with the small build for CPUs, does not answer: taking what pip finds.", flush=True)
        return ""
    return CPU_INDEX


def uv_program() -> str:
    """The uv of this machine, which installs the same packages in a fraction of the time; empty where there is none."""
    return shutil.which("uv") or ""


def uv(program: str, arguments: list[str], settings: dict[str, str]) -> bool:
    """Installs into `.venv` with uv; whether it did. What it cannot do is left to pip, whose faults have sentences."""
    # as pip does, the best version of all indexes and not of the first that has the package
    command = [program, "pip", "install", "--python", str(PYTHON), "--index-strategy", "unsafe-best-match", *arguments]
    try:
        return not subprocess.run(command, env=settings).returncode
    except OSError:
        return False


def pip(arguments: list[str]) -> None:
    """Installs with uv where it is at hand, else or where that fails with the pip of `.venv`, with the progress shown; ends the
    program with one sentence where pip fails."""
    # the system's own temporary folder is often in memory, and smaller than torch
    scratch = VENV / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    settings = {**os.environ, "TMPDIR": str(scratch), "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    settings.pop("PYTHONPATH", None)  # packages found there would count as installed
    program = uv_program()
    if program and uv(program, arguments, settings):
        shutil.rmtree(scratch, ignore_errors=True)
        return
    command = [str(PYTHON), "-m", "pip", "install", *arguments]
    process = subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True, errors="replace")
    assert process.stderr is not None
    output = []
    for line in process.stderr:
        output.append(line)
        if "Retrying" in line:
            print("The package index does not answer; trying again ...", flush=True)
    failed = process.wait()
    shutil.rmtree(scratch, ignore_errors=True)
    if failed:
        give_up("".join(output))


def usable() -> bool:
    """Whether `.venv` holds a Python that runs, is new enough, and has pip."""
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return not subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode
    except OSError:
        return False


def make_environment() -> None:
    """Makes or repairs `.venv`, up to a pip that works."""
    if not usable():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True, capture_output=True, text=True)
    # pip writes INSTALLER when a package's files are all there: without it, pip was killed in the middle
    for folder in (*VENV.glob("lib/python*/site-packages"), *VENV.glob("Lib/site-packages")):
        for half in folder.glob("*.dist-info"):
            if not (half / "INSTALLER").exists():
                shutil.rmtree(half)


def locked(lock_file: TextIO) -> bool:
    """Whether this process now has the lock of an open file. On a network folder without locks: yes, unguarded."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock_file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One installation at a time: a second start waits for the first, and a killed one holds nothing."""
    with open(ROOT / ".install.lock", "w") as lock_file:
        if not locked(lock_file):
            print("Another start is installing; waiting for it.", flush=True)
            while not locked(lock_file):
                time.sleep(1)
        yield


def install(locks: list[Path]) -> None:
    """Makes or repairs `.venv` until it holds the locks; ends the program with one sentence where it cannot."""
    if not os.access(ROOT, os.W_OK):
        sys.exit(READ_ONLY)
    needed = (10 if sys.platform == "linux" and nvidia() else 3) * GIGABYTE
    free = shutil.disk_usage(ROOT).free
    if free < needed and not PYTHON.exists():
        sys.exit(
            f"The installation needs {needed / GIGABYTE:.0f} GB of disk; {free / GIGABYTE:.1f} GB are free. "
            "Free some space and start again."
        )
    began = time.monotonic()
    try:
        with alone():
            if stamped(locks):
                return
            missing = [lock for lock in locks if not stamped([lock])]
            packages = sum(len(pins(lock)) for lock in missing)
            print(f"Installing {packages} packages into .venv. This is done once.", flush=True)
            make_environment()
            for lock in missing:
                stamp_of(lock).unlink(missing_ok=True)
            # the locks are whole, so pip has nothing to resolve and compares each file with its hash
            pip(["--require-hashes", "--no-deps", *(x for lock in missing for x in ("-r", str(hashes_of(lock))))])
            for lock in missing:
                # torch by itself: its build and the libraries of its card depend on the machine; nothing else may move
                if "torch" in pins(lock):
                    index = torch_index()
                    extra = ["--extra-index-url", index] if index else []
                    pip([f"torch=={pins(lock)['torch']}", "-c", str(lock), *extra])
            for lock in missing:
                staged = VENV / "stamp.tmp"
                staged.write_text(digest(lock), encoding="utf-8")
                os.replace(staged, stamp_of(lock))
    except subprocess.CalledProcessError as error:
        give_up(f"{error.stdout}{error.stderr}")
    except OSError as error:
        give_up(str(error))
    print(f"Installed in {time.monotonic() - began:.0f} s with {'uv' if uv_program() else 'pip'}.", flush=True)


def python_for(locks: list[Path]) -> str:
    """The Python that has everything of the locks, installed now if need be."""
    if not stamped(locks):
        if satisfied(locks):
            return sys.executable
        install(locks)
    return str(PYTHON)


def surroundings(python: str) -> dict[str, str]:
    """Environment variables of what runs under this Python: the studio's modules first, wherever it is started from."""
    others = os.environ.get("PYTHONPATH") if python == sys.executable else None
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), others])), "PYTHONSAFEPATH": "1"}


def hand_over(python: str, arguments: list[str]) -> None:
    """Becomes the program."""
    command = [python, "-m", "app", *arguments]
    if os.name != "nt":
        os.execve(python, command, surroundings(python))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the program's to answer
    sys.exit(subprocess.run(command, env=surroundings(python)).returncode)


def test(arguments: list[str]) -> int:
    """Sets up what the tests need and runs the lanes asked for; the exit code."""
    python = python_for([LOCK, TEST_LOCK])
    command = [python, "-m", "tests.lanes", *arguments]
    return subprocess.run(command, cwd=ROOT, env=surroundings(python)).returncode


def main() -> None:
    """Sets up what the command needs and hands over to it."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["torture"]:
        python = python_for([LOCK, TEST_LOCK])
        command = [python, "-m", "tests.torture", *arguments[1:]]
        sys.exit(subprocess.run(command, cwd=ROOT, env={**surroundings(python), "OMP_NUM_THREADS": "1"}).returncode)
    if arguments[:1] == ["test"]:
        sys.exit(test(arguments[1:]))
    # help is answered before anything is installed: it needs the standard library alone
    asked = {"-h", "--help", "--version"} & set(arguments)
    hand_over(sys.executable if asked and not stamped([LOCK]) else python_for([LOCK]), arguments)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"Interrupted. {AGAIN}")
