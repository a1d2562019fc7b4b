"""ControlNets as single files arrive as diffusers' own reader of single files maps them, T2I-Adapters by a table of names."""

import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file, save_file

from core.errors import StudioError
from core.offsets.controlnet import read_controlnet
from core.offsets.files import read_offset
from core.offsets.t2i_adapter import read_t2i_adapter
from core.studio.library.entries import kind_of
from core.studio.library.load import load_control
from core.studio.library.weights import import_offset
from core.studio.workspace import Workspace

RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "out_layers.0": "norm2", "out_layers.3": "conv2",
          "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut"}  # fmt: skip


def original_names():
    """Its authors' names of the modules of SD1.5's ControlNet, as facts: theirs to what diffusers calls them."""
    names = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
             "input_blocks.0.0": "conv_in", "middle_block_out.0": "controlnet_mid_block"}  # fmt: skip
    names |= {f"zero_convs.{n}.0": f"controlnet_down_blocks.{n}" for n in range(12)}
    hints = ["conv_in", *(f"blocks.{n}" for n in range(6)), "conv_out"]
    names |= {f"input_hint_block.{2 * n}": f"controlnet_cond_embedding.{hint}" for n, hint in enumerate(hints)}
    places = {f"input_blocks.{3 * b + n + 1}": (f"down_blocks.{b}", n) for b in range(4) for n in range(2)}
    for theirs, (block, n) in places.items():
        names |= {f"{theirs}.0.{part}": f"{block}.resnets.{n}.{own}" for part, own in RESNET.items()}
        names[f"{theirs}.1"] = f"{block}.attentions.{n}"
    names |= {f"input_blocks.{3 * b + 3}.0.op": f"down_blocks.{b}.downsamplers.0.conv" for b in range(3)}
    for theirs, own in (("0", "resnets.0"), ("2", "resnets.1")):
        names |= {f"middle_block.{theirs}.{part}": f"mid_block.{own}.{name}" for part, name in RESNET.items()}
    names["middle_block.1"] = "mid_block.attentions.0"
    return {own: theirs for theirs, own in names.items()}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ControlNetModel(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, cross_attention_dim=768, attention_head_dim=2,
        conditioning_embedding_out_channels=(4, 8, 8, 8),
    )  # fmt: skip


def in_original_names(network):
    theirs, tensors = original_names(), {}
    for name, tensor in network.state_dict().items():
        own = max((own for own in theirs if name.startswith(f"{own}.")), key=len)
        tensors[theirs[own] + name.removeprefix(own)] = tensor
    assert len(tensors) == len(network.state_dict())
    return tensors


@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_its_authors_names_and_diffusers_names_give_the_same_network(network, prefix, tmp_path):
    tensors = {f"{prefix}{name}": tensor for name, tensor in in_original_names(network).items()}
    save_file(tensors, tmp_path / "canny.safetensors")
    assert kind_of(tmp_path / "canny.safetensors") == ("control", "sd15")
    parameters, own = read_controlnet(tmp_path / "canny.safetensors"), network.state_dict()
    theirs = convert_controlnet_checkpoint(load_file(tmp_path / "canny.safetensors"), network.config)
    assert parameters.keys() == own.keys() == theirs.keys()
    assert all(torch.equal(parameters[name], own[name]) and torch.equal(theirs[name], own[name]) for name in own)
    save_file(own, tmp_path / "theirs.safetensors")
    assert read_controlnet(tmp_path / "theirs.safetensors").keys() == own.keys()


def test_an_unknown_key_is_refused_and_the_file_is_not_an_offset(network, tmp_path):
    path = tmp_path / "canny.safetensors"
    save_file(in_original_names(network), path)
    with pytest.raises(StudioError, match="“canny.safetensors” is a ControlNet, not an offset"):
        read_offset(path)
    save_file({**in_original_names(network), "input_hint_block.16.weight": torch.ones(1)}, path)
    with pytest.raises(StudioError, match="“input_hint_block.16.weight” is not understood"):
        read_controlnet(path)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_an_import_puts_it_among_the_models(network, ending, tmp_path):
    tensors = {f"control_model.{name}": tensor for name, tensor in in_original_names(network).items()}
    path = tmp_path / f"canny{ending}"
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    workspace = Workspace(tmp_path / "space")
    facts = import_offset(workspace, path)
    assert (facts["kind"], facts["family"]) == ("control network", "sd15")
    assert [file.name for file in workspace.models.iterdir()] == ["canny.safetensors"] and not list(
        workspace.offsets.iterdir()
    )
    assert len(read_controlnet(workspace.models / "canny.safetensors")) == len(tensors)


