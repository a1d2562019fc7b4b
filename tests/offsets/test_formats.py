"""Every dialect people have is read to the same offset, and written so that other programs read it."""

import json
import struct

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import load_file, save_file

from core.errors import StudioError
from core.families import get
from core.offsets.files import load_lora, read_offset
from core.offsets.formats import classify, family_of
from core.offsets.names import dotted, from_original
from core.offsets.offset import DenseLayer, Offset
from core.offsets.writing import save_offset
from tests.builders.offsets import noise, random_offset

SD15, SDXL = get("sd15"), get("sdxl")


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def case(request):
    family = get(request.param)
    pipe = family.tiny()
    return family, pipe, random_offset(family, pipe)


def same(one, other):
    assert one.low_rank.keys() == other.low_rank.keys()
    for name, layer in one.low_rank.items():
        torch.testing.assert_close(layer.dense(), other.low_rank[name].dense(), rtol=1e-5, atol=1e-6)


def test_kohya_is_written_and_read(case, tmp_path):
    family, _, offset = case
    saved = save_offset(tmp_path / "k.safetensors", offset, family=family.name, provenance={}, format="kohya")
    assert saved.format == "kohya"
    same(load_lora(tmp_path / "k.safetensors", family=family.name), offset)


@torch.no_grad()
def test_stock_diffusers_reads_our_kohya_files(tmp_path):
    pipe, stock = SD15.tiny(), SD15.tiny()
    # diffusers' own reader of kohya files takes attention layers alone, which is what most such files hold
    offset = Offset({n: layer for n, layer in random_offset(SD15, pipe).low_rank.items() if ".attn" in n})
    save_offset(tmp_path / "k.safetensors", offset, family="sd15", provenance={}, format="kohya")
    stock.load_lora_weights(tmp_path, weight_name="k.safetensors")
    x, t, cond = noise(SD15, pipe, 2), torch.tensor([300, 700]), SD15.encode_prompt(pipe, ["a", "b"])
    plain = SD15.predict(pipe.unet, x, t, cond)
    with offset.apply(pipe.unet):
        ours = SD15.predict(pipe.unet, x, t, cond)
    torch.testing.assert_close(SD15.predict(stock.unet, x, t, cond), ours, rtol=0, atol=1e-5)
    assert float((ours - plain).abs().max()) > 1e-3


