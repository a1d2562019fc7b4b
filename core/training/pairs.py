"""Pairs of pictures with a prompt, one preferred and one rejected: read from a folder, a JSONL file or a Parquet file.

folder    preferred/NAME.png and rejected/NAME.png, the prompt in preferred/NAME.txt; or a pairs.jsonl in it
JSONL     {"prompt": …, "preferred": FILE, "rejected": FILE} a line, files relative to its folder
Parquet   columns prompt (or caption), preferred, rejected, or jpg_0, jpg_1 and label_0 as in Pick-a-Pic, pictures as bytes
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from core.errors import StudioError
from core.training.pictures import ENDINGS

COLUMNS = ("prompt", "preferred", "rejected")
REMEDY = "Correct or remove that pair."


@dataclass(frozen=True)
class Pair:
    """A prompt and two encoded pictures (the bytes of their files); `name` is what a person finds the pair by."""

    name: str
    prompt: str
    preferred: bytes
    rejected: bytes

    @property
    def key(self) -> str:
        """A hash of its content."""
        digest = hashlib.blake2b(self.prompt.encode("utf-8", "replace"), digest_size=16)
        for content in (self.preferred, self.rejected):
            digest.update(hashlib.blake2b(content, digest_size=16).digest())
        return digest.hexdigest()


def read_pairs(source: Path, batch_size: int) -> list[Pair]:
    """All pairs of a source, each checked.

    Args:
        batch_size: there must be as many at least.

    Raises:
        StudioError: no such source, a column of another name (those found are named), a picture that is missing, damaged or
            the same twice, or fewer pairs than a batch; the pair is named.
    """
    if source.is_dir():
        named = source / "pairs.jsonl"
        pairs = list(_of_jsonl(named) if named.is_file() else _of_folder(source))
    elif not source.is_file():
        raise StudioError(
            "There is no folder or file of pairs named “{name}”.",
            "Choose a folder, a JSONL file or a Parquet file.",
            name=source.name,
        )
    elif source.suffix.lower() == ".parquet":
        pairs = list(_of_parquet(source))
    else:
        pairs = list(_of_jsonl(source))
    for pair in pairs:
        _check(pair)
    if len(pairs) < batch_size:
        raise StudioError(
            "“{name}” contains {count} pairs, fewer than one batch of {batch}.",
            "Add pairs, or lower batch_size.",
            name=source.name,
            count=len(pairs),
            batch=batch_size,
        )
    return pairs


def opened(content: bytes, name: str) -> Image.Image:
    """A picture in RGB.

    Raises:
        StudioError: it is damaged or too large.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError("A picture of the pair {name} is not a readable image.", REMEDY, name=name) from error


def _check(pair: Pair) -> None:
    if pair.preferred == pair.rejected:
        raise StudioError("The pair {name} has the same picture twice.", REMEDY, name=pair.name)
    for content in (pair.preferred, pair.rejected):
        opened(content, pair.name)


def _content(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise StudioError(
            "The pair {name} is missing its picture “{file}”.", REMEDY, name=name, file=path.name
        ) from error


def _of_folder(folder: Path) -> Iterator[Pair]:
    preferred, rejected = folder / "preferred", folder / "rejected"
    if not preferred.is_dir() or not rejected.is_dir():
        raise StudioError(
            "“{name}” is not a folder of pairs.",
            "It needs the folders preferred and rejected with matching file names, or a pairs.jsonl.",
            name=folder.name,
        )
    for path in sorted(path for path in preferred.iterdir() if path.suffix.lower() in ENDINGS):
        beside = path.with_suffix(".txt")
        prompt = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
        other = next(
            (rejected / f"{path.stem}{end}" for end in ENDINGS if (rejected / f"{path.stem}{end}").is_file()), None
        )
        yield Pair(path.stem, prompt, _content(path, path.stem), _content(other or rejected / path.name, path.stem))


def _of_jsonl(path: Path) -> Iterator[Pair]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError("“{name}” is not a readable text file.", "Save it as UTF-8.", name=path.name) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StudioError(
                "Line {line} of “{name}” is not valid JSON.",
                "Correct or remove that line.",
                line=number,
                name=path.name,
            ) from error
        columns = list(row) if isinstance(row, dict) else []
        _check_columns(path, columns, set(COLUMNS) <= set(columns))
        files = [path.parent / str(row[column]) for column in ("preferred", "rejected")]
        yield Pair(f"{number}", str(row["prompt"]), *(_content(file, f"{number}") for file in files))


def _check_columns(path: Path, columns: list[str], right: bool) -> None:
    if not right:
        raise StudioError(
            "“{name}” does not have the columns of pairs; it has {columns}.",
            "Name them prompt, preferred and rejected.",
            name=path.name,
            columns=", ".join(str(column)[:40] for column in columns[:12]) or "none",
        )


def _of_parquet(path: Path) -> Iterator[Pair]:
    if importlib.util.find_spec("pyarrow") is None:
        raise StudioError(
            "“{name}” is a Parquet file, and pyarrow is not installed.", "Run pip install pyarrow.", name=path.name
        )
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise StudioError(
            "“{name}” is not a readable Parquet file.", "Copy or download it again.", name=path.name
        ) from error
    for number, row in enumerate(rows, 1):
        yield from _of_row(path, number, row)


def _of_row(path: Path, number: int, row: Mapping[str, Any]) -> Iterator[Pair]:
    """The pair of a Parquet row; none of a tie of Pick-a-Pic."""
    prompt = row.get("prompt", row.get("caption"))
    ours, picked = {"preferred", "rejected"} <= set(row), {"jpg_0", "jpg_1", "label_0"} <= set(row)
    _check_columns(path, list(row), prompt is not None and (ours or picked))
    if ours:
        yield Pair(f"{number}", str(prompt), _bytes_of(row["preferred"], number), _bytes_of(row["rejected"], number))
    elif row["label_0"] in (0, 1):
        first, second = (_bytes_of(row[name], number) for name in ("jpg_0", "jpg_1"))
        yield Pair(f"{number}", str(prompt), *((first, second) if row["label_0"] == 1 else (second, first)))


def _bytes_of(value: Any, number: int) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise StudioError("The pair {name} is missing its picture “{file}”.", REMEDY, name=str(number), file="bytes")
    return content
