"""Presets: data a person shares. They say what they say, set only that, and never do anything by themselves."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core.errors import StudioError
from core.families import NAMES
from core.generation.comparison import Comparison
from core.generation.media import save_png
from core.generation.settings import DEFAULTS, Settings
from core.offsets.writing import save_offset
from core.studio.library.entries import hash_of
from core.studio.presets import preset as presets
from core.studio.presets.files import (
    BUILT_IN,
    delete_preset,
    find_preset,
    list_presets,
    rename_preset,
    restore_preset,
    save_preset,
)
from core.studio.presets.preset import Preset, preset_of, schema_json
from core.studio.presets.reading import parse_preset, read_preset
from core.studio.presets.resolving import differences, resolve
from core.studio.presets.sharing import from_link, to_link
from core.studio.workspace import Workspace
from tests.builders.offsets import DELTA

HEAD = {"schema": "self-npo-preset", "version": 1}
VALUES = {
    **DEFAULTS,
    "prompt": "a red circle",
    "negative": "sd15-mini-negative",
    "omega": 3,
    "beta": 2.0,
    "seed": 5,
    "images": 3,
}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


def text(**keys):
    return json.dumps({**HEAD, **keys})


def test_what_a_preset_was_made_of_comes_back_and_is_a_comparison(workspace):
    preset = preset_of(VALUES, name="Mine", workspace=workspace)
    assert len(preset.negative.sha256) == 64 and preset.base.family == "sd15"
    resolved = resolve(workspace, parse_preset(preset.to_json()))
    assert not resolved.missing
    stored = {key: value for key, value in VALUES.items() if key in resolved.values}
    assert resolved.values == {**stored, "omega": 3.0}
    assert Settings.from_values(resolved.values).weights.beta == 2.0


def test_applying_touches_only_the_keys_it_has(workspace):
    resolved = resolve(workspace, parse_preset(text(guidance={"beta": 0.5})))
    assert resolved.values == {"beta": 0.5}
    assert differences(VALUES, resolved.values) == [("beta", "2", "0.5")]
    assert differences(VALUES, {"beta": 2.0, "negative_prompt": ""}) == []


def test_a_preset_of_0_2_with_a_strength_that_was_never_rendered_opens_at_the_end_of_the_range(workspace):
    resolved = resolve(workspace, parse_preset(text(guidance={"beta": 8, "beta_late": -9.5, "omega": 2.0})))
    assert resolved.values == {"beta": 4.0, "beta_late": -4.0, "omega": 2.0}
    assert "beta is 8 in the preset; at most 4 can be rendered" in resolved.missing[0] and len(resolved.missing) == 2
    for beta in (11, True, "8"):
        with pytest.raises(StudioError):
            parse_preset(text(guidance={"beta": beta}))


def test_an_offset_is_found_by_its_hash_under_another_name(workspace):
    save_offset(workspace.offsets / "here.safetensors", DELTA, family="sd15", provenance={})
    sha = hash_of(workspace, workspace.offsets / "here.safetensors")
    preset = parse_preset(text(negative={"name": "there.safetensors", "sha256": sha}))
    assert resolve(workspace, preset).values == {"negative": "here.safetensors"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "https://evil.example/x", "~/x", "a/b"])
def test_a_path_an_address_or_a_repository_is_inert_and_reported_as_missing(workspace, name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *a: pytest.fail("something was fetched"))
    preset = parse_preset(text(negative={"name": name, "repo_id": "a/b"}, base={"name": name}))
    resolved = resolve(workspace, preset)
    assert resolved.values == {} and len(resolved.missing) == 2
    assert "it is on the Hub in a/b" in resolved.missing[1]


def test_what_is_saved_from_a_path_shares_its_last_part_alone(workspace):
    preset = preset_of({"negative": "/home/someone/secret/delta.safetensors"}, name="x", workspace=workspace)
    assert preset.negative.name == "delta.safetensors" and "home" not in preset.to_json()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("{", "not a preset that can be read"),
        ("[]", "lacks schema"),
        ('{"schema": "other"}', "lacks schema"),
        (text(version=2), "version 2; this studio reads up to version 1"),
        (text(omega=3), "omega: Extra inputs"),
        (text(guidance={"omega": 99.0}), "guidance.omega: Input should be less"),
        (text(guidance={"omega": "3"}), "guidance.omega: Input should be a valid number"),
        ('{"schema": "self-npo-preset", "version": 1, "guidance": {"omega": NaN}}', "guidance.omega"),
        ('{"schema": "self-npo-preset", "version": 1, "version": 1}', "not a preset that can be read"),
        (text(name="x" * 300), "name: String should have at most 200"),
        ("[" * 100_000, "not a preset"),
        ('{"schema": "self-npo-preset", "version": 1, "seeds": [' + "9" * 5000 + "]}", "not a preset|seeds"),
        (text(negative={"sha256": "xyz"}), "negative.sha256"),
        (text(seeds=[-1]), "seeds.0"),
        (json.dumps({**HEAD, "name": "\ud800"}), "not a preset|name"),
    ],
)
def test_what_is_wrong_is_reported_and_the_key_named(raw, sentence):
    with pytest.raises(StudioError, match=sentence):
        parse_preset(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Preset.model_fields, "schema"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_json_does_more_than_be_refused(value):
    document = {**HEAD, **value} if isinstance(value, dict) else value
    try:
        preset = parse_preset(json.dumps(document))
    except StudioError:
        return
    assert parse_preset(preset.to_json()) == preset


@given(st.text(max_size=60), st.floats(0, 30), st.integers(0, 2**63 - 1))
def test_a_link_brings_the_preset_whole(name, omega, seed):
    try:
        preset = preset_of({"omega": omega, "seed": seed, "prompt": name}, name=name)
        link = to_link(preset)
    except (StudioError, UnicodeEncodeError):
        return
    assert link.isascii() and "=" not in link and "/" not in link
    assert from_link(link) == preset


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore")))
def test_no_link_does_more_than_be_refused(raw):
    with pytest.raises(StudioError):
        from_link(raw.decode("latin-1"))


def test_a_link_that_unpacks_to_much_is_refused():
    import base64

    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 10**7, 9)).decode().rstrip("=")
    with pytest.raises(StudioError, match="damaged|too long"):
        from_link(bomb)


def test_save_rename_delete_and_bring_back(workspace):
    save_preset(workspace, preset_of(VALUES, name="Mein Stil 红"))
    with pytest.raises(StudioError, match="already"):
        save_preset(workspace, preset_of(VALUES, name="Mein Stil 红"))
    rename_preset(workspace, "Mein Stil 红", "Other")
    assert [kept.name for kept in list_presets(workspace) if not kept.built_in] == ["Other"]
    gone = delete_preset(workspace, "Other")
    assert not [kept for kept in list_presets(workspace) if not kept.built_in]
    restore_preset(workspace, gone)
    assert find_preset(workspace, "Other").path.parent == workspace.presets
    with pytest.raises(StudioError, match="nothing to restore"):
        restore_preset(workspace, workspace.root / "elsewhere.json")


@pytest.mark.parametrize("name", ["../../x", "con", "$(touch x)", "a/b", "<script>alert(1)</script>"])
def test_names_stay_inside_the_folder(workspace, name):
    path = save_preset(workspace, preset_of(VALUES, name=name))
    assert path.parent == workspace.presets and read_preset(path).name == name


def test_built_in_presets_cannot_be_changed_and_carry_their_evidence(workspace):
    built_in = [kept for kept in list_presets(workspace) if kept.built_in]
    assert len(built_in) == len(list(BUILT_IN.glob("*/*.json"))) >= 5
    for kept in built_in:
        preset = read_preset(kept.path)
        assert preset.evidence and preset.description and kept.path.parent.name == preset.base.family in NAMES
        measured = preset.base.name.startswith("miniature")
        assert all((part.kind == "measured") == measured for part in preset.evidence)
        Comparison.of(Settings.from_values(resolve(workspace, preset).values))
        with pytest.raises(StudioError, match="built in"):
            delete_preset(workspace, kept.name)


def test_the_schema_in_the_repository_is_this_one():
    assert (BUILT_IN / "schema.json").read_text() == schema_json()


def test_every_key_is_documented():
    page = (BUILT_IN.parent / "docs" / "presets.md").read_text()
    for part in (Preset, presets.Base, presets.OffsetRef, presets.Guidance, presets.Sampler, presets.Evidence):
        for name, field in part.model_fields.items():
            if field.description:
                assert f"`{field.alias or name}`" in page and field.description in page


def test_a_picture_of_ours_of_a1111_and_of_comfyui(tmp_path):
    ours = tmp_path / "ours.png"
    save_png(Image.new("RGB", (8, 8)), ours, {"prompt": "a", "omega": 3.0, "beta": 2.0, "seed": 4, "model": "x"})
    preset = read_preset(ours)
    assert preset.guidance.omega == 3.0 and preset.seeds == [4] and preset.prompts == ["a"]

    def foreign(name, key, value):
        info = PngImagePlugin.PngInfo()
        info.add_text(key, value)
        Image.new("RGB", (8, 8)).save(tmp_path / name, pnginfo=info)
        return read_preset(tmp_path / name)

    a1111 = foreign(
        "a.png",
        "parameters",
        "a cat, (best)\nNegative prompt: bad, ugly\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 9, "
        'Size: 512x768, Model: "x, y", NPO beta: 0.8',
    )
    assert (a1111.guidance.omega, a1111.guidance.beta, a1111.sampler.steps) == (6.5, 0.8, 20)
    assert (a1111.sampler.width, a1111.sampler.height, a1111.negative_prompt) == (512, 768, "bad, ugly")
    assert a1111.prompts == ["a cat, (best)"] and a1111.sampler.scheduler == "dpmsolver++"
    graph = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "cfg": 8,
                "seed": 7,
                "steps": 30,
                "sampler_name": "euler",
                "positive": ["6", 0],
                "negative": ["7", 0],
            },
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a dog"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}},
    }
    comfy = foreign("c.png", "prompt", json.dumps(graph))
    assert (comfy.guidance.omega, comfy.seeds, comfy.prompts, comfy.negative_prompt) == (7.0, [7], ["a dog"], "blurry")
    with pytest.raises(StudioError, match="no settings that can be read"):
        foreign("n.png", "Software", "x")


def test_a_video_carries_its_settings_in_its_container_and_next_to_it(tmp_path):
    from core.generation.media import read_mp4, save_mp4

    facts = {"prompt": 'größer; # 红 = \\ "x"\nsecond', "omega": 3.0, "seed": 4, "frames": 9, "fps": 8}
    frames = [Image.new("RGB", (48, 48), (20 * n, 0, 0)) for n in range(9)]
    save_mp4(frames, tmp_path / "v.mp4", facts, fps=8)
    assert read_mp4(tmp_path / "v.mp4") == facts == json.loads((tmp_path / "v.json").read_text())
    assert read_preset(tmp_path / "v.mp4").prompts == [facts["prompt"]]
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(StudioError, match="not a readable video"):
        read_mp4(tmp_path / "x.mp4")


def test_every_preset_is_found_by_its_key(workspace):
    kept = list_presets(workspace)
    assert len({k.key for k in kept}) == len(kept)
    assert [find_preset(workspace, k.key).path for k in kept] == [k.path for k in kept]
