"""Adapters that other programs' own code wrote arrive here with the weights that they have there."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import StudioError
from core.offsets.files import load_lora, read_offset
from core.offsets.full import difference, exact, extract_offset, prediction_error
from core.offsets.names import of_flat
from core.offsets.tensors import read_tensors
from core.offsets.unpickle import convert_pickle
from tests.offsets.foreign.layers import CONV, LINEAR, NORM, POINT, WIDE, layers, outputs
from tests.offsets.foreign.table import PAGE, rows, table

FILES = Path(__file__).parent / "files"
MADE = sorted(path.stem for path in FILES.glob("*.safetensors") if path.stem not in ("base", "outputs"))
ALGORITHMS = {
    "lora": "LoCon", "lora-rs": "LoCon of rsLoRA", "lora-tucker": "LoCon with a core (Tucker)", "loha": "LoHa",
    "loha-tucker": "LoHa with cores", "lokr": "LoKr", "lokr-both": "LoKr", "lokr-full": "LoKr",
    "lokr-tucker": "LoKr with a core", "dora": "DoRA, by rows or columns", "dora-columns": "DoRA, by rows or columns",
    "doha": "DoRA of LoHa and LoKr", "dokr": "DoRA of LoHa and LoKr", "oft": "OFT, bounded and rescaled too",
    "oft-bound": "OFT, bounded and rescaled too", "glora": "GLoRA", "ia3": "IA3", "ia3-inputs": "IA3",
    "full": "whole changes (`diff`)", "norm": "norms", "boft": "BOFT", "boft-bound": "BOFT",
}  # fmt: skip
"""A file to what it is called in docs/families.md."""
WEIGHTS = [LINEAR, WIDE, CONV, POINT]


def base() -> nn.Module:
    root = layers()
    root.load_state_dict(load_file(FILES / "base.safetensors"))
    return root


def arrived(path: Path) -> dict[str, torch.Tensor]:
    """What the layers make of the fixed inputs with the file's offset in their weights."""
    root = base()
    with load_lora(path, denoiser=root).apply(root):
        return outputs(root)


@pytest.mark.parametrize("name", MADE)
def test_what_lycoris_saved_acts_as_in_lycoris(name):
    theirs = {key.removeprefix(f"{name}/"): tensor for key, tensor in load_file(FILES / "outputs.safetensors").items()
              if key.startswith(f"{name}/")}  # fmt: skip
    ours, plain = arrived(FILES / f"{name}.safetensors"), outputs(base())
    assert set(theirs) == {"norm": {NORM}, "boft": {LINEAR, WIDE}}.get(name.removesuffix("-bound"), set(WEIGHTS))
    for module, wanted in theirs.items():
        torch.testing.assert_close(ours[module], wanted, rtol=0, atol=1e-4)
        assert float((plain[module] - wanted).abs().max()) > 0.01
    untouched = set(ours) - set(theirs)
    assert all(torch.equal(ours[module], plain[module]) for module in untouched)


