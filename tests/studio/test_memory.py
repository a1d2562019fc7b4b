"""Memory profiles: what fits a card, from the computed table; and the computation itself."""

import json
import shutil

import pytest
import torch

from assets.build.memory import LiveBytes, computed, others, rendered
from core.errors import StudioError
from core.method.guidance import GuidanceWeights
from core.studio import memory
from core.studio.comparing.compare import CompareSettings
from core.studio.comparing.engine import Engine
from core.studio.runs.forecast import plan
from core.studio.workspace import ASSETS, Workspace
from core.training.config import recipe

ROWS = json.loads((ASSETS / "memory.json").read_text(encoding="utf-8"))["rows"]


@pytest.fixture(params=sorted({row["model"] for row in ROWS}))
def base(request, tmp_path):
    """A folder with the configurations of a true architecture; no weights are needed to tell what fits."""
    shutil.copytree(ASSETS / "configs" / request.param, tmp_path / "models" / request.param)
    return tmp_path / "models" / request.param


@pytest.mark.parametrize("name", ["8", "12", "24"])
def test_a_profile_fits_its_card_or_says_how_much_is_missing(base, name):
    try:
        changes = memory.profile(base, name)
    except StudioError as error:
        least = min(row["bytes"] for row in ROWS if row["model"] == base.name) + memory.RESERVE
        assert least > int(name) * 2**30
        assert f"{least / 2**30:.1f} GiB at least" in error.message
        return
    need = memory.needed(base, recipe("studio", base=str(base), **changes))
    assert need is not None
    assert need + memory.RESERVE <= int(name) * 2**30
    larger = [r for r in ROWS if r["model"] == base.name and r["batch_size"] > changes["batch_size"]]
    assert all(row["bytes"] + memory.RESERVE > int(name) * 2**30 for row in larger)


def test_the_miniatures_fit_every_card():
    for folder in ASSETS.glob("miniature-*"):
        assert memory.architecture(folder) == ""
        assert memory.profile(folder, "8") == {}


def test_what_no_profile_can_tell():
    base = ASSETS / "miniature-sd15"
    with pytest.raises(StudioError, match="no memory profile “huge”"):
        memory.profile(base, "huge")
    if not torch.cuda.is_available():
        with pytest.raises(StudioError, match="no card that torch can use"):
            memory.profile(base, "machine")


def test_a_large_model_that_is_not_in_the_table_is_not_called_small(tmp_path):
    """CogVideoX 1.5 has the layers of 5b and larger videos."""
    mine = tmp_path / "cogvideox-1.5"
    shutil.copytree(ASSETS / "configs" / "cogvideox-5b", mine)
    config = mine / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_height": 96, "sample_frames": 81}))
    with (mine / "transformer" / "model.safetensors").open("wb") as weights:
        weights.truncate(2**30)  # sparse: it takes no room
    assert memory.architecture(mine) == ""
    with pytest.raises(StudioError, match="not known here"):
        memory.profile(mine, "24")


def test_settings_outside_the_table_are_not_guessed(base):
    inside = {"base": str(base), "precision": "bf16", "batch_size": 1, "gradient_checkpointing": True}
    assert memory.needed(base, recipe("studio", **inside)) is not None
    for change in ({"rank": 64}, {"precision": "no"}, {"height": 512, "width": 512}, {"weights": "full"}):
        assert memory.needed(base, recipe("studio", **{**inside, **change})) is None


def test_the_plan_of_a_training_tells_the_computed_memory(base):
    workspace = Workspace(base.parent.parent)
    config = recipe("studio", base=str(base), precision="bf16", batch_size=1, gradient_checkpointing=True)
    told = plan(workspace, config)
    assert told.memory == memory.needed(base, config)
    assert told.seconds is None


def test_live_bytes_counts_what_is_alive_and_no_more():
    with LiveBytes() as counted:
        first = torch.zeros(1000)
        view = first[10:]
        assert counted.now == 4000  # a view has the storage of its tensor
        second = first + 1
        assert counted.now == 8000
        del first, view, second
        assert counted.now == 0
    assert counted.peak == 8000


def test_the_table_is_what_the_computation_says_today():
    config = recipe("studio", batch_size=2, gradient_checkpointing=True, precision="bf16")
    row = next(r for r in ROWS if (r["model"], r["batch_size"], r["gradient_checkpointing"]) == ("sd15", 2, True))
    assert computed("sd15", config) + others("sd15") == pytest.approx(row["bytes"], rel=0.01)


@pytest.mark.parametrize(("height", "width", "share"), [(None, None, 1), (512, 1024, 0.5), (2048, 2048, 4)])
def test_what_rendering_takes_grows_with_the_picture_and_its_rows(tmp_path, height, width, share):
    shutil.copytree(ASSETS / "configs" / "sdxl", tmp_path / "sdxl")
    own = memory.rendering(tmp_path / "sdxl", None, None, None)
    told = memory.rendering(tmp_path / "sdxl", height, width, None)
    assert told.fixed == own.fixed and told.row == int(own.row * share)
    gib = 2**30
    assert told.rows_within(-gib, 32) == 2 and told.rows_within(10**15, 32) == 32
    room = int(memory.RESERVE) + 9 * told.row
    assert told.rows_within(room, 32) == 8
    assert told.in_tiles(told.picture) and not told.in_tiles(told.picture + 2 * gib)
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


class Card(Engine):
    """An engine that believes it has a card, with `room` bytes on it."""

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
    monkeypatch.setattr("core.studio.comparing.engine.card_room", lambda: room * 2**30)
    assert Card(Workspace(tmp_path / "space"), memory=mode)._fitted(needs, loaded=True) == (rows, tiles)
    assert Engine(Workspace(tmp_path / "space"), cpu=True)._fitted(needs, loaded=True) == (32, False)
    assert Card(Workspace(tmp_path / "space"))._fitted(None, loaded=True) == (32, False)


def test_what_a_true_architecture_takes_is_told_before_it_is_rendered(tmp_path):
    space = Workspace(tmp_path / "space")
    shutil.copytree(ASSETS / "configs" / "sdxl", space.models / "sdxl")
    engine = Engine(space, cpu=True)
    settings = CompareSettings(
        base="sdxl", seeds=(0, 1), columns=(GuidanceWeights(omega=3), GuidanceWeights(omega=3, beta=1))
    )
    assert settings.rows == 8 and engine.estimate(settings).needed is None  # torch may not be there yet
    engine._loaded = (space.models / "other", None)
    needs = memory.rendering(space.models / "sdxl", None, None, None)
    assert engine.estimate(settings).needed == 2 * needs.total(8, in_turns=False, in_tiles=False)
