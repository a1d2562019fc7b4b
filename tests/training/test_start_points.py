"""How many own samples are drawn at once."""

import pytest
import torch

from core.training.start_points import MOST_AT_ONCE, _Batches
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
