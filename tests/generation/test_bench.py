"""The measurements behind the README's figures measure what they say; how long it takes is not tested."""

import ast
from pathlib import Path

import pytest
import torch

from core.families import get
from core.generation.bench import Guided, bench_attention, bench_guidance, bench_rows, bench_sweep, example_of
from core.offsets.offset import DenseLayer, Offset, random_offset
from core.training.bench import bench_training
from tests.builders.offsets import DELTA

FAMILY = get("sd15")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe():
    return FAMILY.tiny()


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_ways_of_guidance_agree_and_are_timed_in_one_run(pipe):
    guided = Guided(pipe.unet, FAMILY, DELTA, example_of(pipe, FAMILY, 2))
    report = bench_guidance(guided, rounds=3)
    ways = {row["way"]: row for row in report["rows"]}
    assert list(ways) == ["plain guidance", "row gate", "row gate, low rank", "two networks", "set_adapters"]
    assert (report["floor"], report["rival"], report["batch_rows"], report["merged"]) == (
        "plain guidance",
        "two networks",
        4,
        True,
    )
    assert ways["plain guidance"]["difference"] is None and ways["plain guidance"]["time"]["median"] == 1
    for row in report["rows"][1:]:
        assert row["difference"] < 1e-4 and 0 < row["time"]["low"] <= row["time"]["median"] <= row["time"]["high"]
    assert (
        1 < ways["row gate, low rank"]["weights"] < ways["row gate"]["weights"] and ways["two networks"]["weights"] == 2
    )
    assert report["slider_milliseconds"] > 0
    assert not pipe.unet._forward_pre_hooks and not hasattr(pipe.unet, "peft_config")


def test_a_whole_change_of_weights_has_no_adapter_to_compare_with(pipe):
    dense = {"conv_norm_out": DenseLayer(torch.randn(16), torch.randn(16))}
    guided = Guided(pipe.unet, FAMILY, Offset(DELTA.low_rank, dense), example_of(pipe, FAMILY, 1))
    report = bench_guidance(guided, rounds=1)
    assert "set_adapters" not in {row["way"] for row in report["rows"]}
    assert all(row["difference"] < 1e-4 for row in report["rows"][1:])


def test_a_picture_is_timed_as_columns_grow(pipe):
    report = bench_sweep(pipe, FAMILY, DELTA, columns=(1, 3), rounds=2)
    assert [row["way"] for row in report["rows"]] == ["1 columns", "3 columns"]
    assert report["rows"][0]["time"]["median"] == 1 and report["rows"][1]["time"]["median"] > 0


def test_a_training_step_is_counted_and_timed_beside_the_published_schedule(pipe):
    report = bench_training(pipe, FAMILY, rounds=2, batch=2, cpu=True)
    rows = {row["way"]: row for row in report["rows"]}
    # two branches in each of K + 1 predictions, and a student with its backward; then one branch; then no rollout
    assert [row["row_forwards"] for row in report["rows"]] == [2 * 6 + 3, 6 + 3, 3]
    assert all(row["time"]["median"] > 0 for row in rows.values())
    assert not any(parameter.grad is not None for parameter in pipe.unet.parameters())


def test_no_module_imports_at_its_top_what_windows_does_not_have():
    """`bench` did so with `resource`, and could not be imported there."""
    absent = {"resource", "fcntl", "pwd", "grp", "termios"}
    files = [path for top in ("app", "core") for path in (ROOT / top).rglob("*.py")]
    named = {
        (path.name, alias.name)
        for path in files
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert ("bench.py", "torch") in named and not {name for _, name in named} & absent


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
