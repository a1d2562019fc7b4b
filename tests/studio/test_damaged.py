"""One damaged file in a workspace is left out and named; everything else goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from core.errors import StudioError
from core.generation.media import CHUNK, save_png
from core.studio.comparing.gallery import bring_back, pictures, put_away, toggle_favourite
from core.studio.library.choose import list_bases, start_values
from core.studio.library.entries import entries, kind_of
from core.studio.presets.files import list_presets
from core.studio.runs.journal import FILE, read_events, read_newest
from core.studio.runs.run import Run, create_run, list_runs
from core.studio.workspace import Workspace
from core.training.config import TrainConfig

ROOT = Path(__file__).parents[2]
NESTED = "[" * 3000 + "]" * 3000
BAD_JSON = ['""', "5", "null", "[]", "{", NESTED, '{"a": NaN}', "\x00", '{"_class_name": [1]}', "\ud800"]


def damage(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    return path


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:9])
def test_fault_76_a_damaged_run_is_left_out_and_named(workspace, text):
    good = create_run(workspace, TrainConfig(base="tiny"), "good")
    damage(workspace.runs / "bad" / "config.json", text)
    faults = []
    assert [run.id for run in list_runs(workspace, faults.append)] == [good.id]
    assert len(faults) == 1 and "The settings of run “bad” cannot be read." in str(faults[0])
    assert str(workspace.root) not in str(faults[0])


@pytest.mark.parametrize(
    "line",
    [
        "5",
        '""',
        "[1]",
        "{}",
        '{"event": 5}',
        '{"event": "StepDone", "step": "x"}',
        '{"event": "StepDone", "step": 1, "loss": {}, "learning_rate": 1, "gradient_norm": 1, "rate": 1, "memory": 1}',
        '{"event": "PreviewSaved", "plain": [5], "guided": null}',
        '{"event": "Notice", "message": "a", "templates": {"message": [1]}}',
        '{"event": "RunFinished", "offset": 5}',
        NESTED,
    ],
    ids=lambda line: line[:30],
)
def test_fault_76_a_damaged_line_of_a_journal_is_passed_over(workspace, line):
    run = create_run(workspace, TrainConfig(base="tiny"), "run")
    good = '{"event": "RunPaused", "step": 7, "elapsed": 1.0, "reason": ""}'
    damage(run.folder / FILE, f"{line}\n{good}\n")
    assert [event.step for event in read_events(run.folder)[0]][-1] == 7
    assert read_newest(run.folder)[-1].step == 7
    assert list_runs(workspace)[0].status == "paused"


@pytest.mark.parametrize("record", BAD_JSON, ids=lambda text: text[:9])
def test_fault_76_a_damaged_process_record_is_a_run_that_does_not_run(workspace, record):
    run = create_run(workspace, TrainConfig(base="tiny"), "run")
    damage(run.folder / "process.json", record)
    assert run.process() is None and run.status == "interrupted"


@pytest.mark.parametrize("name", ["model_index.json", "config.json"])
@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:9])
def test_fault_76_a_damaged_model_is_left_out_and_named(workspace, name, text):
    damage(workspace.models / "bad" / name, text)
    damage(workspace.models / "bad.safetensors", text)
    faults = []
    names = {entry.name for entry in entries(workspace, faults.append)}
    assert "tiny" in names and not {"bad", "bad.safetensors"} & names
    sentences = " ".join(map(str, faults))
    assert "“bad.safetensors”" in sentences and (name == "config.json" or "“bad”" in sentences)
    assert str(workspace.root) not in sentences
    assert "tiny" in {choice.name for choice in list_bases(workspace)}


def test_fault_76_a_damaged_suggestion_next_to_a_model_suggests_nothing(workspace):
    for text in BAD_JSON[:8]:
        damage(workspace.models / "tiny" / "studio.json", text)
        assert start_values(workspace.models / "tiny") == {}


@pytest.mark.parametrize(
    "settings",
    ["", "5", "[]", '{"grid": 1}', '{"omega": "x", "beta": null, "seed": [1]}', '{"omega": 1e999}', NESTED],
    ids=lambda text: text[:20],
)
def test_fault_76_a_damaged_picture_neither_stops_the_gallery_nor_its_captions(workspace, settings):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(CHUNK, settings)
    Image.new("RGB", (4, 4)).save(workspace.outputs / "bad.png", pnginfo=info)
    save_png(Image.new("RGB", (4, 4)), workspace.outputs / "good.png", {"omega": 2.0, "beta": 1.0, "seed": 3})
    (workspace.outputs / "empty.png").touch()
    (workspace.outputs / ".favourites.json").write_text(settings)
    faults = []
    captions = {picture.path.name: picture.caption for picture in pictures(workspace, on_fault=faults.append)}
    assert captions["good.png"] == "ω 2 · β 1 · seed 3"
    assert "“empty.png”" in " ".join(map(str, faults))
    assert "bad.png" in captions or "“bad.png”" in " ".join(map(str, faults))
    assert toggle_favourite(workspace, "good.png")


def test_fault_76_a_damaged_preset_is_left_out(workspace):
    before = len(list_presets(workspace))
    for number, text in enumerate(BAD_JSON):
        damage(workspace.presets / f"bad{number}.json", text)
    assert len(list_presets(workspace)) == before


def test_fault_76_the_command_line_names_what_it_leaves_out(workspace):
    damage(workspace.runs / "bad" / "config.json", '""')
    damage(workspace.models / "bad" / "model_index.json", NESTED)
    for command, name in ((["runs"], "“bad”"), (["library", "list"], "“bad”")):
        ended = subprocess.run(
            [sys.executable, "-m", "app", *command, "--json", "--workspace", str(workspace.root)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0 and isinstance(json.loads(ended.stdout), list)
        assert ended.stderr.startswith("Left out: ") and name in ended.stderr
        assert str(workspace.root) not in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_fault_45_a_read_only_workspace_is_refused_in_a_sentence(tmp_path):
    root = tmp_path / "space"
    Workspace(root)
    root.chmod(0o500)
    try:
        with pytest.raises(StudioError, match="The workspace “space” cannot be written: its folder is read-only"):
            Workspace(root)
    finally:
        root.chmod(0o700)


def test_a_workspace_whose_folders_are_something_else_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "runs").write_text("a file")
    with pytest.raises(StudioError) as refused:
        Workspace(tmp_path / "space")
    assert "a file has the name of one of its folders" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_picture_that_cannot_be_moved_stays_where_it_is(workspace, monkeypatch):
    save_png(Image.new("RGB", (4, 4)), workspace.outputs / "a.png", {"seed": 1})
    (workspace.outputs / "a.json").write_text("{}")
    real, calls = os.replace, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise PermissionError(13, "Permission denied", str(source))
        real(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(StudioError, match="“a.png” could not be deleted: its folder is read-only"):
        put_away(workspace, "a.png")
    assert (workspace.outputs / "a.png").exists() and (workspace.outputs / "a.json").exists()
    calls += [None, None]
    away = put_away(workspace, "a.png")
    bring_back(workspace, away)
    assert (workspace.outputs / "a.png").exists()
    with pytest.raises(StudioError, match="There is nothing to restore"):
        bring_back(workspace, away)


def test_an_unknown_kind_of_folder_is_not_a_model(workspace):
    (workspace.models / "empty").mkdir()
    with pytest.raises(StudioError, match="“empty” is not a model folder"):
        kind_of(workspace.models / "empty")
    assert Run(workspace.runs / "none").status == "new"
