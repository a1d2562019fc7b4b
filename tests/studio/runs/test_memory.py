"""Memory profiles: what trainings fit a card, from the computed table; and the computation itself."""

import json
import shutil

import pytest
import torch

from assets.build.memory import LiveBytes, computed, others
from core.errors import StudioError
from core.studio.memory import RESERVE, architecture
from core.studio.runs import memory
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
        least = min(row["bytes"] for row in ROWS if row["model"] == base.name) + RESERVE
        assert least > int(name) * 2**30
        assert f"{least / 2**30:.1f} GiB, more than" in error.message
        return
    need = memory.needed(base, recipe("studio", base=str(base), **changes))
    assert need is not None
    assert need + RESERVE <= int(name) * 2**30
    larger = [r for r in ROWS if r["model"] == base.name and r["batch_size"] > changes["batch_size"]]
    assert all(row["bytes"] + RESERVE > int(name) * 2**30 for row in larger)


def test_the_miniatures_fit_every_card():
    for folder in ASSETS.glob("miniature-*"):
        assert architecture(folder) == ""
        assert memory.profile(folder, "8") == {}


def test_what_no_profile_can_estimate():
    base = ASSETS / "miniature-sd15"
    with pytest.raises(StudioError, match="no memory profile “huge”"):
        memory.profile(base, "huge")
    if not torch.cuda.is_available():
        with pytest.raises(StudioError, match="no GPU that torch can use"):
            memory.profile(base, "machine")


def test_a_large_model_that_is_not_in_the_table_is_not_called_small(tmp_path):
    """CogVideoX 1.5 has the layers of 5b and larger videos."""
    mine = tmp_path / "cogvideox-1.5"
    shutil.copytree(ASSETS / "configs" / "cogvideox-5b", mine)
    config = mine / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_height": 96, "sample_frames": 81}))
    with (mine / "transformer" / "model.safetensors").open("wb") as weights:
        weights.truncate(2**30)  # sparse: it takes no room
    assert architecture(mine) == ""
    with pytest.raises(StudioError, match="is unknown"):
        memory.profile(mine, "24")


def test_settings_outside_the_table_are_not_guessed(base):
    inside = {"base": str(base), "precision": "bf16", "batch_size": 1, "gradient_checkpointing": True}
    assert memory.needed(base, recipe("studio", **inside)) is not None
    for change in ({"rank": 64}, {"precision": "no"}, {"height": 512, "width": 512}, {"weights": "full"}):
        assert memory.needed(base, recipe("studio", **{**inside, **change})) is None


def test_the_plan_of_a_training_shows_the_computed_memory(base):
    workspace = Workspace(base.parent.parent)
    config = recipe("studio", base=str(base), precision="bf16", batch_size=1, gradient_checkpointing=True)
    forecast = plan(workspace, config)
    assert forecast.memory == memory.needed(base, config)
    assert forecast.seconds is None


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


@pytest.mark.long
def test_the_table_is_what_the_computation_says_today():
    config = recipe("studio", batch_size=2, gradient_checkpointing=True, precision="bf16")
    row = next(r for r in ROWS if (r["model"], r["batch_size"], r["gradient_checkpointing"]) == ("sd15", 2, True))
    assert computed("sd15", config) + others("sd15") == pytest.approx(row["bytes"], rel=0.01)
