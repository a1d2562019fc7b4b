"""Prompts to evaluate with, in the formats of the sets that people use. No torch.

.txt       one prompt a line
.tsv       PartiPrompts: columns Prompt, Category, Challenge
.csv       DrawBench: columns Prompts, Category
.jsonl     GenEval: objects with prompt and tag
.json      HPDv2: a list of texts, the file's name being the style; VBench: a list of objects with prompt_en, dimension
.parquet   Pick-a-Pic: the column caption; needs pyarrow
a folder   HPDv2's four lists, or any of the files above, in the order of their names
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import Sentence, StudioError
from core.files import cannot_read

LENGTH_LIMIT = 4000


@dataclass(frozen=True)
class Prompt:
    """One prompt, and the category that its set puts it in; empty where there is none."""

    text: str
    category: str = ""


def read_prompts(path: Path, count: int | None = None) -> Iterator[Prompt]:
    """The prompts of a file or folder in their order, one at a time.

    Args:
        count: at most so many; None for all.

    Raises:
        StudioError: a format that is not known, a row that cannot be read (its line is named), or no prompt at all.
    """
    prompts = islice(_of_folder(path) if path.is_dir() else _of_file(path), count)
    first = next(prompts, None)
    if first is None:
        raise StudioError(
            "“{name}” contains no prompt.", "Write one prompt per line, or choose another file.", name=path.name
        )
    yield first
    yield from prompts


def _of_folder(folder: Path) -> Iterator[Prompt]:
    for file in sorted(file for file in folder.iterdir() if file.suffix.lower() in _READERS):
        yield from _of_file(file)


def _of_file(path: Path) -> Iterator[Prompt]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise StudioError(
            "“{name}” is not in a known prompt format.",
            "Use {formats}.",
            name=path.name,
            formats=", ".join(sorted(_READERS)),
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise cannot_read(path.name, error) from error


def _line(number: int) -> Sentence:
    return Sentence("Line {number}", number=number)


def _checked(path: Path, place: str, text: Any, category: Any = "") -> Prompt:
    if not isinstance(text, str) or not text.strip():
        raise StudioError("{place} of “{name}” has no prompt.", "Correct or remove it.", place=place, name=path.name)
    if len(text) > LENGTH_LIMIT:
        raise StudioError(
            "{place} of “{name}” is longer than {limit} characters.",
            "Shorten it.",
            place=place,
            name=path.name,
            limit=LENGTH_LIMIT,
        )
    return Prompt(text.strip(), category.strip() if isinstance(category, str) else "")


def _lines(path: Path) -> Iterator[str]:
    """Lines as text, without their ends.

    Raises:
        StudioError: a line that is not UTF-8.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise StudioError(
                    "{place} of “{name}” is not UTF-8 text.",
                    "Save it as UTF-8.",
                    place=_line(number),
                    name=path.name,
                ) from error
            if "\0" in line:
                raise StudioError(
                    "{place} of “{name}” is not UTF-8 text.",
                    "Save it as UTF-8.",
                    place=_line(number),
                    name=path.name,
                )
            yield line.rstrip("\r\n")


def _text(path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield _checked(path, _line(number), line)


def _table(path: Path, delimiter: str, columns: tuple[str, ...]) -> Iterator[Prompt]:
    """A table with a heading; `columns` are names that the prompt's column may have, in lower case."""
    if delimiter == "\t":  # PartiPrompts has quotation marks inside its cells that mean themselves
        rows = csv.reader(_lines(path), delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        rows = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    try:
        heading = [name.strip().lower() for name in next(rows, [])]
        at = next((heading.index(name) for name in columns if name in heading), None)
        if at is None:
            raise StudioError(
                "The first line of “{name}” has no column of prompts.",
                "Name the column {column}.",
                name=path.name,
                column=columns[0].capitalize(),
            )
        category = heading.index("category") if "category" in heading else None
        for row in rows:
            if not row:
                continue
            if len(row) <= at:
                raise StudioError(
                    "{place} of “{name}” has {count} of {columns} columns.",
                    "Correct or remove it.",
                    place=_line(rows.line_num),
                    name=path.name,
                    count=len(row),
                    columns=len(heading),
                )
            kind = row[category] if category is not None and category < len(row) else ""
            yield _checked(path, _line(rows.line_num), row[at], kind)
    except csv.Error as error:
        raise StudioError(
            "{place} of “{name}” is malformed: {reason}.",
            "Correct or remove it.",
            place=_line(rows.line_num),
            name=path.name,
            reason=str(error),
        ) from error


def _json_lines(path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StudioError(
                "{place} of “{name}” is not valid JSON.", "Correct or remove it.", place=_line(number), name=path.name
            ) from error
        yield _of_object(path, _line(number), row)


def _json_list(path: Path) -> Iterator[Prompt]:
    text = "\n".join(_lines(path))
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise StudioError(
            "{place} of “{name}” is not valid JSON.",
            "Correct or remove it.",
            place=_line(error.lineno),
            name=path.name,
        ) from error
    except RecursionError as error:
        raise StudioError("“{name}” is not a list of prompts.", "Give a JSON list.", name=path.name) from error
    if not isinstance(rows, list):
        raise StudioError("“{name}” is not a list of prompts.", "Give a JSON list.", name=path.name)
    for number, row in enumerate(rows, 1):
        place = Sentence("Entry {number}", number=number)
        yield _checked(path, place, row, path.stem) if isinstance(row, str) else _of_object(path, place, row)


def _of_object(path: Path, place: str, row: Any) -> Prompt:
    if not isinstance(row, dict):
        return _checked(path, place, row)
    dimension = row.get("dimension", row.get("tag", row.get("category", "")))
    if isinstance(dimension, list):  # VBench: one prompt may serve several dimensions
        dimension = ", ".join(str(part) for part in dimension)
    return _checked(path, place, row.get("prompt_en", row.get("prompt")), dimension)


def _parquet(path: Path) -> Iterator[Prompt]:
    if importlib.util.find_spec("pyarrow") is None:
        raise StudioError(
            "“{name}” is a Parquet file, and pyarrow is not installed.",
            "Run pip install pyarrow, or use a text file.",
            name=path.name,
        )
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path)
        name = next((name for name in ("caption", "prompt", "text") if name in table.schema_arrow.names), None)
        if name is None:
            raise StudioError("“{name}” has no column caption.", "Use a file of the Pick-a-Pic set.", name=path.name)
        number = 0
        for batch in table.iter_batches(columns=[name], batch_size=1024):
            for text in batch.column(0).to_pylist():
                number += 1
                yield _checked(path, Sentence("Row {number}", number=number), text)
    except pyarrow.ArrowException as error:
        raise StudioError(
            "“{name}” is not a readable Parquet file.", "Copy or download the file again.", name=path.name
        ) from error


_READERS: dict[str, Callable[[Path], Iterator[Prompt]]] = {
    ".txt": _text,
    ".tsv": lambda path: _table(path, "\t", ("prompt", "prompts", "caption")),
    ".csv": lambda path: _table(path, ",", ("prompts", "prompt", "caption")),
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".parquet": _parquet,
}
