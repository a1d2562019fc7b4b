"""Whole weights as offsets: kept exactly, extracted with a known error, merged; pickles converted behind a wall."""

import json
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import StudioError
from core.families import get
from core.families.base import join
from core.method.guidance import GuidanceWeights
from core.offsets.files import read_offset
from core.offsets.full import difference, exact, extract_offset, merged_state, prediction_error, save_state
from core.offsets.offset import DenseLayer, Offset
from core.offsets.row_gate import row_gate
from core.offsets.unpickle import convert_pickle
from tests.builders.offsets import noise

FAMILY = get("sd15")


def tuned_state(pipe, seed=1, size=0.05):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + size * torch.randn(tensor.shape, generator=generator)
        for name, tensor in pipe.unet.state_dict().items()
    }


@pytest.fixture(scope="module")
def pipe():
    return FAMILY.tiny()


@pytest.fixture
def tuned(pipe, tmp_path):
    save_file(tuned_state(pipe), tmp_path / "tuned.safetensors")
    return tmp_path / "tuned.safetensors"


def batch(pipe):
    return noise(FAMILY, pipe, 2), torch.tensor([500, 500]), FAMILY.encode_prompt(pipe, ["a", "b"])


@torch.no_grad()
def test_the_twin_is_the_tuned_network_in_every_row(pipe, tuned):
    offset = exact(difference(pipe.unet, tuned, family="sd15"))
    other = FAMILY.tiny()
    other.unet.load_state_dict(load_file(tuned))
    x, t, cond = batch(pipe)
    empty = FAMILY.encode_prompt(pipe, ["", ""])
    with row_gate(pipe.unet, None, offset) as gate:
        gate.set_columns([GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)], 2)
        low, high = FAMILY.predict(pipe.unet, torch.cat([x, x]), torch.cat([t, t]), join(empty, cond)).chunk(2)
    # the two networks differ by rounding alone, which tiny random weights blow up somewhat
    torch.testing.assert_close(low, FAMILY.predict(other.unet, x, t, empty), rtol=0, atol=2e-5)
    torch.testing.assert_close(high, FAMILY.predict(pipe.unet, x, t, cond), rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("merged", [False, True])
def test_the_twin_of_a_video_network_changes_layers_that_see_each_frame_as_a_row(merged):
    family = get("cogvideox")
    pipe, other = family.tiny(), family.tiny()
    network, twin = family.denoiser(pipe), family.denoiser(other)
    offset = Offset(dense={"patch_embed.proj": DenseLayer(0.1 * torch.randn_like(network.patch_embed.proj.weight))})
    twin.patch_embed.proj.weight += offset.dense["patch_embed.proj"].weight
    x, t = noise(family, pipe, 2), torch.tensor([500, 500])
    cond, empty = (family.encode_prompt(pipe, texts) for texts in (["a", "b"], ["", ""]))
    with row_gate(network, None, offset, merged=merged) as gate:
        gate.set_columns([GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)], 2)
        low, high = family.predict(network, torch.cat([x, x]), torch.cat([t, t]), join(empty, cond)).chunk(2)
    torch.testing.assert_close(low, family.predict(twin, x, t, empty), rtol=0, atol=2e-5)
    torch.testing.assert_close(high, family.predict(network, x, t, cond), rtol=0, atol=2e-5)


@torch.no_grad()
def test_extraction_at_full_rank_is_exact_and_norms_and_biases_always_are(pipe, tuned):
    changes = difference(pipe.unet, tuned, family="sd15")
    whole = extract_offset(changes, rank=10_000)
    assert whole.weight_error < 1e-3
    small = extract_offset(changes, rank=2)
    assert 0 < small.weight_error < 1 and small.rank == 2
    assert all(0 < share <= 1 + 1e-9 for share in small.captured.values())
    for name, change in small.offset.dense.items():
        for part in ("weight", "bias"):
            kept = getattr(change, part)
            assert kept is None or torch.equal(kept, changes[f"{name}.{part}"])
    assert all(name in small.offset.dense for name in ("conv_norm_out", "conv_in"))
    x, t, cond = batch(pipe)
    predict = lambda network: FAMILY.predict(network, x, t, cond)  # noqa: E731
    twin = exact(changes)
    assert prediction_error(pipe.unet, twin, whole.offset, predict) < 1e-3
    assert prediction_error(pipe.unet, twin, small.offset, predict) > 0.01


def test_the_smallest_rank_under_an_error_bound(pipe, tuned):
    changes = difference(pipe.unet, tuned, family="sd15")
    for bound in (0.3, 0.7):
        extraction = extract_offset(changes, error=bound)
        assert extraction.weight_error <= bound
        assert all((1 - share) ** 0.5 <= bound + 1e-6 for share in extraction.captured.values())
    layers = extraction.offset.low_rank
    name = max(layers, key=lambda n: layers[n].rank)
    fewer = extract_offset({f"{name}.weight": changes[f"{name}.weight"]}, rank=layers[name].rank - 1)
    assert fewer.weight_error > 0.7


