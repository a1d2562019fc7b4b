"""Events are looked at before Gradio reads them: a status and a sentence, never a failure inside of it."""

import pytest

from app.page.events import fault_of


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"data": [NaN]}', "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "no list of values"),
        (b'{"data": {}}', "no list of values"),
        (b'{"data": [], "fn_index": 9}', "no such event"),
        (b'{"data": [], "fn_index": -1}', "no such event"),
        (b'{"data": [], "fn_index": true}', "no such event"),
        (b'{"data": [], "fn_index": "1"}', "no such event"),
        (b'{"data": []}', "no such event"),
        (b'{"data": [], "fn_index": 1, "session_hash": 5}', "name of the session"),
        (b'{"data": [], "fn_index": 1, "session_hash": "\\ud800"}', "name of the session"),
        (b'{"data": [], "fn_index": 1, "session_hash": "abc"}', ""),
    ],
)
def test_what_gradio_could_not_read_is_a_sentence(body, sentence):
    fault = fault_of(body, {0, 1})
    assert (sentence in fault) if sentence else fault == ""


def test_an_event_that_is_named_in_the_path_needs_no_number():
    assert fault_of(b'{"data": ["x"]}', {0}, named=True) == "" and fault_of(b'{"data": ["x"]}', {0}) != ""
    assert "no such event" in fault_of(b'{"data": [], "fn_index": 7}', {0}, named=True)
