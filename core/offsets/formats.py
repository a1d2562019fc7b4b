"""The dialects of adapter files and of whole checkpoints, told apart by their keys and shapes, never by a file's name.

diffusers, PEFT   unet.<module>.lora_A.weight, base_model.model.<module>.lora_A.weight, older .lora.down.weight
kohya             lora_unet_<module with underscores>.lora_down.weight, with .alpha; SDXL also in the original
                  model's block names (lora_unet_input_blocks_4_1_...); oft_unet_ for its OFT
LyCORIS           lycoris_<module with underscores>, with the tensors of `core.offsets.kinds`
ComfyUI           diffusion_model.<module in the original names>
SAT               CogVideoX's own trainer: transformer.layers.<n>.attention.query_key_value.matrix_A.<0, 1, 2>
whole networks    diffusers' names, or the original ones, behind model.diffusion_model., diffusion_model. or nothing

Nothing is half read: a key of an adapter that is not understood is refused by its name, and what a whole checkpoint
holds beside the denoiser is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import Sentence, StudioError
from core.offsets import keys
from core.offsets.keys import Format
from core.offsets.kinds import kind_of_layer, needs_base
from core.offsets.names import of_dotted


@dataclass(frozen=True)
class Contents:
    """What a weights file holds, by its keys.

    Args:
        format: its dialect.
        layers: module of the denoiser to its tensors, part (as `core.offsets.kinds` names them) to key.
        weights: of a whole network, parameter of the denoiser ("mid_block.norm.weight") to key.
        scales: of a whole network in scaled 8-bit floats, parameter to the key of the number it is multiplied by.
        kinds: the kinds of adapters, each once: "LoRA", "DoRA", … and "dense" for whole changes.
        notes: what was done to the names or left out, in words.
    """

    format: Format
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """A whole network, and no adapter."""
        return bool(self.weights)

    @property
    def modules(self) -> list[str]:
        """The modules that it changes, each once."""
        return list(dict.fromkeys([*self.layers, *(name.rpartition(".")[0] for name in self.weights)]))

    @property
    def needs_base(self) -> bool:
        """Whether what it changes depends on the base's own weights."""
        return any(needs_base(parts) for parts in self.layers.values())


class _Notes:
    """What is told of a file, each thing once and counted."""

    def __init__(self) -> None:
        self.wrappers: list[str] = []
        self.text: list[str] = []
        self.embeddings: list[str] = []
        self.base: list[str] = []
        self.others: list[str] = []

    def sentences(self) -> list[Sentence]:
        remarks = [
            Sentence("“{prefix}” in front of names was left out", prefix=wrapper.rstrip("."))
            for wrapper in self.wrappers
        ]
        if self.text:
            remarks.append(
                Sentence(
                    "{count} tensors of text encoders were left out: the negative branch changes the denoiser alone",
                    count=len(self.text),
                )
            )
        if self.embeddings:
            remarks.append(Sentence("{count} tensors of embeddings of words were left out", count=len(self.embeddings)))
        if self.base:
            remarks.append(
                Sentence(
                    "{count} tensors of the base next to the adapter were left out: they were not trained",
                    count=len(self.base),
                )
            )
        if self.others:
            remarks.append(
                Sentence(
                    "{count} tensors beside the denoiser were left out, “{first}” for one",
                    count=len(self.others),
                    first=self.others[0][:80],
                )
            )
        return remarks


def classify(shapes: Mapping[str, tuple[int, ...]], name: str) -> Contents:
    """What a file holds, from the names of its tensors.

    Args:
        name: of the file, for what is said.

    Raises:
        StudioError: it is a kind that cannot be read, or a key is not understood; it is named.
    """
    layers: dict[str, dict[str, str]] = {}
    notes, strangers, formats = _Notes(), [], set()
    adapter = any(keys.parsed(keys.unwrapped(raw)[0], whole_values=False) for raw in shapes)
    if not adapter and not any(keys.is_named_as_adapter(raw) for raw in shapes):
        return _whole_network(shapes, name)
    sat = any(".matrix_A." in raw for raw in shapes)
    for raw in shapes:
        key, wrapper = keys.unwrapped(raw)
        if wrapper and wrapper not in notes.wrappers:
            notes.wrappers.append(wrapper)
        if keys.TEXT.match(key):
            notes.text.append(raw)
        elif key.startswith("bundle_emb."):
            notes.embeddings.append(raw)
        elif sat and key.startswith("model.diffusion_model.") and not keys.is_named_as_adapter(raw):
            notes.base.append(raw)
        elif (parsed := keys.parsed(key, whole_values=True)) is None:
            strangers.append(raw)
        else:
            module, part, dialect = parsed
            parts = layers.setdefault(module, {})
            if part in parts:
                raise StudioError(
                    "“{name}” changes {module} twice: “{first}” and “{second}”.",
                    "Choose a file with one adapter.",
                    name=name,
                    module=module,
                    first=parts[part][:80],
                    second=raw[:80],
                )
            parts[part] = raw
            formats.add(dialect)
    kinds = {module: kind_of_layer(parts) for module, parts in layers.items()}
    strangers += [key for module, kind in kinds.items() if kind is None for key in layers[module].values()]
    if strangers or not layers:
        _refuse(name, shapes, notes, strangers)
    if len(formats) > 1:
        raise StudioError(
            "“{name}” mixes the dialects {dialects}.", "Choose a file written by one program.", name=name,
            dialects=", ".join(sorted(formats)),
        )  # fmt: skip
    values = sum(part.startswith("value_") for parts in layers.values() for part in parts)
    remarks = notes.sentences()
    if sat:
        remarks.append(
            Sentence("its strength, alpha / rank, is not in the file: alpha is taken to be 1, as in SAT's own settings")
        )
    if values:
        remarks.append(
            Sentence("{count} parameters are whole values: their difference from the base is used", count=values)
        )
    return Contents(
        format=next(iter(formats)),
        layers=layers,
        kinds=tuple(dict.fromkeys(kind for kind in kinds.values() if kind)),
        notes=tuple(remarks),
    )


