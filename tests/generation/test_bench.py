"""The measurements behind the README's figures measure what they say; how long it takes is not tested."""

import pytest
import torch

from core.families import get
from core.generation.bench import bench_attention, bench_guidance, bench_rows
from core.offsets.offset import DenseLayer, Offset, random_offset
from tests.builders.offsets import DELTA

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
    dense = {"conv_norm_out": DenseLayer(torch.randn(16), torch.randn(16))}
    report = bench_guidance(pipe, FAMILY, Offset(DELTA.low_rank, dense), rounds=3, images=2)
    assert report["largest_difference"] < 1e-4 and report["rows"] == 4
    for way in ("row_gate_time_over_plain", "two_networks_time_over_plain"):
        assert 0 < report[way]["low"] <= report[way]["median"] <= report[way]["high"]
    assert 1 < report["row_gate_weights_over_plain"] < report["two_networks_weights_over_plain"] == 2


def test_a_row_forward_is_timed_plain_and_behind_the_gate(pipe):
    unet = FAMILY.denoiser(pipe)
    report = bench_rows(unet, FAMILY, rows=2, rounds=3, rank=2)
    assert report["seconds_a_row_forward"] <= report["slowest"] and report["parameters"] == sum(
        p.numel() for p in unet.parameters()
    )
    assert report["row_gate_time_over_plain"]["median"] > 0 and report["rank"] == 2
    assert "row_gate_time_over_plain" not in bench_rows(unet, FAMILY, rows=1, rounds=1)


def test_a_random_offset_is_one_of_the_networks_own_linear_layers(pipe):
    unet = FAMILY.denoiser(pipe)
    offset = random_offset(unet, FAMILY.lora_targets, rank=3)
    offset.check_fits(unet)
    assert len(offset.modules) > 10 and all(layer.rank == 3 for layer in offset.low_rank.values())
    other = random_offset(unet, FAMILY.lora_targets, rank=3, seed=1)
    assert not any(torch.equal(layer.up, other.low_rank[name].up) for name, layer in offset.low_rank.items())


def test_implementations_of_attention_are_timed_in_one_run_and_agree(pipe):
    report = bench_attention(pipe, FAMILY, ("sdpa", "plain"), rounds=3, images=1)
    assert {name: row["in_place"] for name, row in report.items()} == {"sdpa": "sdpa", "plain": "plain"}
    assert report["sdpa"]["largest_difference"] == 0 and 0 < report["plain"]["largest_difference"] < 1e-3
    assert report["sdpa"]["time_over_sdpa"]["median"] == 1 and report["plain"]["time_over_sdpa"]["median"] > 0
