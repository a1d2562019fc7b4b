"""A picture's settings as a ComfyUI workflow with NPO: `DualModelGuider` takes the negative prediction from a second model.

The format is ComfyUI's own of its API, {node: {class_type, inputs}}, which its page opens, too. Its `cfg` is guidance_scale = omega + 1.
Offsets become `LoraLoaderModelOnly` on one model or the other, so the same file of an offset serves at any strength.
No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import write_text
from core.generation.settings import COLUMN, DEFAULTS, FIELDS, completed, weights_of

SAMPLERS = {
    "dpmsolver++": ("dpmpp_2m", "normal"),
    "ddim": ("ddim", "ddim_uniform"),
    "euler": ("euler", "normal"),
    "unipc": ("uni_pc", "normal"),
}
"""Our scheduler to ComfyUI's sampler and its spacing of noise levels."""
FORMS = ("npo", "both-branches", "autoguidance", "cfg")
"""What two predictions can say."""

Node = dict[str, Any]


def _file(name: str) -> str:
    """The name that ComfyUI's lists have for a file of ours, by its last part."""
    return name if name.endswith(".safetensors") else f"{name}.safetensors"


def _size(settings: Mapping[str, Any]) -> tuple[int, int]:
    width, mark, height = str(settings.get("size", "")).partition("x")
    if mark and width.isdigit() and height.isdigit():
        return int(width), int(height)
    return int(settings.get("width") or 512), int(settings.get("height") or 512)


def workflow_of(settings: Mapping[str, Any]) -> dict[str, Node]:
    """The workflow of a picture's settings.

    Raises:
        StudioError: a video, or guidance that two predictions of two models cannot say.
    """
    values = completed({key: value for key, value in settings.items() if key in FIELDS})
    values = {**DEFAULTS, **values}
    weights = weights_of({name: values[name] for name in COLUMN})
    if "fps" in settings or settings.get("frames"):
        raise StudioError("A workflow is written for pictures alone.", "Choose a picture.")
    rows = weights.rows(1.0)
    even = rows == weights.rows(0.0) and weights.late_guidance == "same"
    if weights.guidance not in FORMS or not even or weights.is_treated or weights.row_forwards(8) != 16:
        raise StudioError(
            "ComfyUI's DualModelGuider takes two predictions, the same way in every step.",
            "Render with the guidance npo, both-branches, autoguidance or cfg, without late steps, interval, rescale and APG.",
        )
    sampler, spacing = SAMPLERS.get(str(values["scheduler"]), SAMPLERS["dpmsolver++"])
    model = str(settings.get("model") or values["base"])
    ((_, other),) = rows.away
    nodes: dict[str, Node] = {"model": _node("CheckpointLoaderSimple", ckpt_name=_file(Path(model).name))}
    width, height = _size(settings)
    nodes["prompt"] = _node("CLIPTextEncode", text=str(values["prompt"]), clip=["model", 1])
    nodes["negative prompt"] = _node("CLIPTextEncode", text=str(values["negative_prompt"]), clip=["model", 1])
    sides = {}
    for side, row in (("positive", rows.positive), ("negative", other)):
        sides[side] = ["model", 0]
        for offset, scale in (("positive", row.eta), ("negative", row.delta)):
            if values[offset] and scale:
                name = f"{'η' if offset == 'positive' else 'δ'} of the {side} model"
                nodes[name] = _node(
                    "LoraLoaderModelOnly",
                    model=sides[side],
                    lora_name=_file(Path(str(values[offset])).name),
                    strength_model=round(scale, 6),
                )
                sides[side] = [name, 0]
    nodes |= {
        "guider": _node(
            "DualModelGuider",
            model=sides["positive"],
            model_negative=sides["negative"],
            positive=["prompt", 0],
            negative=["prompt" if other.prompted else "negative prompt", 0],
            cfg=round(weights.guidance_scale, 6),
        ),
        "noise": _node("RandomNoise", noise_seed=int(values["seed"])),
        "sampler": _node("KSamplerSelect", sampler_name=sampler),
        "steps": _node(
            "BasicScheduler", model=["model", 0], scheduler=spacing, steps=int(values["steps"]), denoise=1.0
        ),
        "empty": _node("EmptyLatentImage", width=width, height=height, batch_size=1),
        "sampling": _node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["steps", 0],
            latent_image=["empty", 0],
        ),
        "picture": _node("VAEDecode", samples=["sampling", 0], vae=["model", 2]),
        "save": _node("SaveImage", images=["picture", 0], filename_prefix="self-npo"),
    }
    numbers = {name: str(number) for number, name in enumerate(nodes, 1)}
    return {numbers[name]: _numbered(name, node, numbers) for name, node in nodes.items()}


def _node(kind: str, **inputs: Any) -> Node:
    return {"class_type": kind, "inputs": inputs}


def _numbered(name: str, node: Node, numbers: Mapping[str, str]) -> Node:
    """A node with its links by number, and its name as its title."""
    inputs = {
        key: [numbers[value[0]], value[1]] if isinstance(value, list) else value
        for key, value in node["inputs"].items()
    }
    return {**node, "inputs": inputs, "_meta": {"title": name}}


def save_workflow(settings: Mapping[str, Any], path: Path) -> Path:
    """Writes the workflow of a picture's settings: whole, or not at all.

    Raises:
        StudioError: as `workflow_of`, or the disk refuses.
    """
    write_text(path, json.dumps(workflow_of(settings), indent=2, ensure_ascii=False) + "\n")
    return path
