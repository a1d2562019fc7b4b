"""The strength meter of Compare, with a measurement that is played instead of made."""

from app.page import strength
from core.errors import StudioError
from core.studio.evaluating.dose import Strength
from core.studio.workspace import Workspace
from tests.builders.player import Player


def said(monkeypatch, tmp_path, measure):
    monkeypatch.setattr(strength, "measure_strength", measure)
    monkeypatch.setattr(strength, "device_of", lambda cpu: "cpu")
    return list(strength.measured(Player(Workspace(tmp_path)), "miniature-sd15", "sd15-mini-negative", 2.0))


def test_the_strength_is_shown_next_to_the_cfg_that_moves_as_far(monkeypatch, tmp_path):
    measured = Strength("δ<1>", 2.0, 0.4, {"0.5": 0.4}, 0.8, 0.75, 3)
    asked = {}

    def measure(workspace, offset, **options):
        asked.update(options, offset=offset)
        return measured

    busy, done = said(monkeypatch, tmp_path, measure)
    assert not busy["measure_strength"]["interactive"] and done["measure_strength"]["interactive"]
    text = (
        "At β = 1 and ω = 2, δ&lt;1&gt; moves the prediction as much as CFG at ω = 0.8 (3 prompts). Proposed: β = 0.75."
    )
    assert done["dose"] == 0.4, "Compare proposes β from it"
    assert done["offset_strength"] == text and asked["omega"] == 2.0 and asked["offset"] == "sd15-mini-negative"


def test_what_cannot_be_measured_is_reported(monkeypatch, tmp_path):
    def without(*_, **__):
        raise StudioError("No offset is named.", "Name one.")

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    assert "No offset is named." in said(monkeypatch, tmp_path, without)[-1]["offset_strength"]
    assert "no memory for a second copy" in said(monkeypatch, tmp_path, full)[-1]["offset_strength"]
