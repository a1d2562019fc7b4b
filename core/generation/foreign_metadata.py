"""What other programs write into their pictures about the same things: prompts, seed, steps, scale, sampler and size.

A1111, Forge     `parameters`: prompt, negative prompt and a line of pairs; in JPEG and WebP as EXIF UserComment
SwarmUI          `parameters`: JSON, `sui_image_params`
Fooocus          `parameters`: JSON, or A1111's text
ComfyUI          `prompt`: the graph of nodes; in WebP as EXIF Make or Model
InvokeAI         `invokeai_metadata`: JSON
NovelAI          `Comment`: JSON

What this studio has no setting for is left out and named: a sampler that it does not have is not replaced by one of a
like name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import StudioError
from core.generation.comfyui_graph import facts_of_workflow
from core.generation.prompt_syntax import named_inversions
from core.generation.settings import FIELDS, METADATA


@dataclass(frozen=True)
class ForeignPicture:
    """What another program wrote into a picture.

    Args:
        values: the settings that both programs have, in our names.
        model: the base model's name; empty where it is unknown.
        adapters: names of the LoRAs that were used.
        inversions: names of the textual inversions that were used, as far as they are said.
        left_out: what has no counterpart here, name and value, a sampler that this studio does not have first.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    adapters: tuple[str, ...] = ()
    inversions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


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
_PLAIN_SPACINGS = ("", "automatic", "normal", "simple")
_LORA = re.compile(r"<(?:lora|lyco|hypernet):([^:<>]{1,120})(?::[^<>]{0,40})?>")
_READ = {"steps", "sampler", "schedule type", "cfg scale", "seed", "size", "model", "version"}
_READ |= {name.lower() for name in METADATA.values()}
_MOST = 12
"""Names of things that were left out; more are not listed."""
_PAIR = re.compile(r'\s*([\w ]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')


def sampler_of(name: str) -> str | None:
    """Our sampler of that name in A1111, ComfyUI, InvokeAI, SwarmUI, Fooocus or NovelAI; None where there is none.

    A spacing of the noise levels at the end of the name, as A1111 had it before 1.9, is not part of the sampler.
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


def _picture(facts: Mapping[str, Any], others: list[str] | None = None) -> ForeignPicture:
    """Of facts as `_same_things` takes them, and `model`, `adapters` and `spacing`.

    Args:
        others: what else is left out.
    """
    sampler, spacing = str(facts.get("sampler") or "").strip(), str(facts.get("spacing") or "").strip()
    if sampler_of(sampler) and not spacing and (match := _SPACING.search(sampler.lower())):
        spacing = match[1]
    left_out = [f"Sampler {sampler}"] if sampler and not sampler_of(sampler) else []
    left_out += [f"Schedule type {spacing}"] if spacing.lower() not in _PLAIN_SPACINGS else []
    adapters = facts.get("adapters")
    named = [str(name) for name in (adapters if isinstance(adapters, list) else []) if isinstance(name, str) and name]
    prompt = facts.get("prompt")
    texts = [text for text in (prompt, facts.get("negative_prompt")) if isinstance(text, str)]
    words = [*inversions_of(facts.get("ti hashes")), *(name for text in texts for name in named_inversions(text))]
    named += _LORA.findall(prompt) if isinstance(prompt, str) else []
    model = facts.get("model")
    return ForeignPicture(
        _same_things(facts),
        model if isinstance(model, str) else "",
        tuple(dict.fromkeys(named))[:_MOST],
        tuple(dict.fromkeys(words))[:_MOST],
        tuple(left_out + (others or []))[:_MOST],
    )


def inversions_of(text: Any) -> list[str]:
    """The names in A1111's `TI hashes`, `name: hash, name: hash`."""
    return re.findall(r"([^:,]{1,120}?)\s*:\s*[0-9a-fA-F]{6,64}(?:\s*,\s*|$)", text) if isinstance(text, str) else []


def _size(text: str) -> dict[str, str]:
    """`512x768` or `(512, 768)` as width and height."""
    match = re.fullmatch(r"\(?(\d{2,4})\s*[x×,]\s*(\d{2,4})\)?", text.strip())
    return {"width": match[1], "height": match[2]} if match else {}


