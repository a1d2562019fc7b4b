"""Whatever a name or a prompt holds, the page shows it as text."""

import pytest
from PIL import Image
from safetensors.torch import save_file

from app.page import history_actions, library_actions, presets_actions, proposal_actions, runs_actions, train_actions
from app.page.curves import Shown, preview_board
from app.page.views import board, flicker, players, slider
from core.events import Notice, PreviewSaved, RunFailed, RunStarted
from core.generation.media import save_png
from core.studio.comparing.settings import opening_values
from core.studio.presets.preset import preset_of
from core.studio.presets.sharing import to_link
from core.studio.runs.journal import Journal
from core.studio.runs.notes import Notes, write_notes
from core.studio.runs.run import create_run
from core.studio.workspace import Workspace
from core.training.config import TrainConfig

EVIL = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"

HTML_OF_RUNS = ("runs_status", "runs_curve", "runs_previews")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


def html_of(changes):
    """Everything that an action hands to the page."""
    for value in changes.values():
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict) and isinstance(value.get("value"), str):
            yield value["value"]


def shown(*pieces):
    text = "".join(pieces)
    assert "alert(1)" in text, "the name is shown at all"
    assert "<img src=x" not in text and "<script" not in text
    # nor does it end an attribute that it stands in
    assert "\"'><" not in text


def test_row_24_markup_in_a_prompt_is_text_in_every_view(workspace):
    settings = {"prompt": EVIL, "seed": 1, "model": EVIL, "omega": 2.0, "alpha": 1.0, "beta": 1.0, "size": "8x8"}
    for column in (0, 1):
        save_png(Image.new("RGB", (8, 8)), workspace.outputs / f"20260101-000000-abcdef-{column}-1.png", settings)
    changes = history_actions.search(workspace, "", False)
    pair = changes["listed"][0]
    assert pair.caption == EVIL
    shown(changes["past"])
    shown(board([pair]), slider(pair), flicker(pair), players(pair))
    nothing = history_actions.search(workspace, EVIL, False)
    assert "<script" not in "".join(html_of(nothing))


def test_row_24_markup_in_a_preset_is_text(workspace):
    values = opening_values(workspace, {"prompt": EVIL, "negative_prompt": EVIL})
    saved = presets_actions.save(workspace, "Mine", EVIL, EVIL, False, values)
    shown(*html_of(presets_actions.choose(workspace, "Mine", opening_values(workspace, {}))), *html_of(saved))
    link = to_link(preset_of({"prompt": EVIL, "negative": EVIL}, name=EVIL))
    shown(*html_of(proposal_actions.from_address(workspace, link, opening_values(workspace, {}))))


def test_row_24_markup_in_a_run_is_text(workspace):
    run = create_run(workspace, TrainConfig(base="miniature-sd15"), EVIL)
    write_notes(run, Notes(title=EVIL, text=EVIL))
    journal = Journal(run.folder)
    started = {"steps": 5, "device": EVIL, "processes": 1, "trainable_parameters": 1}
    journal.append(RunStarted(step=0, elapsed=0.0, row_forwards_per_sample=1.0, resumed=False, **started))
    journal.append(PreviewSaved(step=0, elapsed=0.0, plain=(EVIL,), guided=(EVIL,)))
    journal.append(Notice(step=0, elapsed=0.0, message=EVIL))
    journal.append(RunFailed(step=0, elapsed=0.0, message=EVIL, remedy=EVIL))
    journal.close()
    shown(*html_of(train_actions.watch(workspace, run.id, Shown())))
    looked_at = runs_actions.look(workspace, run.id)
    assert looked_at["title"] == looked_at["notes"] == EVIL, "fields of text hold it as it is"
    shown(*(looked_at[name] for name in HTML_OF_RUNS if name in looked_at), runs_actions.table([run]))
    assert "<img src=x" not in preview_board(run, run.events()[0])


def test_row_24_markup_in_a_file_name_is_text(workspace, tmp_path):
    name = "<img src=x onerror=alert(1)>.safetensors"
    import torch

    save_file({"nothing": torch.zeros(1)}, workspace.offsets / name)
    told = library_actions.tell(workspace, str(workspace.offsets / name))
    brought = library_actions.bring(workspace, str(workspace.offsets / name))
    listed = library_actions.refresh(workspace)
    text = "".join((*html_of(told), *html_of(brought), *html_of(listed)))
    assert "alert(1)" in text and "<img src=x" not in text
