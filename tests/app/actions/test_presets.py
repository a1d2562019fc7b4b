"""Actions of Presets."""

from app.page import presets_actions
from core.studio.presets.files import save_preset
from core.studio.presets.preset import preset_of


def test_presets_are_chosen_saved_renamed_deleted_and_brought_back(workspace, values):
    saved = presets_actions.save(workspace, "Mine", "about", "me", False, {**values, "seed": -1})
    assert saved["preset_status"] == "Saved." and saved["rename"]["interactive"]
    assert "already" in presets_actions.save(workspace, "Mine", "", "", False, values)["preset_status"]
    assert [name for name, key in saved["presets"]["choices"]][0] == "Mine ✎"
    chosen = presets_actions.choose(workspace, "Mine", values)
    assert "Compare already has these settings" in chosen["preset"] and chosen["apply"]["interactive"]
    built_in = presets_actions.choose(workspace, "sd15/paper-training-free", values)
    assert not built_in["rename"]["interactive"] and built_in["held"]["visible"]
    renamed = presets_actions.rename(workspace, "Mine", "Yours")
    gone = presets_actions.delete(workspace, renamed["presets"]["value"])
    assert gone["preset_undo"]["interactive"] and not gone["delete"]["interactive"]
    assert presets_actions.undo(workspace, gone["preset_away"])["preset_status"] == "Restored."
    for fault in (
        presets_actions.choose(workspace, "none such", values),
        presets_actions.rename(workspace, "none such", "x"),
        presets_actions.delete(workspace, "sd15/paper-training-free"),
        presets_actions.undo(workspace, "/tmp/none"),
    ):
        assert 'role="alert"' in fault["preset_status"]


def test_a_preset_is_applied_linked_dropped_and_listed(workspace, values, tmp_path):
    path = save_preset(workspace, preset_of({"beta": 2.0}, name="Drop"))
    dropped = presets_actions.drop(workspace, str(path), values)
    assert "not saved yet" in dropped["preset_status"] and presets_actions.drop(workspace, None, values) == {}
    assert presets_actions.apply(dropped["current"], False)[0] == {"beta": 2.0}
    assert presets_actions.apply(None, False) == ({}, "Choose a preset first.")
    assert presets_actions.link(dropped["current"])["code"] and presets_actions.link(None) == {}
    assert presets_actions.file_of(dropped["current"].preset).read_text() == path.read_text()
    assert any(key == "Drop" for _, key in presets_actions.listed(workspace)["presets"]["choices"])


def test_a_preset_is_pulled_from_the_hub_and_pushed_there(workspace, values, monkeypatch):
    text = preset_of({"beta": 2.0}, name="theirs").to_json()
    monkeypatch.setattr(presets_actions.hub, "pull_preset", lambda repository: (text, "c" * 40))
    monkeypatch.setattr(presets_actions.hub, "push_preset", lambda repository, text, card: "d" * 40)
    pulled = presets_actions.pull(workspace, " a/b ", values)
    assert "cccccccccccc; not saved yet" in pulled["preset_status"] and pulled["current"].values == {"beta": 2.0}
    assert "dddddddddddd" in presets_actions.push("a/b", pulled["current"])["preset_status"]
    for fault in (presets_actions.pull(workspace, "///", values), presets_actions.push("///", pulled["current"])):
        assert 'role="alert"' in fault["preset_status"]
    assert presets_actions.push("a/b", None) == {}
