"""Settings that come from pictures and links are proposed before they are applied."""

import json

from PIL import Image, PngImagePlugin

from app.page import proposal_actions
from core.studio.presets.preset import preset_of
from core.studio.presets.proposal import propose_file
from core.studio.presets.sharing import to_link
from tests.builders.actions import rendered

A1111 = (
    "a fox <lora:inkpunk:0.8>\nNegative prompt: blurry\n"
    "Steps: 30, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 12, Size: 512x768, Model: deliberate_v2, Clip skip: 2"
)


def a1111(tmp_path):

    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", A1111)
    Image.new("RGB", (8, 8)).save(tmp_path / "theirs.png", pnginfo=info)
    return tmp_path / "theirs.png"


def test_a_picture_of_another_program_says_what_fits_what_is_missing_and_what_it_has_no_counterpart_for(
    workspace, tmp_path, values
):
    changes = proposal_actions.from_file(workspace, str(a1111(tmp_path)), values)
    text = changes["proposal_text"]
    for part in (
        "deliberate_v2” is not on this machine",
        "inkpunk",
        "Clip skip 2",
        "a fox",
        "Chosen for the missing model",
    ):
        assert part in text, part
    assert changes["proposal"]["visible"] and changes["proposal_held"]["visible"]
    proposal = changes["proposed"]
    assert "width" not in proposal.values and "omega" not in proposal.values
    assert (proposal.held["width"], proposal.held["height"], proposal.held["omega"]) == (512, 768, 6.5)
    accepted, line = proposal_actions.accepted(proposal, False)
    assert "width" not in accepted and accepted["negative_prompt"] == "blurry" and "Applied" in line
    assert proposal_actions.accepted(proposal, True)[0]["width"] == 512
    assert proposal_actions.hidden()["proposal"]["visible"] is False
    assert proposal_actions.accepted(None, True) == ({}, "")


def test_a_picture_of_ours_names_its_model_and_fits(engine, values, workspace):
    rendered(engine, values)
    proposal = propose_file(workspace, workspace.outputs / "20260101-000000-abcdef-1-4.png")
    assert proposal.values["base"] == "miniature-sd15" and not proposal.missing and not proposal.held


def test_a_comfyui_picture_names_its_model_loras_and_what_has_no_counterpart(workspace, tmp_path):
    inputs = {"steps": 20, "seed": 7, "cfg": 7, "sampler_name": "euler_ancestral", "scheduler": "karras"}
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "y.safetensors"}},
        "3": {"class_type": "KSampler", "inputs": inputs},
    }
    info = PngImagePlugin.PngInfo()
    info.add_itxt("prompt", json.dumps(graph))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    proposal = propose_file(workspace, tmp_path / "a.png")
    assert [str(sentence) for sentence in proposal.missing] == [
        "The base model “x” is not on this machine.",
        "The LoRA “y” is not applied from a prompt; it is not on this machine.",
    ]
    assert [str(sentence) for sentence in proposal.ignored] == [
        "“Sampler euler_ancestral” has no equivalent setting in this studio.",
        "“Schedule type karras” has no equivalent setting in this studio.",
    ]


def test_a_link_opens_the_dialog_and_a_damaged_one_says_so(workspace, values):
    link = to_link(preset_of({"prompt": "a bell", "beta": 1.5}, name="<b>"))
    changes = proposal_actions.from_address(workspace, link, values)
    assert "&lt;b&gt;" in changes["proposal_text"] and changes["proposed"].values["beta"] == 1.5
    assert "cut off" in proposal_actions.from_address(workspace, "AAAA", values)["status"]
    assert proposal_actions.from_address(workspace, "", values) == {}
    assert (
        "not a readable picture"
        in proposal_actions.from_file(workspace, __file__.replace(".py", ".png"), values)["status"]
    )
