"""Workspaces of every version open; what changes is kept aside first, and a newer one is refused untouched."""

import json
import shutil
from pathlib import Path

import pytest

from core.errors import StudioError
from core.studio import upgrade
from core.studio.comparing.gallery import favourites
from core.studio.library.entries import folders
from core.studio.presets.files import list_presets
from core.studio.presets.reading import read_preset
from core.studio.presets.resolving import resolve
from core.studio.runs.run import get_run, list_runs
from core.studio.workspace import Workspace

KEPT = Path(__file__).parent / "workspaces"
"""Small files as each version wrote them."""


def states(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_a_workspace_of_every_version_opens_whole(version, tmp_path):
    root = tmp_path / "space"
    shutil.copytree(KEPT / version, root)
    before = states(root)
    workspace, faults = Workspace(root), []
    runs = {run.id: run for run in list_runs(workspace, faults.append)}
    assert (runs["done-1"].status, runs["done-1"].step, runs["paused-2"].status) == ("finished", 1, "paused")
    assert get_run(workspace, "paused-2").config.seed == 4 and not faults
    assert "mine" in [stored.name for stored in list_presets(workspace)]
    mine = read_preset(workspace.presets / "mine.json")
    assert resolve(workspace, mine).values["omega"] == 3.0
    if version != "0.1":
        assert [folder.name for folder in folders(workspace)] == ["models"]
        assert favourites(workspace) == {"20260101-000000-abcdef-1-4.png"}
    assert (root / "runs" / "paused-2" / "request").read_text() == "pause"
    now = states(root)
    changed = {name for name in before if now.get(name) != before[name]}
    assert changed == (set() if version == "0.3" else {"runs/paused-2/wish"})
    for name in changed:
        (copy,) = root.glob(f"backups/*/{name}")
        assert copy.read_bytes() == before[name], "what was changed is kept as it was"
    assert json.loads((root / "workspace.json").read_text()) == {
        "schema": "self-npo-workspace",
        "version": upgrade.VERSION,
    }
    Workspace(root)
    assert states(root) == now, "the second start changes nothing"


def test_a_newer_workspace_is_refused_untouched(tmp_path):
    root = tmp_path / "space"
    shutil.copytree(KEPT / "0.2", root)
    (root / "workspace.json").write_text(json.dumps({"schema": "self-npo-workspace", "version": upgrade.VERSION + 1}))
    before, folders_before = states(root), sorted(root.rglob("*"))
    with pytest.raises(
        StudioError, match="“space” was written by a newer studio: it is of version 2.*Update the studio"
    ):
        Workspace(root)
    assert states(root) == before and sorted(root.rglob("*")) == folders_before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "x"}', '{"version": -1}', '{"version": true}'])
def test_a_damaged_version_is_written_anew_and_nothing_is_lost(text, tmp_path):
    shutil.copytree(KEPT / "0.3", tmp_path, dirs_exist_ok=True)
    (tmp_path / "workspace.json").write_text(text)
    before = states(tmp_path)
    Workspace(tmp_path)
    now = states(tmp_path)
    assert json.loads(now.pop("workspace.json")) and now == {n: b for n, b in before.items() if n != "workspace.json"}


def test_what_a_kill_interrupted_is_done_by_the_next_start(tmp_path, monkeypatch):
    shutil.copytree(KEPT / "0.2", tmp_path, dirs_exist_ok=True)

    def killed(path, values):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upgrade, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            Workspace(tmp_path)
    assert upgrade.version_of(tmp_path) == 0
    Workspace(tmp_path)
    assert upgrade.version_of(tmp_path) == upgrade.VERSION
    assert (tmp_path / "runs" / "paused-2" / "request").read_text() == "pause"