ADAPTERS = {
    "full_adapter": ("sd15", {"channels": [8, 16, 16, 16], "num_res_blocks": 2, "downscale_factor": 8}),
    "full_adapter_xl": ("sdxl", {"channels": [8, 16, 16, 16], "num_res_blocks": 2, "downscale_factor": 16}),
    "light_adapter": ("sd15", {"channels": [8, 16, 16], "num_res_blocks": 4, "downscale_factor": 8, "in_channels": 1}),
}


def t2i_adapter(kind):
    torch.manual_seed(1)
    return T2IAdapter(adapter_type=kind, **ADAPTERS[kind][1]).eval()


def authors_names(kind, state):
    """Its authors' names, as facts: a full adapter numbers its blocks through all stages, two a stage, and a stage that
    changes the width begins with in_conv; a light one has body inside of body."""
    tensors = {}
    for name, tensor in state.items():
        name = name.removeprefix("adapter.")
        stage, _, rest = name.removeprefix("body.").partition(".")
        block, _, part = rest.removeprefix("resnets.").partition(".")
        if kind == "light_adapter":
            name = name.replace("resnets", "body")
        elif name.startswith("body.") and "resnets" in name:
            name = f"body.{2 * int(stage) + int(block)}.{part}"
        elif name.startswith("body."):
            name = f"body.{2 * int(stage)}.{rest}"
        tensors[name] = tensor
    assert len(tensors) == len(state)
    return tensors


@pytest.mark.parametrize("kind", ADAPTERS)
@torch.no_grad()
def test_a_t2i_adapter_in_its_authors_names_and_in_diffusers_names_is_the_same_network(kind, tmp_path):
    family, sizes = ADAPTERS[kind]
    network = t2i_adapter(kind)
    picture = torch.rand(1, sizes.get("in_channels", 3), 256, 256)
    theirs = authors_names(kind, network.state_dict())
    assert kind == "light_adapter" or {"body.2.in_conv.weight", "body.7.block2.bias"} <= theirs.keys()
    for name, tensors in (("theirs.safetensors", theirs), ("own.safetensors", network.state_dict())):
        save_file(tensors, tmp_path / name)
        assert kind_of(tmp_path / name) == ("control", family)
        loaded = load_control(tmp_path / name, family, None)
        for ours, wanted in zip(loaded(picture), network(picture), strict=True):
            assert torch.equal(ours, wanted)
    with pytest.raises(StudioError, match="is a T2I-Adapter, not an offset"):
        read_offset(tmp_path / "theirs.safetensors")
    other = "sdxl" if family == "sd15" else "sd15"
    with pytest.raises(StudioError, match="is a control network for .*, but the base model is"):
        load_control(tmp_path / "theirs.safetensors", other, None)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_strange_key_in_a_t2i_adapter_is_refused_and_a_missing_one_is_a_sentence(kind, tmp_path):
    tensors, path = authors_names(kind, t2i_adapter(kind).state_dict()), tmp_path / "x.safetensors"
    for key in ("body.0.strange.weight", "body.1.block3.weight", "strange"):
        save_file({**tensors, key: torch.ones(2, 2)}, path)
        with pytest.raises(StudioError, match=f"“{key}” is not understood"):
            read_t2i_adapter(path)
    first = next(name for name in tensors if name.endswith("block1.weight"))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, path)
    with pytest.raises(StudioError, match="incomplete or damaged"):
        read_t2i_adapter(path)
    rest = first.removeprefix("body.").partition(".")[2]
    far = f"body.1000000000.{rest}"
    save_file({**tensors, far: tensors[first].clone()}, path)
    with pytest.raises(StudioError, match="incomplete or damaged"):
        read_t2i_adapter(path)
    tensors.pop(next(name for name in tensors if name.endswith("block2.weight")))
    save_file(tensors, path)
    with pytest.raises(StudioError, match="could not be loaded: RuntimeError"):
        load_control(path, ADAPTERS[kind][0], None)


def test_a_pickle_of_a_t2i_adapter_is_imported_among_the_models(tmp_path):
    torch.save(
        authors_names("full_adapter", t2i_adapter("full_adapter").state_dict()), tmp_path / "t2iadapter_canny.pth"
    )
    workspace = Workspace(tmp_path / "space")
    facts = import_offset(workspace, tmp_path / "t2iadapter_canny.pth")
    assert (facts["kind"], facts["family"]) == ("control network", "sd15")
    assert [file.name for file in workspace.models.iterdir()] == ["t2iadapter_canny.safetensors"]
