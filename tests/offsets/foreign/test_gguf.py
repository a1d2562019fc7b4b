"""GGUF networks, written by the package's own writer: every value arrives as the package itself reads it."""

import struct
import sys

import gguf
import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StudioError
from core.families import get
from core.offsets.files import read_offset, read_parameters
from core.offsets.full import difference, exact
from core.offsets.gguf_header import BLOCK_TYPES, QUANTIZED
from core.offsets.header import read_header
from core.studio.library.entries import kind_of
from core.studio.library.weights import extract, import_offset, offset_info
from core.studio.workspace import Workspace

TO_Q, CONV = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.resnets.0.conv1"
ORIGINAL = {TO_Q: "middle_block.1.transformer_blocks.0.attn1.to_q", CONV: "middle_block.0.in_layers.2"}


def written(path, tensors, *, folded=(), texts=None):
    """A file of (name, values, type); what is folded keeps its shape as ComfyUI-GGUF writes it."""
    writer = gguf.GGUFWriter(path, arch="sd1")
    for key, text in (texts or {}).items():
        writer.add_string(key, text)
    for name, values, kind in tensors:
        if name in folded:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(n) for n in values.shape])
            values = values.reshape(-1, 256 if kind.value in range(10, 24) else 32)
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def values(*shape):
    return numpy.random.default_rng(0).standard_normal(shape).astype(numpy.float32)


TYPES = [gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_network_arrives_as_the_package_reads_it(kind, prefix, tmp_path):
    names = [f"{prefix}{ORIGINAL[module]}.weight" for module in (TO_Q, CONV)]
    whole = [values(8, 64), values(8, 4, 3, 3)]
    path = written(
        tmp_path / "x.gguf", [(name, w, kind) for name, w in zip(names, whole, strict=True)], folded=names[1:]
    )
    file = read_offset(path)
    assert (file.kind, file.layers, kind_of(path)[0]) == ("full", 2, "weights")
    assert any(kind.name in note for note in file.notes) == (kind.name in QUANTIZED)
    parameters = read_parameters(path)
    for module, own in zip((TO_Q, CONV), whole, strict=True):
        wanted = gguf.dequantize(gguf.quantize(own.reshape(-1, 32), kind), kind).reshape(own.shape)
        numpy.testing.assert_array_equal(parameters[f"{module}.weight"].float().numpy(), wanted)
        assert float(numpy.abs(wanted - own).max()) < 0.4


@pytest.mark.parametrize("name", sorted(QUANTIZED))
def test_blocks_of_every_kind_have_the_package_s_size_and_values(name, tmp_path):
    kind, own = gguf.GGMLQuantizationType[name], BLOCK_TYPES[QUANTIZED[name]]
    assert gguf.GGML_QUANT_SIZES[kind] == (own.values, own.size) and kind.value == QUANTIZED[name]
    raw = numpy.random.default_rng(1).integers(0, 60, (2, own.size), dtype=numpy.uint8)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", arch="sdxl")
    writer.add_tensor(f"{ORIGINAL[TO_Q]}.weight", raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    wanted = gguf.dequantize(raw, kind)
    numpy.testing.assert_array_equal(read_parameters(tmp_path / "x.gguf")[f"{TO_Q}.weight"].numpy(), wanted)


def test_a_tuned_network_is_an_offset_is_imported_and_extracted(tmp_path):
    family = get("sd15")
    denoiser = family.tiny().unet
    generator = torch.Generator().manual_seed(0)
    tuned = {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=generator) for name, p in denoiser.named_parameters()
    }
    tensors = [(name, tensor.numpy(), gguf.GGMLQuantizationType.F32) for name, tensor in tuned.items()]
    path = written(tmp_path / "tuned.gguf", tensors, texts={"general.name": "mine"})
    with exact(difference(denoiser, path, family="sd15")).apply(denoiser):
        for name, parameter in denoiser.named_parameters():
            torch.testing.assert_close(parameter, tuned[name])
    workspace = Workspace(tmp_path / "space")
    facts = import_offset(workspace, path)
    assert facts["saved"].endswith("tuned.gguf") and facts["kind"] == "full" and facts["general.name"] == "mine"
    assert offset_info(workspace, "tuned.gguf")["layers"] == facts["layers"]
    with pytest.raises(StudioError, match="“tuned.gguf” has .* parameters"):
        extract(workspace, "tuned.gguf", rank=2)


def test_what_is_not_the_denoisers_is_reported_and_other_networks_are_refused(tmp_path):
    kind = gguf.GGMLQuantizationType.F16
    path = written(
        tmp_path / "a.gguf",
        [(f"{ORIGINAL[TO_Q]}.weight", values(8, 64), kind), ("first_stage_model.x", values(4, 4), kind)],
    )
    assert "1 tensors beside the denoiser were left out, “first_stage_model.x”" in read_offset(path).notes[-1]
    assert kind_of(path)[0] == "weights"
    with pytest.raises(StudioError, match="neither an offset nor a denoiser"):
        read_offset(written(tmp_path / "b.gguf", [("blk.0.attn_q.weight", values(8, 64), kind)]))


def test_without_the_package_the_header_is_read_and_the_values_are_asked_for(tmp_path, monkeypatch):
    path = written(tmp_path / "x.gguf", [(f"{ORIGINAL[TO_Q]}.weight", values(8, 64), gguf.GGMLQuantizationType.Q8_0)])
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert read_offset(path).layers == 1
    with pytest.raises(StudioError, match="package gguf is not installed.*pip install gguf"):
        read_parameters(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_in_a_sentence_or_read_within_its_bounds(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "whole.gguf"
    if not path.exists():
        written(path, [(f"{ORIGINAL[TO_Q]}.weight", values(8, 64), gguf.GGMLQuantizationType.Q8_0)])
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(4, len(raw) - 8))
    change = data.draw(st.sampled_from([b"\xff", b"\xff" * 8, struct.pack("<Q", 2**40), b"\0" * 8, b"\x7f"]))
    raw[at : at + len(change)] = change
    (folder / "damaged.gguf").write_bytes(raw[: data.draw(st.integers(8, len(raw)))])
    try:
        header = read_header(folder / "damaged.gguf")
    except StudioError as error:
        assert "damaged.gguf" in error.message
    else:
        assert all(end <= len(raw) for _, end in header.spans.values())
