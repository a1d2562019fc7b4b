"""How many own samples are drawn at once."""

import pytest
import torch

from core.training.start_points import MOST_AT_ONCE, StartPoints, _Batches
from tests.training.variants import config


def test_a_card_draws_more_at_once_and_halves_where_there_is_no_room():
    batches = _Batches(config(batch_size=8), torch.device("cuda"))
    assert batches.rows == 32 and _Batches(config(batch_size=40), torch.device("cuda")).rows == MOST_AT_ONCE
    for rows in (16, 8, 4, 2, 1):
        batches.halve(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
        assert batches.rows == rows
    with pytest.raises(RuntimeError, match="out of memory"):
        batches.halve(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    with pytest.raises(RuntimeError, match="shapes"):
        _Batches(config(), torch.device("cuda")).halve(RuntimeError("shapes do not fit"))
    assert _Batches(config(batch_size=8), torch.device("cpu")).rows == 8


def test_start_points_in_any_order_of_memory_are_kept_and_read_back(tmp_path):
    x_0 = torch.randn(3, 4, 6, 6).to(memory_format=torch.channels_last)
    StartPoints(x_0).save(tmp_path / "points.safetensors")
    assert torch.equal(StartPoints.load(tmp_path / "points.safetensors").x_0, x_0)
