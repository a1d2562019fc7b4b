"""A few of each attack; `python launch.py torture` runs as many as one likes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.files import TARGETS, fail_every_operation

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_fault_45_whichever_file_operation_fails_what_was_there_stays_and_an_error_is_reported(tmp_path, target):
    tally = fail_every_operation(tmp_path, targets=[target], count=150)
    assert tally.failures == [] and tally.tries >= 6


@pytest.mark.timeout(300)
def test_faults_2_and_16_mutated_inputs_are_read_or_refused_in_bounded_time_and_memory():
    command = [sys.executable, "-m", "tests.torture", "parsers", "--count", "120", "--seed", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert re.fullmatch(r"parsers: seed 1, tries \d{4}, .*failures 0, \d+ s\n", ended.stdout)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["http", "--count", "40"], r"http: seed 1, tries 40, .*failures 0, \d+ s"),
        pytest.param(
            ["http", "--count", "430"], r"http: seed 1, tries 430, .*failures 0, \d+ s", marks=pytest.mark.slow
        ),
        pytest.param(
            ["sessions", "--count", "10"],
            r"sessions: seed 1, tries 10, .*open files, failures 0, \d+ s",
            marks=pytest.mark.slow,
        ),
        (["sessions", "--count", "2"], r"sessions: seed 1, tries 2, .*open files, failures 0, \d+ s"),
        (["soak", "--count", "20"], r"soak: seed 1, tries 20, memory .*, failures 0, \d+ s"),
        (["kills", "--only", "server", "--count", "6"], r"kills: seed 1, tries 6, .*of the server.*failures 0, \d+ s"),
    ],
)
def test_a_few_of_what_the_command_does_by_the_hundred(arguments, line):
    command = [sys.executable, "-m", "tests.torture", *arguments, "--seed", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert re.fullmatch(line, ended.stdout.strip().splitlines()[-1])
