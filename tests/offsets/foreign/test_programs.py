"""What this studio writes is read whole by the programs that it is written for: by their own code, or their key tables."""

from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer

from core.families import get
from core.offsets.files import load_lora
from core.offsets.header import read_header
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import DenseLayer, Offset
from core.offsets.writing import dialect_for_all, readers_of, save_offset
from tests.builders.offsets import noise, random_offset
from tests.offsets.foreign.programs import PROGRAMS

CONFIGS = Path(__file__).parents[3] / "assets" / "configs"


@pytest.fixture(scope="module", params=[("sd15", 272), ("sdxl", 784)], ids=["sd15", "sdxl"])
def full_size(request):
    """An offset with every layer of the true architecture, of rank 1 and without size."""
    name, count = request.param
    with init_empty_weights():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(CONFIGS / name / "unet"))
    targets = get(name).lora_targets
    low_rank = {
        module: LowRankLayer(torch.zeros(1, layer.weight.shape[1], *layer.weight.shape[2:]), torch.zeros(layer.weight.shape[0], 1))
        for module, layer in unet.named_modules()
        if module.endswith(targets) and getattr(layer, "weight", None) is not None
    }  # fmt: skip
    assert len(low_rank) == count
    return name, Offset(low_rank)


def keys_of(offset, tmp_path, **options):
    save_offset(tmp_path / "x.safetensors", offset, family="", provenance={}, dtype=torch.float16, **options)
    return set(read_header(tmp_path / "x.safetensors").shapes)


def test_the_form_that_is_written_unasked_is_read_whole_by_every_program(full_size, tmp_path):
    _, offset = full_size
    assert dialect_for_all(offset) == "kohya"
    keys = keys_of(offset, tmp_path)
    for program, reads in PROGRAMS.items():
        assert reads(keys, offset.modules) == set(offset.modules), program
    assert load_lora(tmp_path / "x.safetensors").low_rank.keys() == offset.low_rank.keys()


def test_diffusers_names_are_for_diffusers_and_the_sentence_about_them_is_true(full_size, tmp_path):
    name, offset = full_size
    keys = keys_of(offset, tmp_path, format="diffusers")
    read = PROGRAMS["ComfyUI"](keys, offset.modules)
    assert len(read) == {"sd15": 144, "sdxl": 224}[name] and PROGRAMS["Forge"](keys, offset.modules) == read
    assert not any(".to_" in module for module in read) and not PROGRAMS["sd-scripts"](keys, offset.modules)
    assert "leave out its attention, sd-scripts all of it" in readers_of(offset, "diffusers")


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@torch.no_grad()
def test_stock_diffusers_acts_on_every_layer_of_it(name, tmp_path):
    family = get(name)
    pipe, stock, offset = family.tiny(), family.tiny(), random_offset(family, family.tiny())
    save_offset(tmp_path / "k.safetensors", offset, family=name, provenance={})
    stock.load_lora_weights(tmp_path, weight_name="k.safetensors")
    assert sum(isinstance(module, LoraLayer) for module in stock.unet.modules()) == len(offset.modules)
    x, t, cond = noise(family, pipe, 2), torch.tensor([300, 700]), family.encode_prompt(pipe, ["a", "b"])
    plain = family.predict(pipe.unet, x, t, cond)
    with offset.apply(pipe.unet):
        ours = family.predict(pipe.unet, x, t, cond)
    torch.testing.assert_close(family.predict(stock.unet, x, t, cond), ours, rtol=0, atol=2e-5)
    assert float((ours - plain).abs().max()) > 1e-3


def test_of_a_transformer_diffusers_reads_its_own_names_alone(tmp_path):
    family = get("cogvideox")
    offset = random_offset(family, family.tiny())
    assert dialect_for_all(offset) == "diffusers"
    counts = {}
    for dialect in ("diffusers", "kohya"):
        save_offset(tmp_path / f"{dialect}.safetensors", offset, family="cogvideox", provenance={}, format=dialect)
        stock = family.tiny()
        stock.load_lora_weights(tmp_path, weight_name=f"{dialect}.safetensors")  # of kohya's it only logs
        counts[dialect] = sum(isinstance(module, LoraLayer) for module in stock.transformer.modules())
        assert load_lora(tmp_path / f"{dialect}.safetensors").low_rank.keys() == offset.low_rank.keys()
    assert counts == {"diffusers": len(offset.modules), "kohya": 0}
    assert "CogVideoX-Fun" in readers_of(offset, "kohya") and "whole" in readers_of(offset, "diffusers")


def test_norms_and_biases_are_for_here_and_comfyui():
    offset = Offset({}, {"conv_norm_out": DenseLayer(torch.ones(2), torch.ones(2))})
    assert readers_of(offset, "kohya").startswith("This studio and ComfyUI")
    assert readers_of(offset, "diffusers") == "Only this studio reads this file whole."
