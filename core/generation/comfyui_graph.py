"""What a ComfyUI workflow says, read from its graph of nodes back from the node that samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class Graph:
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


def _sampler_facts(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
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
        "spacing": graph.value(sigmas.get("scheduler")) or "",
        "width": graph.value(latent.get("width")),
        "height": graph.value(latent.get("height")),
        "prompt": graph.prompt(positive, "positive"),
        "negative_prompt": graph.prompt(guider.get("negative"), "negative"),
        "empty": "Empty" in latent.get("class_type", ""),
    }


def facts_of_workflow(text: str) -> dict[str, Any]:
    """What the node that samples says, and the models and adapters that are named: of several such nodes, the one that
    begins from an empty picture. Empty where there is none that can be read."""
    try:
        graph = Graph(json.loads(text))
        samplers = [
            inputs
            for name in graph.nodes
            if (inputs := graph.at([name]))["class_type"].startswith(("KSampler", "SamplerCustom"))
            and ("steps" in inputs or "sigmas" in inputs)
        ]
        matches = [_sampler_facts(graph, inputs) for inputs in samplers]
        named = [item for node in graph.nodes.values() for item in dict(node.get("inputs") or {}).items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError):
        return {}
    if not matches:
        return {}
    models = [value for key, value in named if key in ("ckpt_name", "unet_name")]
    facts = next((facts for facts in matches if facts["empty"]), matches[0])
    return {**facts, "model": next(iter(models), ""), "adapters": [value for key, value in named if key == "lora_name"]}
