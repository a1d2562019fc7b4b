"""A workspace with a tiny random model in it."""

import pytest

from tests.builders.spaces import tiny_space


@pytest.fixture
def workspace(tmp_path):
    return tiny_space(tmp_path / "space")