def _refuse(name: str, shapes: Mapping[str, tuple[int, ...]], notes: _Notes, strangers: list[str]) -> None:
    if not strangers:
        raise StudioError(
            "“{name}” changes only text encoders; an offset changes the denoiser.",
            "Choose a LoRA of the denoiser.",
            name=name,
        )
    left_out = len(notes.text) + len(notes.embeddings)
    raise StudioError(
        "“{name}” cannot be read completely: {count} of its {total} tensors are recognized, but “{key}” is not.",
        "Choose an adapter of the denoiser in a form that docs/families.md lists, or merge it into its model with the "
        "program that made it and use `offset extract` on the result.",
        name=name,
        count=len(shapes) - left_out - len(strangers),
        total=len(shapes) - left_out,
        key=strangers[0][:80],
    )


def _whole_network(shapes: Mapping[str, tuple[int, ...]], name: str) -> Contents:
    weights: dict[str, str] = {}
    scales: dict[str, str] = {}
    notes, original, wrapped = _Notes(), False, set()
    for raw in shapes:
        key, wrapper = keys.unwrapped(raw)
        prefix = next(prefix for prefix in keys.DOTTED if key.startswith(prefix))
        body = key.removeprefix(prefix)
        if keys.TEXT.match(key) and prefix == "":
            notes.text.append(raw)
            continue
        scale = next((ending for ending in keys.SCALES if body.endswith(ending)), "")
        module, _, parameter = (body.removesuffix(scale) + ".weight" if scale else body).rpartition(".")
        known = None if keys.OTHER_PARTS.match(key) else of_dotted(module)
        if keys.FP8_MARKS.search(body):
            continue
        if known is None or not keys.DENOISER.match(known):
            notes.others.append(raw)
            continue
        parameter = f"{known}.{parameter}"
        into = scales if scale else weights
        if parameter in into and (wrapper or parameter not in wrapped):
            notes.others.append(raw)  # an average of the weights beside the weights themselves
            continue
        if parameter in into:
            notes.others.append(into[parameter])
            wrapped.discard(parameter)
        into[parameter] = raw
        original |= known != module
        if wrapper:
            wrapped.add(parameter)
            if wrapper not in notes.wrappers:
                notes.wrappers.append(wrapper)
    if not weights:
        raise StudioError(
            "“{name}” is neither an offset nor a denoiser that this studio knows: it holds “{key}”.",
            "Choose a LoRA or the weights of a denoiser.",
            name=name,
            key=next(iter(shapes), "nothing")[:80],
        )
    return Contents("original" if original else "full", weights=weights, scales=scales, notes=tuple(notes.sentences()))


def family_of(contents: Contents, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name of the family by modules and shapes; empty where they do not tell (a miniature, or self-attention alone)."""
    names = contents.modules
    if any(name.startswith("transformer_blocks.") for name in names):
        joint = any(".add_k_proj" in name or ".ff_context" in name for name in names)
        return "sd3" if joint else "cogvideox"
    # the width of the text that cross attention reads
    widths = {
        shapes[key][1]
        for module, parts in contents.layers.items()
        for part, key in parts.items()
        if module.endswith(("attn2.to_k", "attn2.to_v"))
        and part in ("down", "hada_w1_b", "diff")
        and "hada_t1" not in parts
    }
    widths |= {shapes[key][1] for name, key in contents.weights.items() if name.endswith("attn2.to_k.weight")}
    return {frozenset({768}): "sd15", frozenset({2048}): "sdxl"}.get(frozenset(widths), "")
