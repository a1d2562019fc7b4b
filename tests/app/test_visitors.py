"""In a Space each visitor's pictures are the visitor's own, and gone within the hour."""

import os
import re
import time
from urllib.parse import quote

import pytest

from app.space import KEPT, SWEPT, Visitors
from tests.builders import pages


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    with pages.served(tmp_path_factory.mktemp("space"), SPACE_ID="someone/studio") as opened:
        yield opened


def rendered(space) -> list[str]:
    """The addresses of the pictures that a visitor's page is told after a rendering of one pair."""
    from gradio_client import Client

    client = Client(space.address, verbose=False)
    parameters = client.view_api(return_format="dict")["named_endpoints"]["/compare"]["parameters"]
    names = {p["label"]["key"]: p["parameter_name"] for p in parameters}
    answer = client.predict(api_name="/compare", **{"picture": None, names["Steps"]: 1, names["Pairs"]: 1})
    return re.findall(r"/gradio_api/file=[^\"&?']+\.png", str(answer))


def test_fault_79_a_picture_is_served_to_the_session_that_made_it_alone(space):
    first, second = rendered(space), rendered(space)
    assert first and second
    for address in first + second:
        assert space.ask("GET", address)[0] == 200, "its own page shows it"
    folders = [folder.name for folder in space.uploads.glob("visitor-*")]
    assert len(folders) == 2 and all(re.fullmatch("visitor-[0-9a-f]{32}", name) for name in folders)
    assert not any(folders[at] in address for at, address in enumerate([second, first])), "told to no other session"
    outputs = space.workspace / "outputs"
    assert not list(outputs.iterdir())
    # what was served once: whatever lies in the outputs, to whoever names it
    (outputs / "known.png").write_bytes(b"\x89PNG")
    for path in (outputs / "known.png", space.uploads / "known.png", space.uploads / folders[0], space.uploads):
        assert space.ask("GET", f"/gradio_api/file={quote(str(path))}")[0] == 403


def test_a_session_has_one_folder_and_an_asker_without_one_none_for_long(tmp_path):
    session = "a"
    visitors = Visitors(tmp_path, lambda: session)
    mine = visitors.folder()
    assert visitors.folder() == mine
    session = "b"
    assert visitors.folder() != mine
    session = ""
    assert visitors.folder() != visitors.folder()


def test_faults_71_and_79_what_is_older_is_deleted_within_the_hour_and_nothing_else(tmp_path):
    visitors = Visitors(tmp_path / "shown", lambda: "a")
    folder = visitors.folder()
    uploaded = tmp_path / "shown" / "upload" / "mine.png"
    uploaded.parent.mkdir()
    outside = tmp_path / "outside.png"
    for path in (folder / "old.png", folder / "new.png", uploaded, outside):
        path.write_bytes(b"x")
    (folder / "link.png").symlink_to(outside)
    past = time.time() - KEPT - 1
    for path in (folder / "old.png", uploaded, outside):
        os.utime(path, (past, past))
    os.utime(folder / "link.png", (past, past), follow_symlinks=False)
    visitors.sweep()
    assert sorted(path.name for path in folder.iterdir()) == ["new.png"] and not uploaded.exists()
    assert outside.exists() and visitors.folder() == folder
    os.utime(folder / "new.png", (past, past))
    visitors.sweep()
    assert folder.exists() and not list(folder.iterdir()), "a folder that just lost a file is young"
    os.utime(folder, (past, past))
    visitors.sweep()
    assert not folder.exists() and visitors.folder() != folder, "a session that comes back gets another"
    assert KEPT + SWEPT <= 3_600


def test_the_running_server_sweeps(tmp_path, monkeypatch):
    from app import space as module

    monkeypatch.setattr(module, "SWEPT", 0.05)
    with pages.served(tmp_path, SPACE_ID="someone/studio") as space:
        old = space.uploads / "old.png"
        old.write_bytes(b"x")
        past = time.time() - KEPT - 1
        os.utime(old, (past, past))
        end = time.monotonic() + 20
        while old.exists():
            assert time.monotonic() < end, "nothing was swept"
            time.sleep(0.05)


def test_fault_53_what_a_killed_studio_left_is_removed_and_a_living_ones_is_not(tmp_path, monkeypatch):
    import subprocess
    import sys
    import tempfile

    from app.serve import uploads_folder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, living, other = (tmp_path / f"self-npo-page-{who}-x" for who in (ended.pid, os.getpid(), "notes"))
    for folder in (left, living, other):
        folder.mkdir()
        (folder / "picture.png").write_bytes(b"x")
    mine = uploads_folder()
    assert not left.exists() and (living / "picture.png").exists() and (other / "picture.png").exists()
    assert mine.stat().st_mode & 0o077 == 0, "nobody else on this machine reads it"
