"""The table of faults in docs/reliability.md: what must happen, and the tests that hold it.

`python -m tests.reliability` regenerates it from docs/faults.json and the tests there are. A test belongs to a row by its
name, `test_fault_37_…` or `test_faults_33_and_34_…` (or `row` for `fault`), or because the row names it. What is not held, or
only in part, says so under `gap`.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA, DOCUMENT = ROOT / "docs" / "faults.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
_NUMBERS = re.compile(r"test_(?:fault|row)s?_(\d+(?:_and_\d+)*)_")


@cache
def tests_there_are() -> list[str]:
    """Every test as `file::function`."""
    names = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names.append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return names


def rows() -> list[dict[str, Any]]:
    """The faults, each with all its tests under `tests`."""
    table: list[dict[str, Any]] = json.loads(DATA.read_text(encoding="utf-8"))
    by_number: dict[int, list[str]] = {}
    for test in tests_there_are():
        if match := _NUMBERS.match(test.rpartition("::")[2]):
            for number in match[1].split("_and_"):
                by_number.setdefault(int(number), []).append(test)
    for row in table:
        row["tests"] = list(dict.fromkeys([*row["tests"], *by_number.get(row["row"], [])]))
    return table


def table() -> str:
    """The rows as Markdown, by group."""
    lines: list[str] = []
    group = ""
    for row in rows():
        if row["group"] != group:
            group = row["group"]
            lines += ["", f"### {group}", "", "| # | fault | what must happen | held by |", "|---|---|---|---|"]
        held = "<br>".join(f"[{name}](../{path})" for path, _, name in (test.partition("::") for test in row["tests"]))
        gap = f"**Gap:** {row['gap']}" if "gap" in row else ""
        cells = (str(row["row"]), row["fault"], row["expected"], "<br>".join(filter(None, [_short(held), gap])))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    held = sum(1 for row in rows() if row["tests"] and "gap" not in row)
    part = sum(1 for row in rows() if row["tests"] and "gap" in row)
    none = len(rows()) - held - part
    head = f"Of {len(rows())} faults, {held} are held by tests, {part} in part, {none} by none yet."
    return "\n".join([head, *lines])


def _short(held: str) -> str:
    """Names of tests as sentences: the underscores are spaces."""
    return re.sub(r"\[test_(\w+)\]", lambda match: f"[{match[1].replace('_', ' ')}]", held)


def document() -> str:
    """The document with the table of today in it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