@pytest.mark.parametrize("name", MADE)
def test_a_strange_key_in_it_is_refused_by_its_name(name, tmp_path):
    tensors = load_file(FILES / f"{name}.safetensors")
    prefix = next(iter(tensors)).split(".")[0]
    for key in (f"{prefix}.something", "lora_unet_nowhere_at_all.lora_down.weight", "strange"):
        save_file({**tensors, key: torch.ones(2, 2)}, tmp_path / "x.safetensors")
        with pytest.raises(StudioError, match=f"{key}” is not"):
            read_offset(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", [name for name in MADE if not name.startswith(("lora", "full", "norm"))])
def test_a_kind_that_needs_the_base_says_so(name):
    file = read_offset(FILES / f"{name}.safetensors")
    assert file.needs_base and len(file.adapters) == 1
    with pytest.raises(StudioError, match=f"of the kind {file.adapters[0]}.*--base"):
        load_lora(FILES / f"{name}.safetensors")


def written_by_peft(
    folder: Path, config: peft.PeftConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict:
    """Trains nothing: random adapter weights, saved by PEFT itself. What the layers make of the inputs with them.

    Args:
        dtype: in which the adapter's values are rounded and saved.
    """
    root = base()
    model = peft.get_peft_model(root, config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    if dtype != torch.float32:
        adapter = [p for name, p in model.named_parameters() if p.requires_grad and "base_layer" not in name]
        for parameter in adapter:
            parameter.data = parameter.data.to(dtype).float()
    model.save_pretrained(folder)
    if dtype != torch.float32:
        saved = {name: tensor.to(dtype) for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
        save_file(saved, folder / "adapter_model.safetensors")
    return outputs(root)


def same(ours: dict, theirs: dict, atol: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for module in theirs:
        torch.testing.assert_close(ours[module], theirs[module], rtol=0, atol=atol)


TARGETS = ["to_q", "net.2", "conv1", "conv_shortcut"]
POINTS = ["to_q", "net.2", "conv_shortcut"]
PEFT = {
    "plain": peft.LoraConfig(r=2, lora_alpha=32, target_modules=TARGETS, init_lora_weights=False),
    "rsLoRA": peft.LoraConfig(
        r=4, lora_alpha=8, use_rslora=True, target_modules=TARGETS, init_lora_weights=False
    ),
    "patterns": peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=TARGETS, init_lora_weights=False,
        rank_pattern={"to_q": 4, r"resnets\.\d+\.conv1": 1}, alpha_pattern={"attn1.to_q": 9, "^mid_block.*conv1": 5},
    ),
    "DoRA": peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=TARGETS, init_lora_weights=False),
    "bias of the up matrix": peft.LoraConfig(
        r=2, lora_alpha=3, lora_bias=True, target_modules=["net.2"], init_lora_weights=False
    ),
    "all biases": peft.LoraConfig(r=2, lora_alpha=3, bias="all", target_modules=TARGETS, init_lora_weights=False),
    "saved modules": peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=["to_q"], modules_to_save=["conv_norm_out", "conv_shortcut"]
    ),
    "LoHa": peft.LoHaConfig(r=2, alpha=3, target_modules=TARGETS, init_weights=False),
    "LoHa with cores": peft.LoHaConfig(
        r=2, alpha=3, target_modules=["conv1"], init_weights=False, use_effective_conv2d=True
    ),
    "LoKr": peft.LoKrConfig(r=2, alpha=3, target_modules=TARGETS, init_weights=False, decompose_both=True),
    "OFT": peft.OFTConfig(r=0, oft_block_size=4, target_modules=POINTS),
    "OFT by the whole Cayley transform": peft.OFTConfig(
        r=2, oft_block_size=0, use_cayley_neumann=False, target_modules=POINTS
    ),
    "OFT, bounded, with shared blocks": peft.OFTConfig(
        r=0, oft_block_size=4, coft=True, eps=0.3, block_share=True, num_cayley_neumann_terms=3, target_modules=POINTS
    ),
    "BOFT": peft.BOFTConfig(boft_block_size=4, target_modules=TARGETS, init_weights=False),
    "IA3": peft.IA3Config(target_modules=["to_q", "net.2"], feedforward_modules=["net.2"], init_ia3_weights=False),
}  # fmt: skip


@pytest.mark.parametrize("name", PEFT)
def test_what_peft_saved_acts_as_in_peft_by_folder_and_by_file(name, tmp_path):
    theirs = written_by_peft(tmp_path, PEFT[name])
    assert (tmp_path / "adapter_config.json").is_file()
    same(arrived(tmp_path), theirs)
    same(arrived(tmp_path / "adapter_model.safetensors"), theirs)
    assert any(float((outputs(base())[module] - theirs[module]).abs().max()) > 0.01 for module in theirs)


@pytest.mark.parametrize("name", PEFT)
def test_a_strange_key_in_what_peft_saved_is_refused_by_its_name(name, tmp_path):
    written_by_peft(tmp_path, PEFT[name])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    layer = next(module for module in (LINEAR, WIDE, CONV) if any(module in key for key in tensors))
    for key in (f"base_model.model.{layer}.some", f"base_model.model.{layer}.lora_extra.x", "base_model.model.strange"):
        save_file({**tensors, key: torch.ones(2, 2)}, file)
        with pytest.raises(StudioError, match=f"“{re.escape(key[:80])}” is not"):
            read_offset(tmp_path)


@pytest.mark.parametrize("family", ["LoHa", "LoKr", "OFT", "BOFT"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rank_alpha_precision_and_pattern_of_peft_s_other_kinds_arrives(family, tmp_path, data):
    draw, dtypes = data.draw, [torch.float32, torch.float16, torch.bfloat16]
    whole, ranks = (
        st.integers(1, 5),
        st.dictionaries(st.sampled_from(["to_q", r"net\.2", "conv1"]), st.integers(1, 4), max_size=2),
    )
    alphas = st.dictionaries(st.sampled_from(["attn1.to_q", ".*conv.*"]), st.integers(1, 20), max_size=2)
    if family in ("LoHa", "LoKr"):
        common = {"r": draw(whole), "alpha": draw(st.integers(1, 40)), "target_modules": TARGETS, "init_weights": False}
        common |= {
            "rank_pattern": draw(ranks),
            "alpha_pattern": draw(alphas),
            "use_effective_conv2d": draw(st.booleans()),
        }
        if family == "LoKr":
            common |= {"decompose_both": draw(st.booleans()), "decompose_factor": draw(st.sampled_from([-1, 2, 4]))}
        config = (peft.LoHaConfig if family == "LoHa" else peft.LoKrConfig)(**common)
    elif family == "OFT":
        config = peft.OFTConfig(
            r=0, oft_block_size=draw(st.sampled_from([2, 4, 8])), target_modules=POINTS, coft=draw(st.booleans()),
            eps=draw(st.floats(0.01, 0.5)), block_share=draw(st.booleans()), use_cayley_neumann=draw(st.booleans()),
            num_cayley_neumann_terms=draw(st.integers(2, 6)),
        )  # fmt: skip
    else:
        size = draw(st.sampled_from([2, 4]))
        config = peft.BOFTConfig(boft_block_size=size, target_modules=["to_q", "net.2"], init_weights=False)
    folder = tmp_path / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    theirs = written_by_peft(folder, config, dtype=draw(st.sampled_from(dtypes)))
    ours = arrived(folder)
    same(ours, theirs, atol=3e-4 * max(1.0, *(float(out.abs().max()) for out in theirs.values())))


def test_butterflies_that_peft_makes_on_a_graphics_card_arrive(tmp_path, monkeypatch):
    class Blocks:  # what its CUDA extension computes
        apply = staticmethod(lambda blocks: torch.stack([torch.block_diag(*stage) for stage in blocks]))

    monkeypatch.setattr("peft.tuners.boft.layer.get_fbd_cuda", lambda: True)
    monkeypatch.setattr("peft.tuners.boft.layer.FastBlockDiag", Blocks)
    config = peft.BOFTConfig(
        boft_block_size=2, boft_n_butterfly_factor=3, target_modules=TARGETS, init_weights=False
    )  # fmt: skip
    theirs = written_by_peft(tmp_path, config)
    assert load_file(tmp_path / "adapter_model.safetensors")[f"base_model.model.{LINEAR}.boft_R"].shape == (3, 4, 2, 2)
    same(arrived(tmp_path), theirs)


def test_what_no_weight_can_hold_and_what_its_file_does_not_say_is_refused(tmp_path):
    written_by_peft(tmp_path, peft.OFTConfig(r=0, oft_block_size=4, target_modules=["conv1"]))
    with pytest.raises(StudioError, match="OFT of a 3 × 3 convolution"):
        arrived(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "peft_version": None}))
    with pytest.raises(StudioError, match="OFT of PEFT before 0.18"):
        read_offset(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(StudioError, match="without its adapter_config.json"):
        read_offset(tmp_path)


def test_a_peft_file_alone_says_that_its_strength_is_a_guess(tmp_path):
    written_by_peft(tmp_path, PEFT["plain"])
    assert not read_offset(tmp_path).notes
    shutil.copy(tmp_path / "adapter_model.safetensors", tmp_path / "alone.safetensors")
    (tmp_path / "adapter_config.json").unlink()
    assert "no adapter_config.json" in read_offset(tmp_path / "alone.safetensors").notes[-1]
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": "many"}')
    with pytest.raises(StudioError, match="its strength is unknown"):
        read_offset(tmp_path)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 5),
    alpha=st.integers(1, 40),
    rslora=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    ranks=st.dictionaries(st.sampled_from(["to_q", "mid_block.resnets.0.conv1", r"net\.2", "2"]), st.integers(1, 4), max_size=2),
    alphas=st.dictionaries(st.sampled_from(["attn1.to_q", ".*conv.*", "ff.net.2"]), st.integers(1, 20), max_size=2),
)  # fmt: skip
def test_any_rank_alpha_and_pattern_of_peft_arrives(tmp_path, rank, alpha, rslora, dtype, ranks, alphas):
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, use_rslora=rslora, target_modules=TARGETS, init_lora_weights=False,
        rank_pattern=dict(ranks), alpha_pattern=dict(alphas),
    )  # fmt: skip
    folder = tmp_path / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    root = base()
    model = peft.get_peft_model(root, config)
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:
            parameter.data = parameter.data.to(dtype).float()
    model.save_pretrained(folder)
    saved = {name: tensor.to(dtype) for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    save_file(saved, folder / "adapter_model.safetensors")
    offset = load_lora(folder)
    for name, module in root.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            wanted = module.get_delta_weight("default")
            torch.testing.assert_close(offset.low_rank[name].dense(), wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 6),
    alpha=st.one_of(st.none(), st.floats(0.125, 64, width=16)),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]),
    ending=st.sampled_from(
        [("lora_down.weight", "lora_up.weight"), ("lora_A.weight", "lora_B.weight"),
         ("lora_A.default.weight", "lora_B.default.weight"), ("lora.down.weight", "lora.up.weight")]
    ),
    prefix=st.sampled_from(["lora_unet_", "lycoris_", "unet.", "diffusion_model.", "base_model.model.", "", "module.unet."]),
)  # fmt: skip
def test_any_rank_alpha_precision_and_name_arrives(tmp_path, rank, alpha, dtype, ending, prefix):
    flat = prefix.endswith("_")
    original = "middle_block.1.transformer_blocks.0.attn1.to_q" if prefix == "diffusion_model." else LINEAR
    name = prefix + (original.replace(".", "_") if flat else original)
    down, up = (torch.randn(shape).to(dtype) for shape in ((rank, 8), (8, rank)))
    tensors = {f"{name}.{ending[0]}": down, f"{name}.{ending[1]}": up}
    if alpha is not None:
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "x.safetensors")
    offset = load_lora(tmp_path / "x.safetensors")
    assert offset.modules == [LINEAR]
    wanted = up.float() @ down.float() * ((alpha / rank) if alpha is not None else 1.0)
    torch.testing.assert_close(offset.low_rank[LINEAR].dense(), wanted, rtol=1e-5, atol=1e-5)