def test_kohya_alpha_and_a_rank_for_each_layer(tmp_path):
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    other = "mid_block.resnets.0.conv1"
    tensors = {}
    for module, rank, alpha in ((name, 4, 1.0), (other, 2, 2.0)):
        flat = f"lora_unet_{module.replace('.', '_')}"
        shape = ((rank, 8), (8, rank)) if module == name else ((rank, 8, 3, 3), (8, rank, 1, 1))
        tensors |= {f"{flat}.lora_down.weight": torch.randn(shape[0]), f"{flat}.lora_up.weight": torch.randn(shape[1])}
        tensors[f"{flat}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "k.safetensors")
    back = load_lora(tmp_path / "k.safetensors").low_rank
    flat = f"lora_unet_{name.replace('.', '_')}"
    wanted = tensors[f"{flat}.lora_up.weight"] @ tensors[f"{flat}.lora_down.weight"] / 4
    torch.testing.assert_close(back[name].dense(), wanted)
    assert (back[name].rank, back[other].rank) == (4, 2)
    assert read_offset(tmp_path / "k.safetensors").rank == 4


def original_names(config):
    """Every module of a UNet of that configuration in the original layout, by asking the library's own converter."""
    blocks = {"input_blocks": range(12), "output_blocks": range(12)}
    resnet = ["in_layers.0", "in_layers.2", "out_layers.0", "out_layers.3", "emb_layers.1", "skip_connection"]
    attention = ["norm", "proj_in", "proj_out"]
    for layer in range(10):
        attention += [
            f"transformer_blocks.{layer}.{m}"
            for m in ("attn1.to_q", "attn2.to_k", "attn1.to_out.0", "ff.net.0.proj", "norm3")
        ]
    names = ["time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2"]
    for side, numbers in blocks.items():
        names += [f"{side}.{n}.0.{inner}" for n in numbers for inner in [*resnet, "op"]]
        names += [f"{side}.{n}.1.{inner}" for n in numbers for inner in [*attention, "conv"]]
        names += [f"{side}.{n}.2.conv" for n in numbers]
    names += [f"middle_block.{place}.{inner}" for place in (0, 2) for inner in resnet]
    return names + [f"middle_block.1.{inner}" for inner in attention]


@pytest.mark.parametrize(("name", "cross"), [("sd15", (1, 1, 1, 0)), ("sdxl", (0, 1, 1))])
def test_original_block_names_are_mapped_as_the_library_maps_them(name, cross):
    from diffusers import UNet2DConditionModel

    kinds = ["CrossAttnDownBlock2D" if c else "DownBlock2D" for c in cross]
    ups = ["CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(cross)]
    config = {
        "block_out_channels": (8,) * len(cross),
        "down_block_types": tuple(kinds),
        "up_block_types": tuple(ups),
        "layers_per_block": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
    }
    if name == "sdxl":
        config |= {"transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True}
    own = UNet2DConditionModel(**config).state_dict()
    candidates = {module: from_original(module) for module in original_names(config)}
    candidates = {module: own_name for module, own_name in candidates.items() if f"{own_name}.weight" in own}
    parts = [
        (m, own_name, part)
        for m, own_name in candidates.items()
        for part in ("weight", "bias")
        if f"{own_name}.{part}" in own
    ]
    marks = {f"model.diffusion_model.{m}.{part}": torch.tensor([float(i)]) for i, (m, _, part) in enumerate(parts)}
    converted = convert_ldm_unet_checkpoint(dict(marks), config)
    ours = {f"{own_name}.{part}": marks[f"model.diffusion_model.{m}.{part}"] for m, own_name, part in parts}
    assert converted.keys() == ours.keys() and len(ours) > 80
    assert all(torch.equal(converted[key], ours[key]) for key in ours)


def test_kohya_files_of_sdxl_in_the_original_names():
    flat = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    shapes = {f"{flat}.lora_down.weight": (4, 2048), f"{flat}.lora_up.weight": (640, 4), f"{flat}.alpha": ()}
    contents = classify(shapes, "x")
    assert contents.modules == ["down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"]
    assert family_of(contents, shapes) == "sdxl"


def test_peft_files_with_their_configuration(case, tmp_path):
    family, _, offset = case
    tensors = {}
    for module, layer in offset.low_rank.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = layer.down.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = layer.up.contiguous() / 4
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "r": 2}))
    same(load_lora(tmp_path / "adapter_model.safetensors"), offset)
    assert read_offset(tmp_path / "adapter_model.safetensors").format == "peft"


def test_diffusers_metadata_gives_the_scaling(tmp_path):
    module = "mid_block.attentions.0.proj_in"
    tensors = {f"unet.{module}.lora_A.weight": torch.randn(2, 4), f"unet.{module}.lora_B.weight": torch.randn(4, 2)}
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 6, "unet.r": 2})}
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    back = load_lora(tmp_path / "x.safetensors").low_rank[module]
    torch.testing.assert_close(back.up, 3 * tensors[f"unet.{module}.lora_B.weight"])


def test_a_lora_that_stock_diffusers_saved_is_read(tmp_path):
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = SD15.tiny()
    pipe.unet.add_adapter(LoraConfig(r=2, lora_alpha=6, target_modules=["to_q", "conv1"], init_lora_weights=False))
    state = get_peft_model_state_dict(pipe.unet)
    type(pipe).save_lora_weights(
        tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict()
    )
    back = load_lora(tmp_path / "pytorch_lora_weights.safetensors")
    x, t, cond = noise(SD15, pipe, 1), torch.tensor([300]), SD15.encode_prompt(pipe, ["a"])
    with torch.no_grad():
        wanted = SD15.predict(pipe.unet, x, t, cond)
        other = SD15.tiny()
        with back.apply(other.unet):
            torch.testing.assert_close(SD15.predict(other.unet, x, t, cond), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("unet.{m}.lora.down.weight", "unet.{m}.lora.up.weight"),
        ("unet.{m}.lora_linear_layer.down.weight", "unet.{m}.lora_linear_layer.up.weight"),
        ("module.ema.unet.{m}.lora_A.weight", "module.ema.unet.{m}.lora_B.weight"),
        ("{m}.lora_A.weight", "{m}.lora_B.weight"),
    ],
)
def test_older_names_and_wrappers(tmp_path, down, up):
    module = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {down.format(m=module): torch.ones(2, 4), up.format(m=module): torch.ones(4, 2)}, tmp_path / "x.safetensors"
    )
    offset = read_offset(tmp_path / "x.safetensors")
    assert load_lora(tmp_path / "x.safetensors").modules == [module]
    assert bool(offset.notes) == ("module." in down)


