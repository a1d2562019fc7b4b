"""How the page's server starts: at the next free port, told, and for nobody else."""

import socket

import pytest

from app.serve import free_port
from core.errors import StudioError
from tests.builders import pages


@pytest.fixture
def taken():
    """A port that somebody listens at; those after it are, as a rule, free."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_row_52_a_busy_port_is_passed_over(taken):
    assert taken < free_port(taken, "127.0.0.1") < taken + 100


def test_row_52_the_page_is_served_at_the_next_port_and_prints_it(tmp_path):
    with pages.served(tmp_path / "first") as first, pages.served(tmp_path / "second") as second:
        assert first.address != second.address
        assert {page.ask("GET", "/")[0] for page in (first, second)} == {200}


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_what_is_not_a_port_is_refused(port):
    with pytest.raises(StudioError, match="port"):
        free_port(port, "127.0.0.1")


def test_a_hundred_busy_ports_are_reported(monkeypatch):
    def refuse(self, address):
        raise OSError("in use")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(StudioError, match="No free port was found from 7860 upwards"):
        free_port(7860, "127.0.0.1")