def test_an_adapter_of_cogvideox_s_own_trainer_arrives_without_changing_other_weights(tmp_path):
    """SwissArmyTransformer's LoraMixin: a matrix each for q, k and v of one layer, scaled by its alpha of 1 over the rank."""
    places = {
        "query_key_value.{}.0": "to_q",
        "query_key_value.{}.1": "to_k",
        "query_key_value.{}.2": "to_v",
        "dense.{}.0": "to_out.0",
    }
    tensors, wanted = {}, {}
    for layer in range(2):
        for place, name in places.items():
            down, up = torch.randn(4, 8), torch.randn(8, 4)
            key = f"model.diffusion_model.transformer.layers.{layer}.attention.{place}"
            tensors |= {key.format("matrix_A"): down, key.format("matrix_B"): up}
            wanted[f"transformer_blocks.{layer}.attn1.{name}"] = up @ down / 4
    own = {
        f"model.diffusion_model.transformer.layers.0.attention.dense.original.{n}": torch.ones(8)
        for n in ("weight", "bias")
    }
    save_file({**tensors, **own}, tmp_path / "x.safetensors")
    file, offset = read_offset(tmp_path / "x.safetensors"), load_lora(tmp_path / "x.safetensors")
    assert (file.format, file.family, file.rank, file.layers) == ("sat", "cogvideox", 4, 8)
    assert (
        "2 tensors of the base next to the adapter were left out" in file.notes[0]
        and "alpha is taken to be 1" in file.notes[1]
    )
    assert offset.low_rank.keys() == wanted.keys()
    for name, change in wanted.items():
        torch.testing.assert_close(offset.low_rank[name].dense(), change)
    for key in ("strange", "model.diffusion_model.transformer.layers.0.attention.dense.matrix_C.0"):
        save_file({**tensors, **own, key: torch.ones(2, 2)}, tmp_path / "x.safetensors")
        with pytest.raises(StudioError, match=f"{key[:80]}” is not"):
            read_offset(tmp_path / "x.safetensors")


