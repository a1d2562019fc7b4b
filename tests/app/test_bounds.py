"""How much a request may bring, and how fast passwords may be tried."""

import asyncio
import threading
import time

import pytest

from app.page import bounds
from app.page.bounds import BoundedBodies, SlowedLogins
from tests.builders import pages
from tests.builders.coroutines import finished

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def form(*sizes: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a%d"\r\n\r\n'
    return b"".join(head % at + b"0" * size + b"\r\n" for at, size in enumerate(sizes)) + b"--x--\r\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pages.served(tmp_path_factory.mktemp("bounds")) as opened:
        yield opened


def stored(page) -> int:
    return bounds.size_of(page.uploads)


def test_an_upload_within_the_limit_is_taken(page):
    assert page.ask("POST", "/gradio_api/upload", FORM, form(1_000))[0] == 200


@pytest.mark.parametrize("sizes", [(65,), (30, 30, 30, 30, 30), (22, 22, 22)])
def test_faults_70_and_80_a_request_is_bounded_however_many_files_it_brings(page, sizes):
    before = stored(page)
    status, _, body = page.ask("POST", "/gradio_api/upload", FORM, form(*(size * 2**20 for size in sizes)))
    assert status == 413 and body == b"The request is larger than 64 MiB."
    assert stored(page) == before, "nothing of it is kept"


def test_an_event_is_bounded(page):
    body = b'"' + b"a" * (9 * 2**20) + b'"'
    assert page.ask("POST", "/gradio_api/run/x", {"Content-Type": "application/json"}, body)[0] == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "٣"])
def test_a_request_that_hides_its_length_is_refused(page, length):
    headers = {**FORM, "Content-Length": length.encode()}
    assert page.ask("POST", "/gradio_api/upload", headers)[0] in (400, 411)
    chunked = {**FORM, "Content-Length": None, "Transfer-Encoding": "chunked"}
    sent = form(10)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent)
    assert page.ask("POST", "/gradio_api/upload", chunked, body)[0] == 411


def test_fault_70_uploads_never_fill_the_disk(page, monkeypatch):
    monkeypatch.setattr(bounds, "KEPT_LIMIT", stored(page) + 100)
    status, _, body = page.ask("POST", "/gradio_api/upload", FORM, form(1_000))
    assert status == 507 and b"no room for more uploads" in body
    monkeypatch.undo()
    usage = bounds.shutil.disk_usage(".")
    monkeypatch.setattr(bounds.shutil, "disk_usage", lambda path: usage._replace(free=bounds.SPARE + 100))
    assert page.ask("POST", "/gradio_api/upload", FORM, form(1_000))[0] == 507
    monkeypatch.undo()
    assert page.ask("POST", "/gradio_api/upload", FORM, form(1_000))[0] == 200


def test_two_uploads_at_once_share_the_room(tmp_path, monkeypatch):
    """Neither is on the disk yet when the other is asked about."""
    monkeypatch.setattr(bounds, "KEPT_LIMIT", 1_500)
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def race():
        arrived = asyncio.Event()

        async def slow(scope, receive, send):
            await arrived.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        bounded = BoundedBodies(slow, tmp_path)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/gradio_api/upload",
            "headers": [(b"content-length", b"1000")],
        }
        first = asyncio.create_task(bounded(scope, receive, send))
        while not bounded.arriving:
            await asyncio.sleep(0)
        await bounded(scope, receive, send)
        arrived.set()
        await first
        await bounded(scope, receive, send)

    finished(race())
    assert statuses == [507, 200, 200]


def test_fault_80_wrong_passwords_cost_time_and_a_right_one_forgets_them():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    right = False

    async def gradio(scope, receive, send):
        await send({"type": "http.response.start", "status": 200 if right else 400, "headers": []})

    async def swallow(message):
        pass

    async def attempt(logins, address, times):
        for _ in range(times):
            await logins({"type": "http", "path": "/login", "client": (address, 1), "headers": []}, None, swallow)

    logins = SlowedLogins(gradio, sleep=sleep)
    finished(attempt(logins, "10.0.0.1", 9))
    assert slept == [1, 2, 4, 8, 8, 8]
    finished(attempt(logins, "10.0.0.2", 3))
    assert len(slept) == 6, "another address pays for its own alone"
    right = True
    finished(attempt(logins, "10.0.0.1", 1))
    right = False
    del slept[:]
    finished(attempt(logins, "10.0.0.1", 4))
    assert slept == [1]


def test_fault_80_thirty_wrong_passwords_at_once_are_not_thirty_tries(tmp_path, monkeypatch):
    """Through the running server: they take turns, and those that find no place to wait are refused."""
    began = time.monotonic()
    monkeypatch.setattr(SlowedLogins.__init__, "__defaults__", (0.1, 0.1, asyncio.sleep))
    with pages.served(tmp_path, "--listen", "--auth", "me:secret") as page:
        statuses = []

        def attempt(at):
            body = f"username=me&password=x{at}".encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            statuses.append(page.ask("POST", "/login", headers, body)[0])

        threads = [threading.Thread(target=attempt, args=(at,)) for at in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {400, 429} and statuses.count(400) < 30
        right = b"username=me&password=secret"
        assert page.ask("POST", "/login", {"Content-Type": "application/x-www-form-urlencoded"}, right)[0] == 200
    assert time.monotonic() - began > 0.1 * (statuses.count(400) - SlowedLogins.FREE)
