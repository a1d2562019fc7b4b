"""Several people at one server: nobody loses work to another, and a flood of requests is bounded."""

import json
import secrets
import threading

import pytest

from tests.builders import pages


@pytest.fixture
def page(tmp_path):
    with pages.served(tmp_path) as opened:
        yield opened


def endpoint(page):
    """Index and input values of the endpoint that renders, as a program would send them."""
    config = json.loads(page.ask("GET", "/config")[2])
    at = next(d["id"] for d in config["dependencies"] if d["api_name"] == "compare")
    inputs = next(d["inputs"] for d in config["dependencies"] if d["api_name"] == "compare")
    values = {c["id"]: c.get("props", {}).get("value") for c in config["components"]}
    return at, [values[one] for one in inputs]


def join(page, session, at, data):
    """Puts an event into the queue; status and answer."""
    body = json.dumps({"fn_index": at, "data": data, "session_hash": session}).encode()
    status, _, answer = page.ask("POST", "/gradio_api/queue/join", {"Content-Type": "application/json"}, body)
    return status, json.loads(answer)


def results(page, session):
    """Every message that the session is sent until its stream ends."""
    text = page.ask("GET", f"/gradio_api/queue/data?session_hash={session}")[2].decode()
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


class Slow:
    """Renders nothing, and not before it may."""

    def __init__(self, engine, monkeypatch):
        self.may, self.began = threading.Event(), threading.Semaphore(0)
        monkeypatch.setattr(engine, "compare", self.compare)

    def compare(self, comparison, *, cancelled=lambda: False):
        self.began.release()
        self.may.wait(60)
        yield from ()


def test_row_57_two_pages_with_the_same_session_lose_nothing(page, monkeypatch):
    """A duplicated tab brings its session with it."""
    slow = Slow(page.engine, monkeypatch)
    at, data = endpoint(page)
    first, second = (join(page, "shared", at, data) for _ in range(2))
    assert first[0] == second[0] == 200
    slow.may.set()
    ended = [m["event_id"] for m in results(page, "shared") if m["msg"] == "process_completed"]
    assert sorted(ended) == sorted([first[1]["event_id"], second[1]["event_id"]])


def test_row_58_a_stranger_cannot_cancel_a_rendering(page, monkeypatch):
    slow = Slow(page.engine, monkeypatch)
    at, data = endpoint(page)
    status, answer = join(page, "mine", at, data)
    assert status == 200 and slow.began.acquire(timeout=30)
    body = json.dumps({"session_hash": "mine", "fn_index": at, "event_id": answer["event_id"]}).encode()
    for path in ("cancel", "reset", "stream/mine/close"):
        assert page.ask("POST", f"/gradio_api/{path}", {"Content-Type": "application/json"}, body)[0] == 404
    # the button Stop of another page ends what that page's own session renders, and nothing else
    stops = [d["id"] for d in json.loads(page.ask("GET", "/config")[2])["dependencies"] if d["cancels"]]
    for one in stops:
        join(page, "theirs", one, [])
    slow.may.set()
    ended = [m for m in results(page, "mine") if m["msg"] == "process_completed"]
    assert [m["event_id"] for m in ended] == [answer["event_id"]]


@pytest.mark.long
def test_row_69_a_flood_is_bounded_and_those_in_the_queue_are_served(page, monkeypatch):
    slow = Slow(page.engine, monkeypatch)
    at, data = endpoint(page)
    sessions = [secrets.token_hex(4) for _ in range(60)]
    answers = [join(page, session, at, data) for session in sessions]
    taken = [session for session, (status, _) in zip(sessions, answers, strict=True) if status == 200]
    refused = [answer for status, answer in answers if status != 200]
    assert 32 <= len(taken) <= 40 and len(taken) + len(refused) == 60
    assert all("full" in str(answer).lower() for answer in refused)
    assert page.ask("GET", "/")[0] == 200, "the page still opens"
    slow.may.set()
    for session in taken:  # each of them, whoever came first
        assert any(m["msg"] == "process_completed" for m in results(page, session))
    assert join(page, "later", at, data)[0] == 200
