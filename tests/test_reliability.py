"""Every fault of the table has a test, or says openly that it has none."""

from tests.reliability import DOCUMENT, document, rows, tests_there_are


def test_every_fault_has_a_test_or_says_what_is_missing():
    table = rows()
    assert [row["row"] for row in table] == list(range(1, 81))
    assert not [row["row"] for row in table if not row["tests"] and not row.get("gap")]
    assert not [row["row"] for row in table if not (row["fault"] and row["expected"] and row["group"])]


def test_every_test_that_a_fault_names_is_there():
    assert not {test for row in rows() for test in row["tests"]} - set(tests_there_are())


def test_the_table_in_the_document_is_of_today():
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run python -m tests.reliability"