@pytest.mark.parametrize(("rank", "error"), [(None, None), (4, 0.5), (0, None), (None, 1.5)])
def test_a_rank_or_an_error_but_not_both(rank, error):
    with pytest.raises(StudioError, match="Choose a rank"):
        extract_offset({"a.weight": torch.randn(4, 4)}, rank=rank, error=error)


@torch.no_grad()
def test_a_merged_network_is_base_plus_scaled_offset(pipe, tuned, tmp_path):
    offset = exact(difference(pipe.unet, tuned, family="sd15"))
    before = {name: tensor.clone() for name, tensor in pipe.unet.state_dict().items()}
    save_state(tmp_path / "neon.safetensors", merged_state(pipe.unet, offset, -0.3), family="sd15", provenance={})
    assert all(torch.equal(before[name], tensor) for name, tensor in pipe.unet.state_dict().items())
    other = FAMILY.tiny()
    other.unet.load_state_dict(load_file(tmp_path / "neon.safetensors"))
    x, t, cond = batch(pipe)
    with offset.apply(pipe.unet, -0.3):
        assert torch.equal(FAMILY.predict(other.unet, x, t, cond), FAMILY.predict(pipe.unet, x, t, cond))
    assert read_offset(tmp_path / "neon.safetensors").kind == "full"


def test_shards_are_read_and_a_missing_one_is_named(pipe, tuned, tmp_path):
    state = load_file(tuned)
    folder = tmp_path / "unet"
    folder.mkdir()
    names = sorted(state)
    parts = {"a-00001-of-00002.safetensors": names[::2], "a-00002-of-00002.safetensors": names[1::2]}
    for file, mine in parts.items():
        save_file({n: state[n] for n in mine}, folder / file)
    index = {"weight_map": {n: file for file, mine in parts.items() for n in mine}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    whole, sharded = (difference(pipe.unet, path, family="sd15") for path in (tuned, folder))
    assert all(torch.equal(whole[n], sharded[n]) for n in whole)
    (folder / "a-00002-of-00002.safetensors").unlink()
    with pytest.raises(StudioError, match="shard “a-00002-of-00002.safetensors”.*missing"):
        difference(pipe.unet, folder, family="sd15")


def test_weights_that_are_the_bases_own_or_of_another_network_are_refused(pipe, tmp_path):
    save_file(pipe.unet.state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="base's own weights"):
        difference(pipe.unet, tmp_path / "x.safetensors", family="sd15")
    save_file({"conv_in.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="of the base's .* parameters; .* is missing"):
        difference(pipe.unet, tmp_path / "x.safetensors", family="sd15")
    state = {**pipe.unet.state_dict(), "conv_in.weight": torch.ones(3, 3)}
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match=r"has shape \(3, 3\)"):
        difference(pipe.unet, tmp_path / "x.safetensors", family="sd15")


class Evil:
    def __reduce__(self):
        return (subprocess.check_call, (["touch", "EVIL-RAN"],))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.usefixtures("warm_conversions")
def test_a_pickle_of_weights_is_converted(pipe, tmp_path, zipped):
    state = {f"module.{k}": v for k, v in tuned_state(pipe).items()}
    contents = {"state_dict": state, "global_step": 7}
    torch.save(contents, tmp_path / "unet.ckpt", _use_new_zipfile_serialization=zipped)
    convert_pickle(tmp_path / "unet.ckpt", tmp_path / "out.safetensors")
    back = difference(pipe.unet, tmp_path / "out.safetensors", family="sd15")
    assert torch.allclose(back["conv_in.weight"], state["module.conv_in.weight"] - pipe.unet.conv_in.weight)
    assert "“module” in front of names was left out" in read_offset(tmp_path / "out.safetensors").notes


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.safetensors", "evil.PT", "evil"])
@pytest.mark.usefixtures("warm_conversions")
def test_an_evil_pickle_runs_nothing_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    for data in (pickle.dumps(Evil(), protocol=2), None):
        if data is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}, protocol=2))
                archive.writestr("archive/version", "3")
        else:
            path.write_bytes(data)
        with pytest.raises(StudioError, match="PyTorch pickle"):
            read_offset(path)
        with pytest.raises(StudioError, match="could not be converted"):
            convert_pickle(path, tmp_path / "out.safetensors")
        assert not list(tmp_path.rglob("EVIL-RAN")) and not (tmp_path / "out.safetensors").exists()


@pytest.mark.usefixtures("warm_conversions")
def test_a_stride_bomb_dies_in_the_child(tmp_path):
    tensor = torch.zeros(1).expand(10**9)
    torch.save({"a": tensor}, tmp_path / "bomb.pt")
    with pytest.raises(StudioError, match="larger than the file|more memory"):
        convert_pickle(tmp_path / "bomb.pt", tmp_path / "out.safetensors")


