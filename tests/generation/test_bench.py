"""The measurements behind the README's figures measure what they say; how long it takes is not tested."""

import pytest
import torch

from core.families import get
from core.generation.bench import bench_guidance, bench_rows
from core.offsets.low_rank import check_fits, random_of
from tests.offsets.test_row_gate import DELTA

FAMILY = get("sd15")


@pytest.fixture
def pipe():
    return FAMILY.tiny()


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_three_ways_of_guidance_agree_and_are_timed_in_one_run(pipe):
    told = bench_guidance(pipe, FAMILY, DELTA, rounds=3, images=2)
    assert told["largest_difference"] < 1e-4 and told["rows"] == 4
    for way in ("row_gate_time_over_plain", "two_networks_time_over_plain"):
        assert 0 < told[way]["low"] <= told[way]["median"] <= told[way]["high"]
    assert 1 < told["row_gate_weights_over_plain"] < told["two_networks_weights_over_plain"] == 2


def test_a_row_forward_is_timed_plain_and_behind_the_gate(pipe):
    unet = FAMILY.denoiser(pipe)
    told = bench_rows(unet, FAMILY, rows=2, rounds=3, rank=2)
    assert told["seconds_a_row_forward"] <= told["slowest"] and told["parameters"] == sum(
        p.numel() for p in unet.parameters()
    )
    assert told["row_gate_time_over_plain"]["median"] > 0 and told["rank"] == 2
    assert "row_gate_time_over_plain" not in bench_rows(unet, FAMILY, rows=1, rounds=1)


def test_a_random_offset_is_one_of_the_networks_own_linear_layers(pipe):
    unet = FAMILY.denoiser(pipe)
    offset = random_of(unet, FAMILY.lora_targets, rank=3)
    check_fits(unet, offset)
    assert len(offset) > 10 and all(layer.down.shape[0] == 3 for layer in offset.values())
    assert not torch.equal(
        next(iter(offset.values())).up, next(iter(random_of(unet, ("to_q",), rank=3, seed=1).values())).up
    )
