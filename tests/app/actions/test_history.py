"""Actions of the history and of sharing a pair."""

from pathlib import Path

from PIL import Image

from app.page import (
    compare_actions,
    history_actions,
    share_actions,
)
from core.generation.media import read_png
from core.studio.presets.proposal import propose_file
from tests.builders.actions import rendered


def test_a_pair_is_shared_as_picture_animation_video_and_link_with_its_settings_inside(engine, values, workspace):
    final = rendered(engine, {**values, "prompt": "绿色的月亮 θ"})[1]
    changes = share_actions.share(workspace.outputs, final["chosen"])
    picture = Image.open(changes["share_png"])
    assert picture.width > 2 * 512 and picture.height > 512
    assert read_png(workspace.outputs / "shared" / changes["share_png"].rpartition("/")[2])["prompt"] == "绿色的月亮 θ"
    animation = Image.open(changes["share_gif"]["value"])
    assert (
        animation.n_frames == 2 and changes["share_mp4"]["value"].endswith(".mp4") and len(changes["share_code"]) > 20
    )
    dropped = propose_file(workspace, workspace.outputs / "shared" / Path(changes["share_gif"]["value"]).name)
    assert dropped.values["prompt"] == "绿色的月亮 θ" and dropped.values["beta"] == 1.0
    assert share_actions.share(workspace.outputs, None) == {}
    bundled = compare_actions.opening_pairs()[0]
    assert "bundled with the studio" in share_actions.share(workspace.outputs, (bundled, bundled.cells[0]))["status"]
    assert share_actions.closed()["shared"]["visible"] is False


def test_the_history_searches_marks_deletes_and_brings_back_whole_pairs(engine, values, workspace):
    assert "No picture yet" in history_actions.search(workspace, "", False)["summary"]
    rendered(engine, values)
    listed = history_actions.search(workspace, "star", False)
    assert len(listed["listed"]) == 2 and listed["summary"].startswith("2 found")
    assert "Nothing found" in history_actions.search(workspace, "submarine", False)["summary"]
    pair = listed["listed"][0]
    assert pair.caption == values["prompt"] and len(pair.cells) == 2
    marked = history_actions.mark(workspace, (pair, pair.cells[1]), "", True)
    assert len(marked["listed"]) == 1 and "★" in marked["past"]
    gone = history_actions.delete(workspace, (pair, pair.cells[1]), "", False)
    assert len(gone["listed"]) == 1 and gone["undo"]["interactive"] and len(gone["away"]) == 2
    assert not gone["delete"]["interactive"], "a double click finds nothing to do"
    back = history_actions.undo(workspace, gone["away"], "", False)
    assert len(back["listed"]) == 2 and not back["undo"]["interactive"]
    assert "not in the outputs folder" in history_actions.delete(workspace, None, "", False)["status"]
    assert "nothing to restore" in history_actions.undo(workspace, ["/tmp/x"], "", False)["status"]
