"""Sets of prompts in their own formats; what cannot be read is named by line."""

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StudioError
from core.evaluation.prompts import Prompt, read_prompts


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_each_format_gives_its_prompts_with_their_categories(tmp_path):
    for name, content, expected in (
        ("own.txt", "﻿one\r\n\r\n two \n", [Prompt("one"), Prompt("two")]),
        (
            "PartiPrompts.tsv",
            'Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\t\na sign that says "go\tArts\tWriting\tx\n',
            [Prompt("bond", "Abstract"), Prompt('a sign that says "go', "Arts")],
        ),
        (
            "DrawBench.csv",
            'Prompts,Category\nA red car.,Colors\n"One cat, two dogs",Counting\n',
            [Prompt("A red car.", "Colors"), Prompt("One cat, two dogs", "Counting")],
        ),
        (
            "evaluation_metadata.jsonl",
            '{"tag": "single_object", "include": [{"class": "bench"}], "prompt": "a photo of a bench"}\n',
            [Prompt("a photo of a bench", "single_object")],
        ),
        ("anime.json", '["a girl", "a cat"]', [Prompt("a girl", "anime"), Prompt("a cat", "anime")]),
        (
            "VBench_full_info.json",
            '[{"prompt_en": "a still frame", "dimension": ["temporal_flickering", "color"]}]',
            [Prompt("a still frame", "temporal_flickering, color")],
        ),
    ):
        assert list(read_prompts(written(tmp_path, name, content))) == expected, name


def test_a_parquet_file_gives_its_captions(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: Pick-a-Pic files are not tested")
    from pyarrow import parquet

    path = tmp_path / "test_unique.parquet"
    parquet.write_table(pyarrow.table({"caption": ["a", "b"], "label": [1, 0]}), path)
    assert list(read_prompts(path)) == [Prompt("a"), Prompt("b")]
    with pytest.raises(StudioError, match="readable Parquet"):
        list(read_prompts(written(tmp_path, "broken.parquet", b"PAR1 nothing")))


def test_a_folder_gives_its_files_in_order_and_a_count_ends_it(tmp_path):
    folder = tmp_path / "hpdv2"
    folder.mkdir()
    written(folder, "photo.json", '["c"]')
    written(folder, "anime.json", '["a", "b"]')
    written(folder, "notes.md", "no prompts")
    assert [(p.text, p.category) for p in read_prompts(folder)] == [("a", "anime"), ("b", "anime"), ("c", "photo")]
    assert [p.text for p in read_prompts(folder, 2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.txt", "\n\n", "contains no prompt"),
        ("a.txt", "", "contains no prompt"),
        ("a.txt", b"one\ntw\xff\n", "Line 2 of “a.txt” is not UTF-8"),
        ("a.txt", "one".encode("utf-16"), "Line 1 of “a.txt” is not UTF-8"),
        ("a.txt", "ab\nc" + "x" * 4000, "Line 2 of “a.txt” is longer than 4000"),
        ("a.tsv", "Prompt\tCategory\none\tx\n\t y\n", "Line 3 of “a.tsv” has no prompt"),
        ("a.tsv", "Text\tKind\none\tx\n", "first line of “a.tsv” has no column"),
        ("a.csv", "Category,Prompts\nx,one\ny\n", "Line 3 of “a.csv” has 1 of 2 columns"),
        ("a.csv", 'Prompts\n"one\n', "Line 2 of “a.csv” is malformed"),
        ("a.jsonl", '{"prompt": "one"}\n{"prompt": \n', "Line 2 of “a.jsonl” is not valid JSON"),
        ("a.jsonl", '{"prompt": "one"}\n\n{"tag": "x"}\n', "Line 3 of “a.jsonl” has no prompt"),
        ("a.json", '["one",\n 2]', "Entry 2 of “a.json” has no prompt"),
        ("a.json", '["one",\n "two" "three"]', "Line 2 of “a.json” is not valid JSON"),
        ("a.json", '{"a": 1}', "not a list of prompts"),
        ("a.pdf", "x", "not in a known prompt format"),
    ],
)
def test_what_cannot_be_read_is_named_by_line(tmp_path, name, content, named):
    with pytest.raises(StudioError, match=named.replace("(", r"\(")):
        list(read_prompts(written(tmp_path, name, content)))


@given(st.binary(max_size=300), st.sampled_from([".txt", ".tsv", ".csv", ".jsonl", ".json"]))
def test_no_content_of_a_file_gives_another_error(tmp_path_factory, content, suffix):
    path = written(tmp_path_factory.mktemp("prompts"), f"any{suffix}", content)
    with contextlib.suppress(StudioError):
        assert all(prompt.text for prompt in read_prompts(path))


def test_a_hundred_thousand_prompts_stream(tmp_path):
    path = written(
        tmp_path, "many.jsonl", "".join(json.dumps({"prompt": f"prompt {n}"}) + "\n" for n in range(100_000))
    )
    tracemalloc.start()
    assert sum(1 for _ in read_prompts(path)) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
