"""A workspace with a tiny random model in it."""

import pytest

from core.families import get
from core.studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "space")
    base = made.models / "tiny"
    get("sd15").tiny().save_pretrained(base)
    (base / "prompts.txt").write_text("one\ntwo\nthree\n")
    return made
