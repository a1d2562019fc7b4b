"""Whole files and JSON files: what a fault leaves behind, and what a person is told of it."""

import errno
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import files
from core.errors import DiskFull, StudioError
from core.files import parse_json, read_json, read_text, sweep, whole_file, write_json, write_text

FAULTS = [
    (errno.ENOSPC, "the disk is full. Free disk space."),
    (errno.EIO, "the disk reports a fault. Check the disk."),
    (errno.EPERM, "its folder is read-only. Allow writing there"),
]


@pytest.mark.parametrize(("number", "sentence"), FAULTS)
@pytest.mark.parametrize("operation", ["mkdir", "write_bytes", "fsync", "replace"])
def test_whichever_operation_fails_the_old_file_stays_and_no_system_text_is_shown(
    tmp_path, monkeypatch, number, sentence, operation
):
    path = tmp_path / "secret-folder" / "a.json"
    write_json(path, {"old": True})
    before = path.read_bytes()

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), str(path))

    owner = os if operation in ("fsync", "replace") else type(path)
    with monkeypatch.context() as patched:
        patched.setattr(owner, operation, refuse)
        with pytest.raises(StudioError) as refused:
            write_json(path, {"new": True})
    assert str(refused.value).startswith("“a.json” could not be written: " + sentence)
    assert "secret-folder" not in str(refused.value) and os.strerror(number) not in str(refused.value)
    assert isinstance(refused.value, DiskFull) == (number == errno.ENOSPC)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["a.json"]


def test_a_block_that_fails_for_its_own_reason_leaves_nothing_and_its_error_passes(tmp_path):
    with pytest.raises(KeyError), whole_file(tmp_path / "a") as staged:
        staged.write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    with whole_file(tmp_path / "mine") as staged:
        staged.write_text("half")
        gone = tmp_path / ".a.json.999999999-0123abcd.tmp"
        gone.write_text("half")
        (tmp_path / "my.tmp").touch()
        assert sweep(tmp_path) == 1 and staged.exists() and not gone.exists() and (tmp_path / "my.tmp").exists()
    assert (tmp_path / "mine").read_text() == "half"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 3000 + "]" * 3000, "it is nested too deeply"),
        ('{"a":' * 3000, "it is nested too deeply"),
        ('{"a": NaN}', "it holds NaN, which is not a number"),
        ('{"a": -Infinity}', "it holds -Infinity"),
        ('{"a": ' + "9" * 5000 + "}", "it is not valid JSON"),
        ('{"a": 1, "a": 2}', "a key appears twice"),
        ('{"a": "\\ud800"}', "not valid Unicode"),
        ("", "it is not valid JSON"),
        ('""', "it does not hold a JSON object"),
        ("5", "it does not hold a JSON object"),
    ],
    ids=lambda text: text[:12],
)
def test_json_that_is_damaged_is_refused_with_its_reason(tmp_path, text, reason):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StudioError, match=f"“a.json” is damaged: .*{reason}.* Replace or remove the file."):
        read_json(tmp_path / "a.json", dict)


def test_what_is_not_a_small_regular_text_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b" " * 2000)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "loop").symlink_to("loop")
    for name, sentence in (
        ("pipe", "“pipe” is not a regular file."),
        ("long", "“long” is larger than 1 KiB."),
        ("bytes", "“bytes” is not UTF-8 text."),
        ("none", "“none” does not exist."),
        ("loop", "“loop” cannot be read"),
    ):
        with pytest.raises(StudioError) as refused:
            read_text(tmp_path / name, limit=1024)
        assert str(refused.value).startswith(sentence) and str(tmp_path) not in str(refused.value)


def test_text_that_is_not_unicode_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(StudioError, match="not valid Unicode"):
        write_text(tmp_path / "a", "\ud800")
    assert not list(tmp_path.iterdir())


def test_a_new_file_has_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_the_program_writes_it_reads_again(value):
    try:
        text = json.dumps(value, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return
    assert parse_json(text, dict, name="a") == value


@given(st.text() | st.from_regex(r"[\[\]{}\",:0-9eE.\\u-]*"))
def test_any_text_is_a_value_or_a_sentence(text):
    try:
        parse_json(text, dict, name="a")
    except StudioError as error:
        assert str(error).startswith("“a” is damaged: ")


def test_nesting_inside_texts_does_not_count():
    assert files._depth_of(json.dumps({"a": "[[[[" + '"{{', "b": [1]})) == 2
