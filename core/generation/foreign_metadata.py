"""What other programs write into their pictures about the same things: prompts, seed, steps, scale, sampler and size.

A1111, Forge     `parameters`: prompt, negative prompt and a line of pairs; in JPEG and WebP as EXIF UserComment
SwarmUI          `parameters`: JSON, `sui_image_params`
Fooocus          `parameters`: JSON, or A1111's text
ComfyUI          `prompt`: the graph of nodes; in WebP as EXIF Make or Model
InvokeAI         `invokeai_metadata`: JSON
NovelAI          `Comment`: JSON

What this studio has no setting for is left out: a sampler that it does not have is not replaced by one of a like name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from core.errors import StudioError
from core.generation.settings import FIELDS, METADATA

_SAMPLERS = {
    "dpm++ 2m": "dpmsolver++",
    "dpmpp_2m": "dpmsolver++",
    "dpmpp_2m_k": "dpmsolver++",
    "k_dpmpp_2m": "dpmsolver++",
    "ddim": "ddim",
    "ddim_v3": "ddim",
    "euler": "euler",
    "euler_k": "euler",
    "k_euler": "euler",
    "unipc": "unipc",
    "unipc_k": "unipc",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc",
}
"""The names of others, whole, to ours."""
_SPACING = re.compile(r" (karras|exponential|polyexponential|sgm uniform|uniform|simple|normal|automatic)$")
_PAIR = re.compile(r'\s*([\w ]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')


def sampler_of(name: str) -> str | None:
    """Our sampler of that name in A1111, ComfyUI, InvokeAI, SwarmUI, Fooocus or NovelAI; None where there is none.

    A spacing of the noise levels at the end of the name, as A1111 had it before 1.9, is no part of the sampler.
    """
    return _SAMPLERS.get(_SPACING.sub("", name.strip().lower()))


def _same_things(facts: Mapping[str, Any]) -> dict[str, Any]:
    """prompt, negative_prompt, steps, seed, sampler, cfg, width and height in our names; what is not valid is left out."""
    values: dict[str, Any] = {}
    for ours, theirs in (("steps", "steps"), ("seed", "seed"), ("width", "width"), ("height", "height")):
        with suppress(KeyError, ValueError, TypeError, OverflowError):
            values[ours] = int(facts[theirs])
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        omega, (low, high) = round(float(facts["cfg"]) - 1, 6), FIELDS["omega"].range
        if low <= omega <= high:
            values["omega"] = omega
    if sampler := sampler_of(str(facts.get("sampler", ""))):
        values["scheduler"] = sampler
    for side in ("width", "height"):
        if side in values and not 16 <= values[side] <= 9999:
            del values[side]
    for text in ("prompt", "negative_prompt"):
        if isinstance(facts.get(text), str):
            values[text] = facts[text].strip()
    return values


def _size(text: str) -> dict[str, str]:
    """`512x768` or `(512, 768)` as width and height."""
    match = re.fullmatch(r"\(?(\d{2,4})\s*[x×,]\s*(\d{2,4})\)?", text.strip())
    return {"width": match[1], "height": match[2]} if match else {}


def parse_parameters(text: str) -> dict[str, Any]:
    """What the `parameters` text of A1111 and its relatives says; empty where it says nothing known."""
    lines = text.strip().splitlines()
    if not lines or "Steps:" not in lines[-1]:
        return {}
    facts = {key.strip().lower(): value.strip().strip('"') for key, value in _PAIR.findall(lines[-1])}
    prompt, _, negative = "\n".join(lines[:-1]).partition("Negative prompt:")
    values = _same_things({
        **facts, **_size(facts.get("size", "")), "cfg": facts.get("cfg scale"), "prompt": prompt, "negative_prompt": negative,
    })  # fmt: skip
    for ours, theirs in METADATA.items():
        if ours not in values and FIELDS[ours].kind in (int, float) and theirs.lower() in facts:
            with suppress(ValueError, StudioError):  # a value that is not a number is left out
                values[ours] = FIELDS[ours].checked(FIELDS[ours].kind(facts[theirs.lower()]))
    return values


class _Graph:
    """The nodes of a ComfyUI workflow; an input is a value, or a link [node, output] to one."""

    DEPTH = 60
    _VALUES = ("value", "seed", "noise_seed", "int", "float", "number", "Value", "INT", "FLOAT")
    _TEXTS = (
        "text",
        "string",
        "value",
        "prompt",
        "text_g",
        "t5xxl",
        "positive",
        "Text",
        "wildcard_text",
        "text_positive",
    )

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = {str(name): node for name, node in nodes.items() if isinstance(node, dict)}

    def at(self, link: Any) -> dict[str, Any]:
        """The inputs of the node that a link leads to, and its class under "class_type"."""
        node = self.nodes.get(str(link[0]), {}) if isinstance(link, list) and link else {}
        inputs = node.get("inputs")
        return {**(inputs if isinstance(inputs, dict) else {}), "class_type": str(node.get("class_type", ""))}

    def value(self, raw: Any, depth: int = 0) -> Any:
        """A number or name, through nodes that hold one."""
        if not isinstance(raw, list) or depth > self.DEPTH:
            return None if isinstance(raw, list) else raw
        inputs = self.at(raw)
        return next((self.value(inputs[key], depth + 1) for key in self._VALUES if key in inputs), None)

    def text(self, raw: Any, depth: int = 0) -> str:
        """A text, through nodes that hold or join texts."""
        if isinstance(raw, str):
            return raw
        if not isinstance(raw, list) or depth > self.DEPTH:
            return ""
        inputs = self.at(raw)
        if "string_a" in inputs or "text_a" in inputs:
            stem = "string" if "string_a" in inputs else "text"
            parts = [self.text(inputs.get(f"{stem}_{letter}"), depth + 1) for letter in "abcd"]
            return str(inputs.get("delimiter", " ")).join(part for part in parts if part)
        return next((resolved for key in self._TEXTS if (resolved := self.text(inputs.get(key), depth + 1))), "")

    def prompt(self, link: Any, side: str, depth: int = 0) -> str:
        """The text of a conditioning, back through control networks, combinations and areas.

        Args:
            side: "positive" or "negative": what a node with both is asked for.
        """
        inputs = self.at(link)
        kind = inputs.pop("class_type")
        if depth > self.DEPTH or kind == "ConditioningZeroOut":
            return ""
        if "TextEncode" in kind or not any(isinstance(value, list) for value in inputs.values()):
            return self.text(link, depth)
        if "positive" in inputs and "negative" in inputs:
            side = "negative" if isinstance(link, list) and len(link) > 1 and link[1] == 1 else "positive"
            return self.prompt(inputs[side], side, depth + 1)
        names = [name for name in inputs if name.startswith(("conditioning", side)) and isinstance(inputs[name], list)]
        texts = dict.fromkeys(self.prompt(inputs[name], side, depth + 1) for name in names)
        return ", ".join(text for text in texts if text) or self.text(link, depth)

    def latent(self, link: Any) -> dict[str, Any]:
        """The node that a latent comes from: the nearest with a width and a height; empty where a picture was encoded."""
        for _ in range(self.DEPTH):
            inputs = self.at(link)
            if "width" in inputs and "height" in inputs:
                return inputs
            link = next((inputs[key] for key in ("samples", "latent", "latent_image") if key in inputs), None)
            if link is None:
                break
        return {}


def _sampler_facts(graph: _Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a node that samples says: KSampler, KSamplerAdvanced, SamplerCustom or SamplerCustomAdvanced."""
    guider = graph.at(inputs["guider"]) if "guider" in inputs else inputs
    select = graph.at(inputs["sampler"]) if isinstance(inputs.get("sampler"), list) else inputs
    sigmas = graph.at(inputs["sigmas"]) if "sigmas" in inputs else inputs
    noise = graph.at(inputs["noise"]) if "noise" in inputs else inputs
    latent = graph.latent(inputs.get("latent_image"))
    positive = guider.get("positive", guider.get("conditioning"))
    return {
        "steps": graph.value(sigmas.get("steps")),
        "seed": graph.value(noise.get("seed", noise.get("noise_seed"))),
        "cfg": graph.value(guider.get("cfg")),
        "sampler": graph.value(select.get("sampler_name")) or "",
        "width": graph.value(latent.get("width")),
        "height": graph.value(latent.get("height")),
        "prompt": graph.prompt(positive, "positive"),
        "negative_prompt": graph.prompt(guider.get("negative"), "negative"),
        "empty": "Empty" in latent.get("class_type", ""),
    }


