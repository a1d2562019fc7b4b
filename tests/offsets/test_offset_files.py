"""Offset files: other programs read them, and what is no offset is refused in a sentence."""

import json
import os
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from core.errors import StudioError
from core.families import get
from core.offsets.files import load_lora, read_offset
from core.offsets.header import read_header
from core.offsets.offset import Offset
from core.offsets.writing import save_offset
from tests.builders.offsets import DELTA, batch, predict


@pytest.fixture
def file(tmp_path):
    save_offset(tmp_path / "delta.safetensors", DELTA, family="sd15", provenance={"recipe": "studio", "seed": "3"})
    return tmp_path / "delta.safetensors"


def test_what_was_saved_comes_back_bit_for_bit(file):
    read, written = load_lora(file, family="sd15").low_rank, DELTA.low_rank
    assert read.keys() == written.keys()
    assert all(torch.equal(a, b) for n in written for a, b in zip(read[n], written[n], strict=True))
    offset = read_offset(file)
    assert (offset.family, offset.rank, offset.layers) == ("sd15", 3, len(DELTA.modules))
    assert offset.provenance["recipe"] == "studio" and "studio_version" in offset.provenance


def test_stock_diffusers_loads_it_with_attention_and_convolutions(file):
    pipe, stock = get("sd15").tiny(), get("sd15").tiny()
    stock.load_lora_weights(file.parent, weight_name=file.name)
    x, t, cond = batch(2)
    with DELTA.apply(pipe.unet):
        ours = predict(pipe, x, t, cond)
    assert (ours - predict(stock, x, t, cond)).abs().max() < 1e-5


def test_another_family_is_refused_and_both_are_named(tmp_path):
    save_offset(tmp_path / "x.safetensors", DELTA, family="sdxl", provenance={})
    with pytest.raises(StudioError, match="for sdxl, but the model is sd15"):
        load_lora(tmp_path / "x.safetensors", family="sd15")


def test_nan_is_refused_and_the_tensor_named(tmp_path):
    name, layer = next(iter(DELTA.low_rank.items()))
    bad = Offset({**DELTA.low_rank, name: layer._replace(up=layer.up * float("nan"))})
    save_offset(tmp_path / "x.safetensors", bad, family="sd15", provenance={})
    with pytest.raises(StudioError, match=f"NaN or infinite value in lora_unet_{name.replace('.', '_')}"):
        load_lora(tmp_path / "x.safetensors")


def header_file(path, header: bytes, data: bytes = b""):
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


ENTRY = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"", "too short"),
        (struct.pack("<Q", 2**40) + b"{}", "header is cut off"),
        (struct.pack("<Q", 4) + b"[1,2", "not a readable"),
        (
            struct.pack("<Q", len(f'{{"a":{ENTRY},"a":{ENTRY}}}')) + f'{{"a":{ENTRY},"a":{ENTRY}}}'.encode() + b"0000",
            "not a",
        ),
        (struct.pack("<Q", len(f'{{"../a":{ENTRY}}}')) + f'{{"../a":{ENTRY}}}'.encode() + b"0000", "forbidden name"),
        (struct.pack("<Q", len(f'{{"a":{ENTRY}}}')) + f'{{"a":{ENTRY}}}'.encode(), "cut off"),
        (struct.pack("<Q", len(f'{{"a":{ENTRY}}}')) + f'{{"a":{ENTRY}}}'.encode() + b"0000", "holds “a”"),
    ],
)
def test_what_is_not_an_offset_is_refused_in_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(StudioError, match=sentence) as refused:
        read_offset(path)
    assert refused.value.remedy and str(tmp_path) not in str(refused.value)


def test_a_header_bomb_is_refused_unread(tmp_path):
    entries = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_001)}
    with pytest.raises(StudioError, match="20001 tensors"):
        read_offset(header_file(tmp_path / "x.safetensors", json.dumps(entries).encode()))


def test_a_file_cut_short_is_refused(file):
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StudioError, match="cut off"):
        load_lora(file)


def test_a_full_checkpoint_is_not_a_lora_and_the_way_to_make_one_is_named(tmp_path):
    save_file({"conv_in.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    assert read_offset(tmp_path / "x.safetensors").kind == "full"
    with pytest.raises(StudioError, match="whole weights.*offset extract"):
        load_lora(tmp_path / "x.safetensors")


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_one_changed_byte_never_raises_anything_untyped(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    save_offset(path, Offset(dict(list(DELTA.low_rank.items())[:2])), family="sd15", provenance={})
    content = bytearray(path.read_bytes())
    content[int(position * min(len(content), 1200))] = value
    path.write_bytes(content)
    try:
        load_lora(path)
    except StudioError as error:
        assert error.message


def test_a_header_whose_length_looks_like_a_pickle_is_read(file):
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    longer = length + (0x80 - length) % 256
    changed = struct.pack("<Q", longer) + raw[8 : 8 + length].ljust(longer) + raw[8 + length :]
    file.write_bytes(changed)
    assert changed[0] == 0x80 and read_offset(file).layers == len(DELTA.modules)


def test_a_file_cut_short_between_its_header_and_its_tensors_is_damaged(file, monkeypatch):
    whole = read_header(file)
    os.truncate(file, whole.spans[max(whole.spans, key=lambda name: whole.spans[name])][1] - 4)
    for module in ("files", "tensors"):
        monkeypatch.setattr(f"core.offsets.{module}.read_header", lambda path: whole)
    with pytest.raises(StudioError, match="is damaged"):
        load_lora(file)


def test_row_6_a_file_cut_short_while_its_tensors_are_read_is_damaged(file, monkeypatch):
    """Read and not mapped: of a mapped file that is cut short, the process dies."""
    frombuffer, read = torch.frombuffer, []

    def cutting(raw, **options):
        read.append(len(raw))
        os.truncate(file, file.stat().st_size // 2)
        return frombuffer(raw, **options)

    monkeypatch.setattr(torch, "frombuffer", cutting)
    with pytest.raises(StudioError, match="is damaged"):
        load_lora(file)
    assert len(read) > 1, "some of it was read before"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_become_float32(tmp_path, dtype):
    layer = {"a.lora_A.weight": torch.randn(2, 4).to(dtype), "a.lora_B.weight": torch.randn(4, 2).to(dtype)}
    save_file({f"unet.{name}": tensor for name, tensor in layer.items()}, tmp_path / "x.safetensors")
    back = load_lora(tmp_path / "x.safetensors").low_rank["a"]
    assert back.up.dtype == torch.float32 and torch.equal(back.down, layer["a.lora_A.weight"].float())


def test_kinds_of_numbers_that_are_not_read_are_refused_by_name(tmp_path):
    save_file({"unet.a.lora_A.weight": torch.zeros(2, 4, dtype=torch.complex64)}, tmp_path / "x.safetensors")
    with pytest.raises(StudioError, match="stores unet.a.lora_A.weight as C64") as refused:
        read_offset(tmp_path / "x.safetensors")
    assert "float16" in refused.value.remedy
