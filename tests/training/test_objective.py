"""Which noise levels and captions a step trains on."""

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from core.training.draws import generator_of
from core.training.material import gather
from core.training.objective import drop_captions, levels_between
from core.training.self_npo import SelfNpo
from core.training.settings import LossSettings
from core.training.start_points import StartPoints
from tests.training.variants import FAMILY, PROMPTS, config


def batches(folder, count, **changes):
    """Batches of steps 0…count-1 of Self-NPO from noise, with a reference that costs nothing."""
    settings = config(**{"start": "noise", "batch_size": 64, **changes})
    material = gather(settings, folder, FAMILY.tiny(), FAMILY, PROMPTS, Accelerator(cpu=True))
    objective = SelfNpo(settings, material, StartPoints())
    reference = lambda x, t, cond: torch.zeros_like(x)  # noqa: E731
    return material, [objective.batch(reference, step, 0, torch.device("cpu")) for step in range(count)]


@pytest.mark.parametrize(("s_min", "s_max"), [(0.0, 1.0), (0.3, 0.6), (0.9, 1.0), (0.0, 0.2)])
def test_levels_lie_between_s_min_and_s_max_and_above_t(s_min, s_max):
    low = torch.randint(0, 1000, (4000,), generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(4000, generator=torch.Generator().manual_seed(1))
    s = levels_between(low, LossSettings(s_min=s_min, s_max=s_max), 1000, uniform)
    allowed = low <= 1000 * s_max - 1
    assert bool((s[allowed] >= low[allowed]).all()) and bool((s[allowed] >= 1000 * s_min).all())
    assert bool((s[allowed] < 1000 * s_max).all())
    assert torch.equal(s[~allowed], low[~allowed] - 1), "where none is allowed, the level t itself"
    # the whole of what is allowed is used, evenly
    s = levels_between(torch.zeros_like(low), LossSettings(s_min=s_min, s_max=s_max), 1000, uniform)
    assert float(s.float().mean()) == pytest.approx(500 * (s_min + s_max), abs=20)
    assert int(s.min()) < 1000 * s_min + 10 and int(s.max()) > 1000 * s_max - 11


@given(st.floats(0, 0.9), st.floats(0.1, 1), st.integers(0, 999), st.floats(0, 0.999999))
def test_a_level_is_always_a_timestep(s_min, width, low, uniform):
    settings = LossSettings(s_min=s_min, s_max=min(1.0, s_min + width))
    s = levels_between(torch.tensor([low]), settings, 1000, torch.tensor([uniform]))
    assert low - 1 <= int(s) <= 999


def test_a_run_trains_within_its_levels(tmp_path):
    _, drawn = batches(tmp_path, 3, s_min=0.97, s_max=0.99, rollout_steps=0)
    levels = torch.cat([batch.s for batch in drawn])
    # the grid of 6 begins at 831: all starts lie below s_min
    assert int(levels.min()) >= 970 and int(levels.max()) < 990 and len(levels.unique()) > 15


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_captions_are_dropped_at_their_rate_and_whole(tmp_path, rate):
    material, drawn = batches(tmp_path, 8, caption_dropout=rate)
    empty = material.empty["encoder_hidden_states"][0]
    known = material.cond["encoder_hidden_states"]
    rows = torch.cat([batch.cond["encoder_hidden_states"] for batch in drawn])
    dropped = [bool(torch.equal(row, empty)) for row in rows]
    assert all(gone or any(torch.equal(row, one) for one in known) for row, gone in zip(rows, dropped, strict=True))
    # four standard errors of a share of 512
    assert sum(dropped) / len(dropped) == pytest.approx(rate, abs=4 * (rate * (1 - rate) / 512) ** 0.5 + 1e-9)


def test_dropping_takes_the_rows_that_are_named():
    cond, empty = {"a": torch.ones(3, 2, 2)}, {"a": torch.zeros(3, 2, 2)}
    mixed = drop_captions(cond, empty, torch.tensor([False, True, False]))["a"]
    assert mixed.flatten(1).sum(1).tolist() == [4.0, 0.0, 4.0]


def test_every_step_of_every_process_has_numbers_of_its_own():
    drawn = {
        float(torch.rand((), generator=generator_of(*key))) for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    }
    assert len(drawn) == 4
    assert torch.equal(torch.rand(3, generator=generator_of(5, 6, 7)), torch.rand(3, generator=generator_of(5, 6, 7)))