def parse_comfyui(text: str) -> dict[str, Any]:
    """What a ComfyUI workflow's sampler says: of several, the one that begins from an empty picture; empty where there
    is none that can be read."""
    try:
        graph = _Graph(json.loads(text))
        samplers = [
            inputs
            for name in graph.nodes
            if (inputs := graph.at([name]))["class_type"].startswith(("KSampler", "SamplerCustom"))
            and ("steps" in inputs or "sigmas" in inputs)
        ]
        candidates = [_sampler_facts(graph, inputs) for inputs in samplers]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError):
        return {}
    facts = next((facts for facts in candidates if facts["empty"]), candidates[0] if candidates else None)
    return _same_things(facts) if facts else {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def parse_swarmui(text: str) -> dict[str, Any]:
    """SwarmUI's JSON."""
    facts = _parsed(text).get("sui_image_params")
    if not isinstance(facts, dict):
        return {}
    return _same_things({**facts, "cfg": facts.get("cfgscale"), "negative_prompt": facts.get("negativeprompt")})


def parse_fooocus(text: str) -> dict[str, Any]:
    """Fooocus' JSON, by its keys or, in older versions, by the labels of its form."""
    facts = {str(key).lower().replace(" ", "_"): value for key, value in _parsed(text).items()}
    if "guidance_scale" not in facts or "sampler" not in facts:
        return {}
    return _same_things({**facts, "cfg": facts["guidance_scale"], **_size(str(facts.get("resolution", "")))})


def parse_invokeai(text: str) -> dict[str, Any]:
    """InvokeAI's JSON."""
    facts = _parsed(text)
    names = {"cfg": "cfg_scale", "sampler": "scheduler", "prompt": "positive_prompt"}
    return _same_things({**facts, **{ours: facts.get(theirs) for ours, theirs in names.items()}}) if facts else {}


def parse_novelai(text: str) -> dict[str, Any]:
    """NovelAI's JSON."""
    facts = _parsed(text)
    if "uc" not in facts and "v4_prompt" not in facts:
        return {}
    return _same_things({**facts, "cfg": facts.get("scale"), "negative_prompt": facts.get("uc")})


READERS: tuple[tuple[str, Callable[[str], dict[str, Any]]], ...] = (
    ("parameters", parse_parameters),
    ("parameters", parse_swarmui),
    ("parameters", parse_fooocus),
    ("prompt", parse_comfyui),
    ("invokeai_metadata", parse_invokeai),
    ("Comment", parse_novelai),
)
"""A text of a picture and who reads it, in this order."""


def read_foreign(texts: Mapping[str, str], *, longest: int) -> dict[str, Any]:
    """What the texts of another program's picture say, in our names; empty where none is understood.

    Args:
        longest: characters of a text; longer ones are not read.
    """
    for key, read in READERS:
        if key in texts and len(texts[key]) <= longest and (values := read(texts[key])):
            return values
    return {}


def texts_of_exif(exif: Any) -> dict[str, str]:
    """The texts that other programs keep in EXIF: UserComment is A1111's, Make and Model are ComfyUI's.

    Args:
        exif: of Pillow.
    """
    texts = {}
    for tag in (0x010F, 0x0110):
        name, mark, text = str(exif.get(tag, "")).partition(":")
        if mark and name in ("prompt", "workflow"):
            texts[name] = text
    comment = exif.get_ifd(0x8769).get(0x9286)
    if isinstance(comment, bytes):
        head, raw = comment[:8], comment[8:]
        if head.startswith(b"UNICODE"):
            both = [raw.decode(f"utf-16-{order}", errors="replace") for order in ("be", "le")]
            comment = max(both, key=lambda text: sum(character.isascii() for character in text))
        else:
            comment = (raw if head.startswith(b"ASCII") else comment).decode("utf-8", errors="replace")
    if isinstance(comment, str) and comment.strip("\0 "):
        texts["parameters"] = comment.strip("\0")
    return texts