def test_embeddings_of_onetrainer_are_reported_and_the_network_is_read(tmp_path):
    tensors = load_file(FILES / "lora.safetensors") | {"bundle_emb.word.string_to_param.*": torch.ones(2, 4)}
    save_file(tensors, tmp_path / "x.safetensors")
    file = read_offset(tmp_path / "x.safetensors")
    assert file.layers == 4 and "1 tensors of embeddings of words were left out" in file.notes[-1]
    same(arrived(tmp_path / "x.safetensors"), arrived(FILES / "lora.safetensors"), atol=0)
    for key in ("bundle_embedding.word", "lora_unet_bundle.alpha", "lora_prior_a.lora_up.weight"):
        save_file({**tensors, key: torch.ones(2, 4)}, tmp_path / "x.safetensors")
        with pytest.raises(StudioError, match=f"“{key}” is not"):
            read_offset(tmp_path / "x.safetensors")


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", "", "unet."])
def test_a_whole_network_is_read_behind_any_prefix_and_other_tensors_are_reported(prefix, tmp_path):
    original = {
        LINEAR: "middle_block.1.transformer_blocks.0.attn1.to_q",
        WIDE: "middle_block.1.transformer_blocks.0.ff.net.2",
        CONV: "middle_block.0.in_layers.2",
        POINT: "middle_block.0.skip_connection",
        NORM: "out.0",
    }
    root = base()
    tuned = {name: tensor + torch.randn_like(tensor) for name, tensor in root.state_dict().items()}
    names = {name: name if prefix == "unet." else f"{original[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"
             for name in tuned}  # fmt: skip
    tensors = {f"{prefix}{names[name]}": tensor.contiguous() for name, tensor in tuned.items()}
    save_file(
        {**tensors, "first_stage_model.x": torch.ones(1), "strange.key": torch.ones(1)}, tmp_path / "x.safetensors"
    )
    file = read_offset(tmp_path / "x.safetensors")
    assert file.kind == "full" and "2 tensors beside the denoiser were left out" in file.notes[-1]
    changes = difference(root, tmp_path / "x.safetensors", family="sd15")
    own = root.state_dict()
    assert changes.keys() == tuned.keys() and all(torch.equal(changes[n], tuned[n] - own[n]) for n in tuned)


