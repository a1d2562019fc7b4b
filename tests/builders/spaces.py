"""Workspaces of tests."""

from pathlib import Path

from core.families import get
from core.studio.workspace import Workspace


def tiny_space(folder: Path) -> Workspace:
    """A workspace with a tiny random model in it."""
    made = Workspace(folder)
    base = made.models / "tiny"
    get("sd15").tiny().save_pretrained(base)
    (base / "prompts.txt").write_text("one\ntwo\nthree\n")
    return made
