"""Pictures keep their settings; what is no picture of ours is refused in a sentence."""

import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import StudioError
from core.generation.media import parameters_text, read_png, save_png

SETTINGS = {
    "prompt": "a large red circle",
    "negative_prompt": "blurry, noisy",
    "steps": 25,
    "sampler": "DPM++ 2M",
    "guidance_scale": 3.0,
    "seed": 7,
    "size": "64x64",
    "model": "miniature-sd15",
    "omega": 2.0,
    "alpha": 1.0,
    "beta": 0.8,
}


def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "red")


def test_the_text_other_programs_read():
    assert parameters_text(SETTINGS).splitlines() == [
        "a large red circle",
        "Negative prompt: blurry, noisy",
        "Steps: 25, Sampler: DPM++ 2M, CFG scale: 3, Seed: 7, Size: 64x64, Model: miniature-sd15, "
        "NPO omega: 2, NPO alpha: 1, NPO beta: 0.8",
    ]


def test_settings_come_back_and_both_chunks_are_there(tmp_path):
    save_png(picture(), tmp_path / "a.png", SETTINGS)
    assert read_png(tmp_path / "a.png") == SETTINGS
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["parameters"].startswith("a large red circle")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.floats(allow_nan=False, allow_infinity=False)
)
def test_any_prompt_comes_back_as_it_was(tmp_path, prompt, omega):
    save_png(picture(), tmp_path / "a.png", {"prompt": prompt, "omega": omega})
    assert read_png(tmp_path / "a.png") == {"prompt": prompt, "omega": omega}


@pytest.mark.parametrize("bad", [{"prompt": "\ud800"}, {"omega": float("nan")}, {"x": object()}])
def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, bad):
    with pytest.raises(StudioError, match="cannot be written"):
        save_png(picture(), tmp_path / "a.png", bad)
    assert not list(tmp_path.iterdir())


def test_a_stripped_picture_is_explained(tmp_path):
    picture().save(tmp_path / "a.png")
    with pytest.raises(StudioError, match="no settings") as refused:
        read_png(tmp_path / "a.png")
    assert "re-encode" in refused.value.remedy


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_settings_that_appear_twice_are_refused_as_ambiguous(tmp_path):
    save_png(picture(), tmp_path / "a.png", SETTINGS)
    raw = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(raw[:33] + chunk(b"tEXt", b'self_npo\0{"omega": 9}') + raw[33:])
    with pytest.raises(StudioError, match="twice"):
        read_png(tmp_path / "a.png")


def test_bombs_are_refused(tmp_path):
    save_png(picture(), tmp_path / "a.png", SETTINGS)
    raw = (tmp_path / "a.png").read_bytes()
    wide = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "pixels.png").write_bytes(raw[:8] + wide + raw[33:])
    text = chunk(b"zTXt", b"self_npo\0\0" + zlib.compress(b" " * 200_000_000))
    (tmp_path / "text.png").write_bytes(raw[:33] + text + raw[33:])
    for name in ("pixels.png", "text.png"):
        with pytest.raises(StudioError):
            read_png(tmp_path / name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes_give_a_typed_error(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(StudioError):
        read_png(tmp_path / "a.png")
