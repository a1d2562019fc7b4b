"""Pictures of other programs bring their settings; what is not known is left out, never replaced by something alike."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core.errors import StudioError
from core.generation.foreign_metadata import (
    ForeignPicture,
    parse_comfyui,
    parse_parameters,
    read_foreign,
    sampler_of,
    texts_of_exif,
)
from core.generation.media import CHUNK, read_settings

A1111 = "a cat, (best)\nNegative prompt: bad\nSteps: 20, Sampler: {sampler}, CFG scale: 7.5, Seed: 9, Size: 512x768"
WANTED = {
    "steps": 20, "seed": 9, "width": 512, "height": 768, "omega": 6.5, "prompt": "a cat, (best)", "negative_prompt": "bad",
}  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Euler", "euler"), ("Euler a", None), ("euler_ancestral", None), ("DPM++ 2M", "dpmsolver++"),
        ("DPM++ 2M Karras", "dpmsolver++"), ("DPM++ 2M SDE", None), ("DPM++ 2M SDE Karras", None), ("dpmpp_2m_sde", None),
        ("DPM++ SDE", None), ("DDIM", "ddim"), ("DDIM CFG++", None), ("UniPC", "unipc"), ("uni_pc_bh2", "unipc"),
        ("euler_cfg_pp", None), ("k_euler_ancestral", None), ("", None),
    ],
)  # fmt: skip
def test_a_sampler_is_the_same_one_or_none(theirs, ours):
    assert sampler_of(theirs) == ours
    picture = parse_parameters(A1111.format(sampler=theirs))
    values = picture.values
    assert values.get("scheduler") == ours and {key: values[key] for key in WANTED} == WANTED


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ("Euler", ()), ("Euler a", ("Sampler Euler a",)), ("DPM++ 2M Karras", ("Schedule type karras",)),
        ("DPM++ 2M, Schedule type: Karras", ("Schedule type Karras",)), ("DPM++ 2M, Schedule type: Automatic", ()),
        ("DPM++ 2M SDE, Schedule type: Exponential, Clip skip: 2, Model: big, Model hash: 1a",
         ("Sampler DPM++ 2M SDE", "Schedule type Exponential", "Clip skip 2")),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(theirs, named):
    picture = parse_parameters(A1111.format(sampler=theirs))
    assert picture.left_out == named and picture.model == ("big" if "Model" in theirs else "")


def test_textual_inversions_are_named_by_a1111_and_called_by_comfyui():
    text = A1111.format(sampler='Euler, TI hashes: "EasyNegative: c74b4e810b03, bad-hands-5: aa7651be154c"')
    picture = parse_parameters(text)
    assert picture.inversions == ("EasyNegative", "bad-hands-5") and picture.left_out == ()
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2, "cfg": 3, "sampler_name": "euler", "positive": ["2", 0], "negative": ["3", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a embedding:star.pt"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "(embedding:EasyNegative:1.2)"}},
    }  # fmt: skip
    assert parse_comfyui(json.dumps(graph)).inversions == ("star", "EasyNegative")


def save(path, texts=None, exif=None):
    info = PngImagePlugin.PngInfo()
    for key, text in (texts or {}).items():
        info.add_itxt(key, text)
    options = {"pnginfo": info} if path.suffix == ".png" else {} if exif is None else {"exif": exif}
    Image.new("RGB", (8, 8)).save(path, **options)
    return path


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
@pytest.mark.parametrize("order", ["be", "le"])
def test_a1111_in_jpeg_and_webp(tmp_path, ending, order):
    exif = Image.Exif()
    text = A1111.format(sampler="Euler") + ", Model: größer 红"
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode(f"utf-16-{order}")
    values = read_settings(save(tmp_path / f"a{ending}", exif=exif))
    assert values == {**WANTED, "scheduler": "euler"}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def graph(sampler, **more):
    return {
        "3": sampler,
        "5": node("EmptyLatentImage", width=640, height=832, batch_size=1),
        "6": node("CLIPTextEncode", text="a dog"),
        "7": node("CLIPTextEncode", text="blurry"),
        **more,
    }


PLAIN = {"cfg": 8, "seed": 7, "steps": 30, "sampler_name": "euler", "latent_image": ["5", 0]}
BOTH = {"positive": ["6", 0], "negative": ["7", 0]}
DOG = {
    "steps": 30, "seed": 7, "width": 640, "height": 832, "omega": 7.0, "scheduler": "euler", "prompt": "a dog",
    "negative_prompt": "blurry",
}  # fmt: skip


@pytest.mark.parametrize(
    "nodes",
    [
        graph(node("KSampler", **PLAIN, **BOTH)),
        graph(
            node("KSampler", **PLAIN, positive=["9", 0], negative=["9", 1]),
            **{"9": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1.0)},
        ),
        graph(
            node("KSampler", **PLAIN, positive=["9", 0], negative=["7", 0]),
            **{"9": node("ConditioningSetArea", conditioning=["6", 0], width=64, height=64)},
        ),
        graph(
            node("KSampler", **PLAIN, **BOTH),
            **{
                "6": node("CLIPTextEncodeSDXL", text_g="a dog", text_l="a dog", width=1024, height=1024),
                "7": node("CLIPTextEncodeSDXL", text_g="blurry", text_l="blurry", width=1024, height=1024),
            },
        ),
        graph(
            node("KSampler", **{**PLAIN, "seed": ["11", 0], "steps": ["12", 0]}, **BOTH),
            **{
                "6": node("CLIPTextEncode", text=["10", 0]),
                "10": node("StringConcatenate", string_a="a", string_b=["13", 0], delimiter=" "),
                "13": node("PrimitiveString", value="dog"),
                "11": node("Seed", seed=7),
                "12": node("INTConstant", value=30),
            },
        ),
        graph(
            node("SamplerCustomAdvanced", noise=["20", 0], guider=["21", 0], sampler=["22", 0], sigmas=["23", 0],
                 latent_image=["5", 0]),
            **{
                "20": node("RandomNoise", noise_seed=7),
                "21": node("CFGGuider", cfg=8, **BOTH),
                "22": node("KSamplerSelect", sampler_name="euler"),
                "23": node("BasicScheduler", steps=30, scheduler="normal"),
            },
        ),
        graph(
            node("KSampler", **PLAIN, **BOTH),
            **{
                "1": node("KSampler", **{**PLAIN, "steps": 5, "latent_image": ["2", 0]}, **BOTH),
                "2": node("LatentUpscale", samples=["3", 0], width=1280, height=1664),
            },
        ),
    ],
    ids=["plain", "control", "area", "sdxl", "links", "custom advanced", "two samplers"],
)  # fmt: skip
def test_comfyui_workflows(tmp_path, nodes):
    assert parse_comfyui(json.dumps(nodes)).values == DOG
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(nodes)
    assert read_settings(save(tmp_path / "a.webp", exif=exif)) == DOG
    assert read_settings(save(tmp_path / "a.png", {"prompt": json.dumps(nodes)})) == DOG


def test_a_picture_made_from_a_picture_has_no_size_and_an_empty_negative_prompt_is_empty():
    nodes = graph(
        node("KSampler", **{**PLAIN, "latent_image": ["8", 0]}, positive=["6", 0], negative=["9", 0]),
        **{"8": node("VAEEncode", pixels=["4", 0]), "9": node("ConditioningZeroOut", conditioning=["6", 0])},
    )
    values = parse_comfyui(json.dumps(nodes)).values
    assert "width" not in values and values["prompt"] == "a dog" and values["negative_prompt"] == ""


def test_a_graph_that_leads_in_circles_ends():
    nodes = graph(
        node("KSampler", **PLAIN, positive=["8", 0], negative=["8", 0]),
        **{"8": node("ConditioningCombine", conditioning_1=["9", 0]), "9": node("X", conditioning=["8", 0])},
    )
    assert parse_comfyui(json.dumps(nodes)).values["prompt"] == ""


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("parameters", {"sui_image_params": {"prompt": "a cat, (best)", "negativeprompt": "bad", "seed": 9, "steps": 20,
                                             "cfgscale": 7.5, "width": 512, "height": 768, "sampler": "dpmpp_2m"}}),
        ("parameters", {"prompt": "a cat, (best)", "negative_prompt": "bad", "steps": 20, "guidance_scale": 7.5, "seed": "9",
                        "resolution": "(512, 768)", "sampler": "dpmpp_2m", "fooocus_scheme": "fooocus"}),
        ("parameters", {"Prompt": "a cat, (best)", "Negative Prompt": "bad", "Steps": 20, "Guidance Scale": 7.5, "Seed": 9,
                        "Resolution": "(512, 768)", "Sampler": "dpmpp_2m"}),
        ("invokeai_metadata", {"positive_prompt": "a cat, (best)", "negative_prompt": "bad", "width": 512, "height": 768,
                               "seed": 9, "cfg_scale": 7.5, "steps": 20, "scheduler": "dpmpp_2m_k"}),
        ("Comment", {"prompt": "a cat, (best)", "uc": "bad", "steps": 20, "scale": 7.5, "seed": 9, "width": 512,
                     "height": 768, "sampler": "k_dpmpp_2m"}),
    ],
    ids=["SwarmUI", "Fooocus", "older Fooocus", "InvokeAI", "NovelAI"],
)  # fmt: skip
def test_pictures_of_other_programs(tmp_path, key, text):
    assert read_settings(save(tmp_path / "a.png", {key: json.dumps(text)})) == {**WANTED, "scheduler": "dpmsolver++"}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("prompt", graph(node("KSampler", **{**PLAIN, "sampler_name": "euler_ancestral", "scheduler": "karras"}, **BOTH),
                         **{"4": node("CheckpointLoaderSimple", ckpt_name="big"), "8": node("LoraLoader", lora_name="fine")})),
        ("parameters", {"sui_image_params": {"prompt": "a", "steps": 20, "sampler": "euler_ancestral", "scheduler": "karras",
                                             "model": "big", "loras": ["fine"]}}),
        ("parameters", {"prompt": "a", "guidance_scale": 7.5, "sampler": "euler_ancestral", "scheduler": "karras",
                        "base_model": "big", "loras": [["fine", 1.0, "12ab"]]}),
        ("invokeai_metadata", {"positive_prompt": "a", "scheduler": "euler_ancestral", "model": {"name": "big"},
                               "loras": [{"model": {"name": "fine"}, "weight": 1}]}),
    ],
    ids=["ComfyUI", "SwarmUI", "Fooocus", "InvokeAI"],
)  # fmt: skip
def test_a_sampler_model_and_adapter_that_are_not_used_are_named(key, text):
    picture = read_foreign({key: json.dumps(text)}, longest=10**6)
    assert picture.left_out[0] == "Sampler euler_ancestral" and "scheduler" not in picture.values
    assert (picture.model, picture.adapters) == ("big", ("fine",))
    assert ("Schedule type karras" in picture.left_out) == (key != "invokeai_metadata")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["parameters", "prompt", "invokeai_metadata", "Comment"]), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["KSampler", "positive", "6"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["class_type", "inputs", "steps", "cfg", "positive", "3", "6", "sui_image_params", "uc", "sampler"]),
        inner, max_size=4), max_leaves=20))  # fmt: skip
def test_any_json_is_read_or_left_and_never_fails(key, value):
    assert isinstance(read_foreign({key: json.dumps(value)}, longest=10**6), ForeignPicture)


def test_nothing_of_ours_is_read_as_of_another(tmp_path):
    ours = {"prompt": "x", "omega": 2.0}
    path = save(tmp_path / "a.png", {CHUNK: json.dumps(ours), "parameters": A1111.format(sampler="Euler")})
    assert read_settings(path) == ours
    assert texts_of_exif(Image.Exif()) == {}
    with pytest.raises(StudioError, match="no settings that can be read"):
        read_settings(save(tmp_path / "b.jpg"))
