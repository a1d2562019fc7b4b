"""How every floor writes and reads small files: whole or not at all, and never in an OSError's words.

Standard library only, so that training, generation and the studio share it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from core.errors import Damaged, DiskFull, Sentence, StudioError

T = TypeVar("T")
LIMIT, DEPTH = 2**20, 64
"""Bytes and nesting that a JSON file of this program, or a model's configuration, never reaches."""
_STAGED = re.compile(r"\..*\.(\d+)-[0-9a-f]{8}\.tmp")
_KINDS = {dict: "object", list: "list", str: "text", int: "whole number", float: "number", bool: "true or false"}


def cannot_write(name: str, error: OSError) -> StudioError:
    """What a person should know of a refused write; `name` is the file's, without its folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("“{name}” could not be written: the disk is full.", "Free disk space.", name=name)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StudioError(
            "“{name}” could not be written: its folder is read-only.",
            "Allow writing there, or choose another workspace with --workspace.",
            name=name,
        )
    return StudioError("“{name}” could not be written: the disk reports a fault.", "Check the disk.", name=name)


def cannot_read(name: str, error: OSError) -> StudioError:
    """What a person should know of a refused read; `name` is the file's, without its folder."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StudioError("“{name}” does not exist.", "Choose another.", name=name)
    if isinstance(error, PermissionError):
        return StudioError("“{name}” cannot be read: permission is denied.", "Allow reading it.", name=name)
    return StudioError("“{name}” cannot be read: the disk reports a fault.", "Check the disk.", name=name)


def flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on a folder to flush
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file that appears whole or not at all: the block writes the staged path that it is handed.

    When the block ends, the staged file is flushed and takes the place of `path` at once; when anything fails, `path` is
    what it was before and no other file is left.

    Raises:
        DiskFull: there is no room.
        StudioError: the folder or the disk refuses.
    """
    staged = path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield staged
        flush(staged)
        os.replace(staged, path)
        flush(path.parent)
    except OSError as error:
        raise cannot_write(path.name, error) from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8: whole, or not at all.

    Raises:
        StudioError: as `whole_file`, or the text is not valid Unicode.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StudioError(
            "“{name}” could not be written: the text has a character that is not valid Unicode.",
            "Remove unusual characters.",
            name=path.name,
        ) from error
    with whole_file(path) as staged:
        staged.write_bytes(data)


def write_json(path: Path, data: Any, *, indent: int | None = 2) -> None:
    """Writes JSON as `write_text` writes text."""
    write_text(path, json.dumps(data, indent=indent) + "\n")


def sweep(folder: Path) -> int:
    """Removes staged files whose writer was killed; those of living processes stay. The number removed."""
    removed = 0
    with suppress(OSError):
        for path in folder.iterdir():
            if (match := _STAGED.fullmatch(path.name)) and not _alive(int(match[1])):
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)  # type: ignore[attr-defined,unused-ignore]
        return bool(handle) and bool(ctypes.windll.kernel32.CloseHandle(handle))  # type: ignore[attr-defined,unused-ignore]
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Files by the time they were written, newest first; those that vanish meanwhile are left out."""
    times: list[tuple[float, Path]] = []
    for path in paths:
        with suppress(OSError):
            times.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(times, key=lambda pair: pair[0], reverse=True)]


def read_text(path: Path, *, limit: int = LIMIT) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        Damaged: it is longer than `limit` bytes, or not UTF-8.
        StudioError: it is missing, not a regular file, or the disk refuses.
    """
    try:
        # a pipe would keep the reader waiting forever, and a device never ends
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise StudioError("“{name}” is not a regular file.", "Choose another.", name=path.name)
            raw = file.read(limit + 1)
    except OSError as error:
        raise cannot_read(path.name, error) from error
    if len(raw) > limit:
        raise Damaged(
            "“{name}” is larger than {limit} KiB.", "Choose a smaller file.", name=path.name, limit=limit // 1024
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged("“{name}” is not UTF-8 text.", "Save it as UTF-8.", name=path.name) from error


def read_json(path: Path, kind: type[T], *, limit: int = LIMIT, depth: int = DEPTH) -> T:
    """The value in a JSON file, of the kind expected: dict, list, str, int, float or bool.

    Raises:
        Damaged: it is too large, damaged, ambiguous or of another kind; the sentence says which.
        StudioError: it cannot be read.
    """
    return parse_json(read_text(path, limit=limit), kind, name=path.name, depth=depth)


def parse_json(text: str, kind: type[T], *, name: str, depth: int = DEPTH) -> T:
    """The value in JSON text, of the kind expected. Refused are NaN and infinities, keys that appear twice, numbers of
    thousands of digits, lone surrogates, and nesting deeper than `depth`.

    Args:
        name: what the text is called in a sentence.

    Raises:
        Damaged: as `read_json`.
    """
    reason = Sentence("")
    value: Any = None
    if _depth_of(text) > depth:
        reason = Sentence("it is nested too deeply")
    else:
        try:
            value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
            if "\\u" in text:
                json.dumps(value, ensure_ascii=False).encode("utf-8")
        except _Refused as refused:
            reason = refused.args[0]
        except UnicodeEncodeError:
            reason = Sentence("it has a character that is not valid Unicode")
        except (ValueError, RecursionError):
            reason = Sentence("it is not valid JSON")
    if not reason and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        reason = Sentence("it does not hold a JSON {kind}", kind=Sentence(_KINDS.get(kind, kind.__name__)))
    if reason:
        raise Damaged("“{name}” is damaged: {reason}.", "Replace or remove the file.", name=name, reason=reason)
    return value  # type: ignore[no-any-return]


class _Refused(ValueError):
    """JSON that Python would read and we do not."""


def _no_constant(text: str) -> float:
    raise _Refused(Sentence("it holds {text}, which is not a number", text=text))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Refused(Sentence("a key appears twice"))
    return values


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def _depth_of(text: str) -> int:
    deepest = now = 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            now += 1
            deepest = max(deepest, now)
        elif token[0] in "]}":
            now -= 1
    return deepest
