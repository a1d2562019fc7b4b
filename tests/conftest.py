"""Tests run offline, on one thread, the same every time, and far from the runs and pictures of the person here."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# no deadline: how long an example takes depends on what else the machine does
settings.register_profile("quiet", print_blob=True, derandomize=True, deadline=None)
settings.load_profile("quiet")


@pytest.fixture(autouse=True, scope="session")
def _workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SELF_NPO_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        yield


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
