"""`--launcher` of `train`, `evaluate` and `gallery`: the command is written as a job file for other machines and not done here."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from core.studio.launchers import FILES, Job, submit, write_job

_OWN = {"--launcher": 1, "--jobs": 1, "--job-file": 1, "--submit": 0}
"""The options of this file and how many values each has."""
_ENDING = {"skypilot": "yaml"}


def add_launcher(parser: argparse.ArgumentParser, *, sharded: bool) -> None:
    """`--launcher`, `--job-file` and `--submit`, and `--jobs` where the work can be shared out."""
    parser.add_argument(
        "--launcher", choices=tuple(FILES), help="write a job file for this engine; nothing is done here"
    )
    parser.add_argument("--job-file", metavar="FILE", default="", help="where; default: the current folder")
    parser.add_argument("--submit", action="store_true", help="hand the job file to the engine's client")
    if sharded:
        parser.add_argument(
            "--jobs", type=int, default=4, metavar="N", help="machines or processes that share the work"
        )
    parser.set_defaults(sharded=sharded)


def without_launcher(arguments: list[str]) -> list[str]:
    """A command line without the options of this file."""
    kept, skip = [], 0
    for word in arguments:
        if skip:
            skip -= 1
        elif word.split("=")[0] in _OWN:
            skip = _OWN.get(word, 0)
        else:
            kept.append(word)
    return kept


def write(options: argparse.Namespace, arguments: list[str]) -> int:
    """Writes the job file of a command line, and submits it where that was asked.

    Raises:
        StudioError: it cannot be written, or the client is missing or refuses.
    """
    command = tuple(without_launcher(arguments))
    count = max(1, options.jobs) if options.sharded else 1
    name = re.sub(r"[^a-z0-9]+", "-", "-".join(command[:3]).lower()).strip("-")[:40]
    path = Path(options.job_file or f"{name}.{_ENDING.get(options.launcher, 'sh')}").expanduser()
    write_job(options.launcher, Job(command, name, count, options.sharded), path)
    print(f"Written to {path.name}.")
    if options.submit:
        print(submit(options.launcher, path).strip())
    return 0
