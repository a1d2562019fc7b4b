"""What renderings take of a card, from the computed table, and how they are made to fit."""

import json
import shutil

import pytest

from assets.build.memory import rendered
from core.generation.comparison import Comparison
from core.method.guidance import GuidanceWeights
from core.studio.comparing import memory
from core.studio.comparing.engine import Engine
from core.studio.comparing.models import Models
from core.studio.memory import RESERVE
from core.studio.workspace import ASSETS, Workspace


@pytest.mark.parametrize(("height", "width", "share"), [(None, None, 1), (512, 1024, 0.5), (2048, 2048, 4)])
def test_what_rendering_takes_grows_with_the_picture_and_its_rows(tmp_path, height, width, share):
    shutil.copytree(ASSETS / "configs" / "sdxl", tmp_path / "sdxl")
    own = memory.rendering(tmp_path / "sdxl", None, None, None)
    estimate = memory.rendering(tmp_path / "sdxl", height, width, None)
    assert estimate.fixed == own.fixed and estimate.row == int(own.row * share)
    gib = 2**30
    assert estimate.rows_within(-gib, 32) == 2 and estimate.rows_within(10**15, 32) == 32
    room = int(RESERVE) + 9 * estimate.row
    assert estimate.rows_within(room, 32) == 8
    assert estimate.in_tiles(estimate.picture) and not estimate.in_tiles(estimate.picture + 2 * gib)
    assert own.total(2, in_turns=False, in_tiles=False) == own.fixed + own.picture
    assert own.total(32, in_turns=False, in_tiles=True) == own.fixed + 32 * own.row
    assert own.total(2, in_turns=True, in_tiles=True) == own.largest + own.tiled


def test_videos_count_their_latent_frames_and_miniatures_are_not_in_the_table(tmp_path):
    shutil.copytree(ASSETS / "configs" / "cogvideox-2b", tmp_path / "cogvideox-2b")
    own = memory.rendering(tmp_path / "cogvideox-2b", None, None, 49)
    assert own == memory.rendering(tmp_path / "cogvideox-2b", 480, 720, None)
    assert memory.rendering(tmp_path / "cogvideox-2b", None, None, 25).row == int(own.row * 7 / 13)
    assert memory.rendering(ASSETS / "miniature-sd15", None, None, None) is None


def test_the_computed_rendering_is_the_codes_of_today():
    """The smallest one anew."""
    kept = json.loads((ASSETS / "memory.json").read_text(encoding="utf-8"))["rendering"]
    assert rendered("sd15") == next(row for row in kept if row["model"] == "sd15")


class Card(Models):
    """Models on a card that is not there."""

    def device(self):
        return "cuda"


@pytest.mark.parametrize(
    ("mode", "room", "rows", "tiles"),
    [
        ("high", 24, 32, False),
        ("high", 3, 6, True),
        ("medium", 8, 4, True),
        ("medium", 12, 4, False),
        ("low", 24, 4, True),
    ],
)
def test_rows_and_tiles_are_what_the_card_has_room_for(tmp_path, monkeypatch, mode, room, rows, tiles):
    shutil.copytree(ASSETS / "configs" / "sdxl", tmp_path / "sdxl")
    needs = memory.rendering(tmp_path / "sdxl", None, None, None)
    monkeypatch.setattr("core.studio.comparing.models.card_room", lambda: room * 2**30)
    assert Card(cpu=False, memory=mode).fitted(needs, loaded=True) == (rows, tiles)
    assert Models(cpu=True, memory="high").fitted(needs, loaded=True) == (32, False)
    assert Card(cpu=False, memory="high").fitted(None, loaded=True) == (32, False)


def test_what_a_true_architecture_takes_is_shown_before_it_is_rendered(tmp_path):
    space = Workspace(tmp_path / "space")
    shutil.copytree(ASSETS / "configs" / "sdxl", space.models / "sdxl")
    engine = Engine(space, cpu=True)
    settings = Comparison(
        base="sdxl", seeds=(0, 1), columns=(GuidanceWeights(omega=3), GuidanceWeights(omega=3, beta=1))
    )
    assert settings.rows == 8 and engine.estimate(settings).needed is None  # torch may not be there yet
    engine.models.base = space.models / "other"
    needs = memory.rendering(space.models / "sdxl", None, None, None)
    assert engine.estimate(settings).needed == 2 * needs.total(8, in_turns=False, in_tiles=False)