def parse_parameters(text: str) -> ForeignPicture:
    """What the `parameters` text of A1111 and its relatives says; empty where it says nothing known."""
    lines = text.strip().splitlines()
    if not lines or "Steps:" not in lines[-1]:
        return ForeignPicture()
    pairs = {key.strip(): value.strip().strip('"') for key, value in _PAIR.findall(lines[-1])}
    facts = {key.lower(): value for key, value in pairs.items()}
    prompt, _, negative = "\n".join(lines[:-1]).partition("Negative prompt:")
    others = [
        f"{key} {value}" for key, value in pairs.items() if key.lower() not in _READ and "hash" not in key.lower()
    ]
    picture = _picture(
        {**facts, **_size(facts.get("size", "")), "cfg": facts.get("cfg scale"), "spacing": facts.get("schedule type"),
         "prompt": prompt, "negative_prompt": negative},
        others,
    )  # fmt: skip
    values = dict(picture.values)
    for ours, theirs in METADATA.items():
        if ours not in values and FIELDS[ours].kind in (int, float) and theirs.lower() in facts:
            with suppress(ValueError, StudioError):  # a value that is not a number is left out
                values[ours] = FIELDS[ours].checked(FIELDS[ours].kind(facts[theirs.lower()]))
    return replace(picture, values=values)


def parse_comfyui(text: str) -> ForeignPicture:
    """What a ComfyUI workflow says; empty where no node that samples can be read."""
    facts = facts_of_workflow(text)
    return _picture(facts) if facts else ForeignPicture()


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _names(values: Any, *keys: str) -> list[str]:
    """The names in a list of names, of lists that begin with one, or of dictionaries with one under a key."""
    names = []
    for value in values if isinstance(values, list) else []:
        for key in keys:
            value = value.get(key, value) if isinstance(value, dict) else value
        names.append(value[0] if isinstance(value, list) and value else value)
    return [name for name in names if isinstance(name, str)]


def parse_swarmui(text: str) -> ForeignPicture:
    """SwarmUI's JSON."""
    facts = _parsed(text).get("sui_image_params")
    if not isinstance(facts, dict):
        return ForeignPicture()
    names = {"cfg": "cfgscale", "negative_prompt": "negativeprompt", "spacing": "scheduler"}
    ours = {ours: facts.get(theirs) for ours, theirs in names.items()}
    return _picture({**facts, **ours, "adapters": _names(facts.get("loras"))})


def parse_fooocus(text: str) -> ForeignPicture:
    """Fooocus' JSON, by its keys or, in older versions, by the labels of its form."""
    facts = {str(key).lower().replace(" ", "_"): value for key, value in _parsed(text).items()}
    if "guidance_scale" not in facts or "sampler" not in facts:
        return ForeignPicture()
    names = {"cfg": "guidance_scale", "model": "base_model", "spacing": "scheduler"}
    ours = {ours: facts.get(theirs) for ours, theirs in names.items()}
    return _picture(
        {**facts, **ours, "adapters": _names(facts.get("loras")), **_size(str(facts.get("resolution", "")))}
    )


def parse_invokeai(text: str) -> ForeignPicture:
    """InvokeAI's JSON."""
    facts = _parsed(text)
    if not facts:
        return ForeignPicture()
    names = {"cfg": "cfg_scale", "sampler": "scheduler", "prompt": "positive_prompt"}
    ours = {ours: facts.get(theirs) for ours, theirs in names.items()}
    model = next(iter(_names([facts.get("model")], "name", "model_name")), "")
    return _picture({**facts, **ours, "model": model, "adapters": _names(facts.get("loras"), "model", "lora", "name")})


def parse_novelai(text: str) -> ForeignPicture:
    """NovelAI's JSON."""
    facts = _parsed(text)
    if "uc" not in facts and "v4_prompt" not in facts:
        return ForeignPicture()
    names = {"cfg": "scale", "negative_prompt": "uc", "spacing": "noise_schedule"}
    return _picture({**facts, **{ours: facts.get(theirs) for ours, theirs in names.items()}})


READERS: tuple[tuple[str, Callable[[str], ForeignPicture]], ...] = (
    ("parameters", parse_parameters),
    ("parameters", parse_swarmui),
    ("parameters", parse_fooocus),
    ("prompt", parse_comfyui),
    ("invokeai_metadata", parse_invokeai),
    ("Comment", parse_novelai),
)
"""A text of a picture and who reads it, in this order."""


def read_foreign(texts: Mapping[str, str], *, longest: int) -> ForeignPicture:
    """What the texts of another program's picture say; without values where none is understood.

    Args:
        longest: characters of a text; longer ones are not read.
    """
    for key, read in READERS:
        if key in texts and len(texts[key]) <= longest and (picture := read(texts[key])).values:
            return picture
    return ForeignPicture()


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
