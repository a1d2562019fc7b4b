"""Rows 16 to 30, 74 and 75 of the table of faults, as far as presets, pictures and links are concerned."""

import json
import struct
import time
import zlib

import pytest

from app.cli import main
from core.errors import StudioError
from core.generation.limits import IMAGES, PAIRS
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Note
from core.studio.comparing.settings import comparison_of
from core.studio.presets.preset import checked, preset_of
from core.studio.presets.reading import parse_preset, read_preset
from core.studio.presets.resolving import resolve
from core.studio.presets.sharing import from_link, to_link
from core.studio.workspace import Workspace

HEAD = {"schema": "self-npo-preset", "version": 1}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, settings):
    """The smallest picture that carries settings."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    text = chunk(b"tEXt", b"self_npo\0" + settings.encode("latin-1"))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + pixels + chunk(b"IEND", b""))
    return path


WRONG = [
    ('{"seed":0,"images":30000000}', "images is 30000000, outside 1 to 16"),
    ('{"seed":0,"images":1000000000}', "images is 1000000000, outside"),
    ('{"seed":0,"images":1e9}', "images is 1000000000, outside"),
    ('{"seed":0,"images":-5}', "images is -5, outside"),
    ('{"height":100000}', "height is 100000, outside 0 to 8192"),
    ('{"steps":1000000}', "steps is 1000000, outside 1 to 200"),
    ('{"omega":NaN}', "omega must be a number, not nan"),
    ('{"omega":-Infinity}', "omega must be a number, not -inf"),
    ('{"omega":true}', "omega must be a number, not True"),
    ('{"beta":"1"}', "beta must be a number, not '1'"),
    ('{"seed":1.5}', "seed must be a whole number, not 1.5"),
    ('{"seed":' + "9" * 400 + "}", "seed must be a whole number, not an enormous number"),
    ('{"prompt":"\\ud800"}', "prompt contains a character that is not valid Unicode"),
    ('{"prompt":["a"]}', "prompt must be text"),
    ('{"dynamic_guidance":"no"}', "dynamic_guidance must be true or false, not 'no'"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG)
def test_row_74_a_picture_of_a_few_bytes_that_asks_for_the_impossible(tmp_path, settings, sentence):
    path = png(tmp_path / "a.png", settings)
    assert len(path.read_bytes()) < 600
    began = time.process_time()
    with pytest.raises(StudioError, match=sentence) as refused:
        read_preset(path)
    assert time.process_time() - began < 1, "at once: nothing is built"
    assert refused.value.remedy and str(tmp_path) not in str(refused.value)
    str(refused.value).encode("utf-8")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"guidance": {"omega": 1e9}}, "guidance.omega"),
        ({"guidance": {"omega": True}}, "guidance.omega"),
        ({"sampler": {"steps": 10**6}}, "sampler.steps"),
        ({"sampler": {"height": 100_000}}, "sampler.height"),
        ({"seeds": list(range(IMAGES + 1))}, "seeds"),
        ({"prompts": ["x" * 10**5]}, "prompts.0"),
    ],
)
def test_row_75_a_preset_or_link_that_asks_for_the_impossible(keys, sentence):
    with pytest.raises(StudioError, match=sentence):
        parse_preset(json.dumps({**HEAD, **keys}))


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_row_17_numbers_that_json_does_not_have(raw):
    with pytest.raises(StudioError, match="guidance.omega|not a preset"):
        parse_preset('{"schema": "self-npo-preset", "version": 1, "guidance": {"omega": ' + raw + "}}")


def test_row_75_an_unknown_scheduler_is_reported_and_left_out(workspace):
    preset = parse_preset(json.dumps({**HEAD, "sampler": {"scheduler": "best", "steps": 7}}))
    resolved = resolve(workspace, preset)
    assert resolved.values == {"steps": 7} and resolved.missing == ("There is no scheduler “best” here.",)


def test_row_23_a_link_holds_settings_and_nothing_else(workspace):
    link = to_link(preset_of({"omega": 3.0, "seed": 1, "images": 2}))
    assert resolve(workspace, from_link(link)).values == {"omega": 3.0, "seed": 1, "images": 2}


def test_row_26_words_of_any_script_come_back_and_half_a_character_does_not(workspace):
    prompt = "größer 红 עברית \u202e \U0001f3a8"
    preset = preset_of({"prompt": prompt}, name=prompt)
    assert resolve(workspace, parse_preset(preset.to_json())).values == {"prompt": prompt}
    for values, name in (({"prompt": "\ud83c"}, ""), ({}, "\udfa8")):
        with pytest.raises(StudioError):
            preset_of(values, name=name)


def test_row_30_a_prompt_of_a_megabyte_is_cut_and_said(workspace, capsys):
    comparison = comparison_of(
        {"prompt": "ab " * 400_000, "negative_prompt": "c", "base": "miniature-sd15", "steps": 1}
    )
    note = "Prompt is 1200000 characters long: only its first 4000 were used."
    assert comparison.prompt == ("ab " * 2000)[:4000] and list(comparison.notes) == [note]
    engine = Engine(workspace, cpu=True)
    events = engine.compare(comparison)
    assert next(events) == Note(note)
    events.close()
    assert main(["compare", "x" * 10**6, "--dry-run", "--json", "--workspace", str(workspace.root)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["prompt"] == "x" * 4000 and "Prompt is 1000000 characters long" in printed.err


def test_row_30_a_preset_with_one_is_refused():
    with pytest.raises(StudioError, match="prompt is 1000000 characters long; at most 4000 are read"):
        checked({"prompt": "x" * 10**6})


def test_many_seeds_fill_as_many_pairs_as_the_form_has(workspace):
    preset = parse_preset(json.dumps({**HEAD, "seeds": list(range(IMAGES))}))
    assert resolve(workspace, preset).values == {"seed": 0, "images": PAIRS[1]}


KEPT = {
    **HEAD,
    "name": "of 0.2",
    "base": {"name": "miniature-sd15", "family": "sd15"},
    "negative": {"name": "sd15-mini-negative", "rank": 8},
    "guidance": {"omega": 30, "alpha": 0, "beta": -4.0, "beta_split": 0.5, "beta_late": 0, "dynamic": False},
    "sampler": {"scheduler": "ddim", "steps": 200, "height": 0, "width": 0, "frames": 0, "fps": 0},
    "prompts": ["a", "b"],
    "negative_prompt": "",
    "seeds": [2**63 - 1],
}


def test_a_preset_of_version_0_2_opens(workspace):
    values = resolve(workspace, parse_preset(json.dumps(KEPT))).values
    assert checked(values)["omega"] == 30.0 and values["seed"] == 2**63 - 1 and values["beta"] == -4.0
