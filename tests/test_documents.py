"""What the README says can be done, can be done."""

import re
import shlex
from pathlib import Path

import pytest

from app import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# a second column, set off by spaces, says what a command does
COMMANDS = re.findall(r"^    python launch\.py(?: (.*?))?(?: {3,}.*)?$", README, re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in COMMANDS if not line.startswith("test")])
def test_every_command_of_the_readme_is_understood(line):
    cli._parser().parse_args(shlex.split(line))


def test_the_readme_names_every_command_and_every_start_option():
    parser = cli._parser()
    commands = {line.split()[0] for line in COMMANDS if line}
    assert commands == {name for name in cli.COMMANDS if name} | {"test"}
    for action in parser._actions:
        for option in action.option_strings:
            known = option in ("-h", "--help", "--version") or f"`{option}" in README
            assert known, f"{option} is not in the README"


@pytest.mark.parametrize(
    "name",
    [
        *sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))),
        "assets/build/README.md",
    ],
)
def test_files_that_documents_name_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"`([\w.-]+/[\w./-]+|\w[\w-]*\.(?:md|lock|toml))`", text):
        assert (ROOT / path).exists(), f"{name} names {path}"


def test_settings_that_the_readme_sets_exist():
    from core.generation.settings import FIELDS as SETTINGS
    from core.training.config import FIELDS

    for line in COMMANDS:
        known = FIELDS if line.startswith("train") else SETTINGS
        for key in re.findall(r"(\w+)=", line):
            assert key in known, f"python launch.py {line}"
