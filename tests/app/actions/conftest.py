"""A workspace, an engine that draws at once, and the values that Compare opens with."""

import pytest

from core.studio.comparing.settings import opening_values
from core.studio.library.choose import BUNDLED
from core.studio.workspace import Workspace
from tests.builders.player import Player


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


@pytest.fixture
def engine(workspace):
    return Player(workspace)


@pytest.fixture
def values(workspace):
    return opening_values(workspace, {"base": BUNDLED, "images": 2})