@pytest.mark.usefixtures("warm_conversions")
def test_a_compressed_bomb_is_refused(tmp_path):
    torch.save({"a": torch.zeros(25 * 2**20)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 2**20
    with pytest.raises(StudioError, match="could not be converted"):
        convert_pickle(tmp_path / "bomb.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.usefixtures("warm_conversions")
def test_what_is_not_a_pickle_and_what_holds_no_weights(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"hello")
    with pytest.raises(StudioError, match="not a PyTorch file"):
        convert_pickle(tmp_path / "x.pt", tmp_path / "out.safetensors")
    torch.save({"step": 3}, tmp_path / "x.pt")
    with pytest.raises(StudioError, match="no tensor"):
        convert_pickle(tmp_path / "x.pt", tmp_path / "out.safetensors")


@pytest.mark.parametrize("where", [10, 200, 1000])
@pytest.mark.usefixtures("warm_conversions")
def test_a_damaged_pickle_is_a_sentence(tmp_path, where):
    torch.save({"a": torch.randn(64)}, tmp_path / "x.pt")
    raw = bytearray((tmp_path / "x.pt").read_bytes())
    raw[where : where + 8] = b"\xff" * 8
    (tmp_path / "x.pt").write_bytes(raw)
    try:
        convert_pickle(tmp_path / "x.pt", tmp_path / "out.safetensors")
    except StudioError as error:
        assert str(tmp_path) not in str(error)


def test_a_pipe_and_a_loop_of_links_are_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, sentence in (("pipe", "is not a file"), ("loop", "There is no file")):
        with pytest.raises(StudioError, match=sentence):
            read_offset(tmp_path / name)


@pytest.mark.process
def test_the_converter_speaks_for_itself_on_the_command_line(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")
    out = tmp_path / "y.safetensors"
    command = [sys.executable, "-m", "core.offsets.unpickle", str(tmp_path / "x.pt"), str(out), str(8 * 2**30)]
    subprocess.run(command, check=True, timeout=120)
    assert list(load_file(out)) == ["a"]


@pytest.mark.process
def test_conversion_holds_one_tensor_at_a_time_and_what_it_wrote_is_readable_by_others(tmp_path):
    state = {f"layer.{number}.weight": torch.full((1024, 4096), float(number)) for number in range(24)}  # 400 MB
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    command = (
        "import resource, sys; from pathlib import Path; import core.offsets.unpickle as u, torch;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "code = u._child(Path(sys.argv[1]), Path(sys.argv[2]), 16 * 2**30);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before); sys.exit(code)"
    )
    out = tmp_path / "y.safetensors"
    ended = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path / "x.ckpt"), str(out)],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert int(ended.stdout) * 1024 < 0.3 * out.stat().st_size
    back = load_file(out)
    assert back.keys() == state.keys() and all(torch.equal(back[name], tensor) for name, tensor in state.items())


@pytest.mark.usefixtures("warm_conversions")
def test_exports_may_be_read_by_others(pipe, tuned, tmp_path):
    save_state(tmp_path / "a.safetensors", pipe.unet.state_dict(), family="sd15", provenance={})
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pt")
    convert_pickle(tmp_path / "x.pt", tmp_path / "b.safetensors")
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_shards_of_a_variant_are_read_whole_and_several_things_in_a_folder_are_not_guessed(
    pipe, tuned, tmp_path, variant
):
    state = load_file(tuned)
    folder = tmp_path / "unet"
    folder.mkdir()
    names = sorted(state)
    files = [f"diffusion_pytorch_model{variant}-0000{part}-of-00003.safetensors" for part in (1, 2, 3)]
    for part, file in enumerate(files):
        save_file({name: state[name] for name in names[part::3]}, folder / file)
    with pytest.raises(StudioError, match="one of several parts.*no index"):
        read_offset(folder)
    index = {"weight_map": {name: files[number % 3] for number, name in enumerate(names)}}
    (folder / f"diffusion_pytorch_model.safetensors.index{variant}.json").write_text(json.dumps(index))
    whole, sharded = (difference(pipe.unet, path, family="sd15") for path in (tuned, folder))
    assert whole.keys() == sharded.keys() and all(torch.equal(whole[n], sharded[n]) for n in whole)
    for name in ("one", "two"):
        save_file({"a": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(StudioError, match="contains several weights files: one.safetensors, "):
        read_offset(tmp_path)


def test_a_parameter_that_the_base_lacks_is_named(pipe, tmp_path):
    save_file(
        {**pipe.unet.state_dict(), "mid_block.motion_modules.0.weight": torch.ones(2)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(
        StudioError, match="1 parameters that the base does not have, for example mid_block.motion_modules.0.weight"
    ):
        difference(pipe.unet, tmp_path / "x.safetensors", family="sd15")
    state = pipe.unet.state_dict()
    first = next(iter(state))
    del state[first]
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="incomplete or belong to a variant"):
        difference(pipe.unet, tmp_path / "x.safetensors", family="sd15")