@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
def test_a_scaled_eight_bit_network_is_read_with_its_scales(ending, tmp_path):
    root = base()
    tensors, wanted = {"scaled_fp8": torch.ones(2).to(torch.float8_e4m3fn)}, {}
    for name, tensor in root.state_dict().items():
        if name.endswith("weight") and tensor.ndim > 1:
            scale = tensor.abs().max() / 400
            small = (tensor / scale).to(torch.float8_e4m3fn)
            tensors |= {name: small, f"{name.removesuffix('weight')}{ending}": scale}
            wanted[name] = small.float() * scale
        else:
            tensors[name], wanted[name] = tensor, tensor
    save_file(tensors, tmp_path / "x.safetensors")
    changes = difference(root, tmp_path / "x.safetensors", family="sd15")
    for name, change in changes.items():
        torch.testing.assert_close(root.state_dict()[name] + change, wanted[name], rtol=1e-5, atol=1e-6)


def test_eight_bit_floats_are_exact(tmp_path):
    numbers = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        values = numbers.view(dtype)
        values = values[torch.isfinite(values.float())]
        save_file({"a": values.contiguous()}, tmp_path / "x.safetensors")
        read = read_tensors([tmp_path / "x.safetensors"], ["a"])["a"]
        assert torch.equal(read.float(), values.float())