def test_the_first_attention_processor_names():
    shapes = {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight": (2, 4)}
    shapes["unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight"] = (4, 2)
    assert classify(shapes, "x").modules == ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]


def test_text_encoder_parts_are_left_out_and_reported():
    module = "mid_block.attentions.0.proj_in"
    shapes = {f"unet.{module}.lora_A.weight": (2, 4), f"unet.{module}.lora_B.weight": (4, 2)}
    shapes |= {"lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": (), "text_encoder.x.lora_A.weight": (2, 4)}
    contents = classify(shapes, "x")
    assert "2 tensors of text encoders were left out" in contents.notes[-1]
    with pytest.raises(StudioError, match="only text encoders"):
        classify({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (2, 4)}, "x")


@pytest.mark.parametrize("key", ["hada_w1_a", "lokr_w1", "dora_scale", "oft_diag", "vera_lambda_b", "lora_down.weight"])
def test_half_a_layer_and_an_unknown_kind_are_refused_with_their_key_and_the_way_out(key):
    raw = f"lora_unet_mid_block_attentions_0_proj_in.{key}"
    with pytest.raises(StudioError, match=f"{raw}” is not.*offset extract"):
        classify({raw: (2, 4)}, "x")


def test_some_keys_that_fit_and_some_that_do_not_are_counted():
    module = "mid_block.attentions.0.proj_in"
    shapes = {f"unet.{module}.lora_A.weight": (2, 4), f"unet.{module}.lora_B.weight": (4, 2), "strange.key": (1,)}
    with pytest.raises(StudioError, match="2 of its 3 tensors are recognized, but “strange.key” is not"):
        classify(shapes, "x")


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_layer_of_an_offset_survives_underscores(family):
    for module in random_offset(get(family), get(family).tiny()).modules:
        assert dotted(module.replace(".", "_")) == module


def test_dense_parts_ride_along_in_both_dialects(tmp_path):
    low_rank, dense = (
        random_offset(SD15, SD15.tiny()).low_rank,
        {"conv_norm_out": DenseLayer(torch.randn(16), torch.randn(16))},
    )
    for form in ("diffusers", "kohya"):
        offset = Offset(low_rank, dense if form == "diffusers" else {})
        save_offset(tmp_path / "x.safetensors", offset, family="sd15", provenance={}, format=form)
        back = load_lora(tmp_path / "x.safetensors")
        same(back, offset)
        assert back.dense.keys() == offset.dense.keys()
        assert all(torch.equal(a, b) for n in offset.dense for a, b in zip(back.dense[n], offset.dense[n], strict=True))


def test_a_header_bomb_is_refused_at_once(tmp_path):
    import time

    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 56 * 2**20) + b" " * (56 * 2**20))
    began = time.monotonic()
    with pytest.raises(StudioError, match="header"):
        read_offset(path)
    assert time.monotonic() - began < 0.1


def test_the_written_file_is_what_the_header_says(tmp_path):
    offset = random_offset(SD15, SD15.tiny())
    saved = save_offset(
        tmp_path / "x.safetensors", offset, family="sd15", provenance={"steps": "7"}, dtype=torch.float16
    )
    assert saved.provenance["steps"] == "7" and saved.layers == len(offset.modules)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(tmp_path / "x.safetensors").values())
