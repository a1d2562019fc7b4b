"""Tests run offline, on one thread, and the same every time."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("quiet", print_blob=True, derandomize=True)
settings.load_profile("quiet")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