def test_a_diffusers_header_with_patterns_gives_each_layer_its_strength(tmp_path):
    module = "mid_block.attentions.0.proj_in"
    config = {
        "unet.r": 2, "unet.lora_alpha": 6, "unet.use_rslora": True, "unet.alpha_pattern": {"proj_in": 3},
        "text_encoder.lora_alpha": 100, "text_encoder.alpha_pattern": {},
    }  # fmt: skip
    tensors = {f"unet.{module}.lora_A.weight": torch.randn(2, 4), f"unet.{module}.lora_B.weight": torch.randn(4, 2)}
    tensors |= {key.replace("proj_in", "proj_out"): tensor.clone() for key, tensor in tensors.items()}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": json.dumps(config)})
    layer, other = (load_lora(tmp_path / "x.safetensors").low_rank[f"{module[:-2]}{end}"] for end in ("in", "out"))
    torch.testing.assert_close(layer.up, 3 / 2**0.5 * tensors[f"unet.{module}.lora_B.weight"])
    torch.testing.assert_close(other.up, 6 / 2**0.5 * tensors[f"unet.{module}.lora_B.weight"])


def test_text_encoder_parts_are_reported_and_the_network_is_read(tmp_path):
    text = {
        f"lora_te_text_model_encoder_layers_0_mlp_fc1.{end}": torch.ones(1, 1) for end in ("lora_up.weight", "alpha")
    }
    save_file(load_file(FILES / "lora.safetensors") | text, tmp_path / "x.safetensors")
    assert "2 tensors of text encoders were left out" in read_offset(tmp_path / "x.safetensors").notes[-1]
    same(arrived(tmp_path / "x.safetensors"), arrived(FILES / "lora.safetensors"), atol=0)


def test_kohya_names_of_the_ends_of_a_unet_are_known(tmp_path):
    known = {
        "time_embed_0": "time_embedding.linear_1", "time_embed_2": "time_embedding.linear_2",
        "label_emb_0_0": "add_embedding.linear_1", "label_emb_0_2": "add_embedding.linear_2",
        "out_2": "conv_out", "out_0": "conv_norm_out", "input_blocks_0_0": "conv_in",
        "time_embedding_linear_1": "time_embedding.linear_1", "add_embedding_linear_2": "add_embedding.linear_2",
        "conv_out": "conv_out", "conv_in": "conv_in",
    }  # fmt: skip
    assert {flat: of_flat(flat) for flat in known} == known


def test_a_whole_network_as_a_low_rank_offset_reports_its_error():
    root = base()
    changes = {f"{LINEAR}.weight": torch.randn(8, 8), f"{NORM}.bias": torch.randn(8)}
    extraction = extract_offset(changes, rank=2)
    lost = (changes[f"{LINEAR}.weight"] - extraction.offset.low_rank[LINEAR].dense()).norm()
    assert extraction.weight_error == pytest.approx(float(lost / changes[f"{LINEAR}.weight"].norm()), rel=1e-4)
    error = prediction_error(root, exact(changes), extraction.offset, lambda net: outputs(net)[LINEAR])
    assert 0 < error < 1


@pytest.mark.usefixtures("warm_conversions")
def test_a_pickle_arrives_as_it_was(tmp_path):
    torch.save(load_file(FILES / "lora.safetensors"), tmp_path / "x.pt")
    convert_pickle(tmp_path / "x.pt", tmp_path / "x.safetensors")
    same(arrived(tmp_path / "x.safetensors"), arrived(FILES / "lora.safetensors"), atol=0)


def test_the_table_in_the_docs_is_the_one_that_the_tests_make():
    assert table() in PAGE.read_text(encoding="utf-8"), "run python -m tests.offsets.foreign.table"
    for *_, test in rows():
        module, name = test.split(".")
        assert hasattr(import_module(f"tests.offsets.foreign.{module}"), name), test
