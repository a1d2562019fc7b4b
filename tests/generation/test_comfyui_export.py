"""A picture's settings as a ComfyUI workflow, held against the names that its nodes have and read back by our own reader."""

import json

import pytest
from PIL import Image

from app.cli import main
from core.errors import StudioError
from core.generation.comfyui_export import workflow_of
from core.generation.foreign_metadata import parse_comfyui
from core.generation.media import save_png

INPUTS = {
    "CheckpointLoaderSimple": {"ckpt_name"},
    "LoraLoaderModelOnly": {"model", "lora_name", "strength_model"},
    "CLIPTextEncode": {"text", "clip"},
    "DualModelGuider": {"model", "model_negative", "positive", "negative", "cfg"},
    "RandomNoise": {"noise_seed"},
    "KSamplerSelect": {"sampler_name"},
    "BasicScheduler": {"model", "scheduler", "steps", "denoise"},
    "EmptyLatentImage": {"width", "height", "batch_size"},
    "SamplerCustomAdvanced": {"noise", "guider", "sampler", "sigmas", "latent_image"},
    "VAEDecode": {"samples", "vae"},
    "SaveImage": {"images", "filename_prefix"},
}
"""Inputs of ComfyUI's nodes by their key names."""
OUTPUTS = {"CheckpointLoaderSimple": 3}
FACTS = {
    "prompt": "a fox",
    "negative_prompt": "blurry",
    "model": "dreamlike",
    "positive": "eta",
    "negative": "delta.safetensors",
    "omega": 6.5,
    "alpha": 0.7,
    "beta": 0.25,
    "seed": 2**40,
    "steps": 20,
    "scheduler": "euler",
    "size": "768x512",
    "guidance": "npo",
}


def node(workflow, kind):
    (found,) = [each for each in workflow.values() if each["class_type"] == kind]
    return found["inputs"]


def loras(workflow, link):
    """(file, strength) on the way from a model's link to its checkpoint."""
    chain = []
    while workflow[link[0]]["class_type"] == "LoraLoaderModelOnly":
        inputs = workflow[link[0]]["inputs"]
        chain.append((inputs["lora_name"], inputs["strength_model"]))
        link = inputs["model"]
    return sorted(chain)


def test_every_node_has_the_inputs_that_comfyui_names_and_every_link_leads_somewhere():
    workflow = workflow_of(FACTS)
    for each in workflow.values():
        assert set(each["inputs"]) == INPUTS[each["class_type"]]
        for value in each["inputs"].values():
            if isinstance(value, list):
                number, output = value
                assert 0 <= output < OUTPUTS.get(workflow[number]["class_type"], 1)


def test_the_guider_takes_the_worse_model_with_the_negative_prompt():
    workflow = workflow_of(FACTS)
    guider = node(workflow, "DualModelGuider")
    assert guider["cfg"] == 7.5, "guidance_scale = omega + 1"
    assert loras(workflow, guider["model"]) == [("eta.safetensors", 1.0)]
    assert loras(workflow, guider["model_negative"]) == [("delta.safetensors", 0.25), ("eta.safetensors", 0.7)]
    assert workflow[guider["negative"][0]]["inputs"]["text"] == "blurry"


@pytest.mark.parametrize(
    ("form", "positive", "negative", "text"),
    [
        ("cfg", [("eta.safetensors", 1.0)], [("eta.safetensors", 1.0)], "blurry"),
        ("autoguidance", [("eta.safetensors", 1.0)], [("delta.safetensors", 0.25), ("eta.safetensors", 0.7)], "a fox"),
        ("both-branches", *[[("delta.safetensors", -0.25), ("eta.safetensors", 1.0)]] * 2, "blurry"),
    ],
)
def test_every_form_of_two_predictions_is_reported(form, positive, negative, text):
    workflow = workflow_of({**FACTS, "guidance": form})
    guider = node(workflow, "DualModelGuider")
    assert loras(workflow, guider["model"]) == positive and loras(workflow, guider["model_negative"]) == negative
    assert workflow[guider["negative"][0]]["inputs"]["text"] == text


def test_it_is_read_back_as_the_picture_that_it_was():
    picture = parse_comfyui(json.dumps(workflow_of(FACTS)))
    values = picture.values
    assert (values["prompt"], values["negative_prompt"], values["seed"], values["steps"]) == (
        "a fox",
        "blurry",
        2**40,
        20,
    )
    assert (values["width"], values["height"], values["scheduler"], values["omega"]) == (768, 512, "euler", 6.5)


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance": "three-terms"},
        {"late_guidance": "cfg"},
        {"interval_low": 0.2},
        {"cfg_rescale": 0.5},
        {"beta_split": 0.5, "beta_late": 0.0},
        {"fps": 8},
    ],
)
def test_what_it_cannot_say_is_refused_in_a_sentence(changes):
    with pytest.raises(StudioError, match="two predictions|pictures alone"):
        workflow_of({**FACTS, **changes})


def test_the_command_writes_it_next_to_the_picture(tmp_path, capsys):
    save_png(Image.new("RGB", (8, 8)), tmp_path / "fox.png", FACTS)
    assert main(["offset", "workflow", str(tmp_path / "fox.png"), "--workspace", str(tmp_path / "space")]) == 0
    assert json.loads((tmp_path / "fox.comfyui.json").read_text(encoding="utf-8")) == workflow_of(FACTS)
    assert "fox.comfyui.json" in capsys.readouterr().out
