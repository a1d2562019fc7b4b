"""Tests run offline, on one thread, the same every time, and far from the runs and pictures of the person here."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from tests.builders import warm
from tests.builders.studio import NO_BROWSER, NO_CARD

torch.set_num_threads(1)
# no deadline: how long an example takes depends on what else the machine does
settings.register_profile("quiet", print_blob=True, derandomize=True, deadline=None)
settings.load_profile("quiet")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The lanes: what opens a browser, what starts programs, and the rest, which is fast."""
    for item in items:
        if "browser" in item.fixturenames:
            item.add_marker("browser")
        elif "warm_starts" in item.fixturenames:
            item.add_marker("process")


def pytest_terminal_summary(terminalreporter):
    for what, reason in (("of the page", NO_BROWSER), ("on a card", NO_CARD)):
        skipped = [r for r in terminalreporter.stats.get("skipped", []) if reason in str(r.longrepr)]
        if skipped:
            terminalreporter.write_line(f"{len(skipped)} tests {what} were skipped: {reason}")


@pytest.fixture(autouse=True, scope="session")
def _workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SELF_NPO_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        yield


@pytest.fixture(scope="session")
def warm_starts(tmp_path_factory):
    """Programs start as copies of a process that has imported the libraries; one such process for all workers."""
    folder = tmp_path_factory.getbasetemp()
    with warm.kept(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder):
        yield


@pytest.fixture
def warm_runs(warm_starts, monkeypatch):
    """Trainings start so, too."""
    from core.studio.runs import process

    monkeypatch.setattr(process, "subprocess", warm.SUBPROCESS)


@pytest.fixture
def warm_conversions(warm_starts, monkeypatch):
    """The children that read pickles start so, too."""
    from core.offsets import unpickle

    monkeypatch.setattr(unpickle, "subprocess", warm.CONVERSIONS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
