"""Offset files: what they are, and reading every dialect people have; writing them is `core.offsets.writing`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from core.errors import Sentence, StudioError
from core.offsets.controlnet import is_controlnet
from core.offsets.formats import Contents, classify, family_of
from core.offsets.formulas import change_of
from core.offsets.gguf_header import QUANTIZED
from core.offsets.header import Header, read_header, shards_of
from core.offsets.keys import Format
from core.offsets.kinds import rank_of
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import DenseLayer, Offset
from core.offsets.scaling import DIFFUSERS, IN_HEADER, SAT, check_rotation, config_of, scale_of
from core.offsets.t2i_adapter import is_t2i_adapter
from core.offsets.tensors import read_tensors
from core.offsets.textual_inversion import is_textual_inversion


@dataclass(frozen=True)
class OffsetFile:
    """What the header of a weights file says.

    Args:
        path: the file, or the folder of a sharded one.
        family: of the model it was made for; empty where the file does not tell.
        kind: "lora": an adapter of any kind; or "full": the whole weights of another network, whose difference from a
            base is the offset.
        format: the dialect.
        adapters: the kinds of its layers, as `core.offsets.kinds` names them; none of a full one.
        needs_base: what it changes depends on the base's own weights.
        rank: the largest rank of its layers; 0 of a full one.
        layers: how many layers it changes.
        size: bytes.
        provenance: base, recipe, steps, seed and so on, as text.
        notes: what was done to its names or left out, in words.
    """

    path: Path
    family: str
    kind: Literal["lora", "full"]
    format: Format
    adapters: tuple[str, ...]
    needs_base: bool
    rank: int
    layers: int
    size: int
    provenance: Mapping[str, str]
    notes: tuple[str, ...] = ()


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of an offset or a network: the file itself, or the shards of a folder."""
    return shards_of(path) if path.is_dir() else [path]


def _whole_header(files: list[Path]) -> Header:
    headers = [read_header(file) for file in files]
    shapes = {name: shape for header in headers for name, shape in header.shapes.items()}
    dtypes = {name: dtype for header in headers for name, dtype in header.dtypes.items()}
    return Header(shapes, dtypes, headers[0].metadata)


def _described(path: Path) -> tuple[OffsetFile, Contents, list[Path]]:
    files = weight_files(path)
    header = _whole_header(files)
    if is_controlnet(header.shapes) or is_t2i_adapter(header.shapes):
        kind = "ControlNet" if is_controlnet(header.shapes) else "T2I-Adapter"
        raise StudioError(
            "“{name}” is a {kind}, not an offset.",
            "Put it into a folder of models and choose it as the control network.",
            name=path.name,
            kind=kind,
        )
    if is_textual_inversion(header.shapes):
        raise StudioError(
            "“{name}” is a textual inversion, not an offset.",
            "Import it or put it into the workspace's embeddings folder, and write its name in a prompt.",
            name=path.name,
        )
    contents = classify(header.shapes, path.name)
    hidden = ("format", "family", DIFFUSERS, IN_HEADER)
    ranks = [rank_of({part: header.shapes[key] for part, key in parts.items()}) for parts in contents.layers.values()]
    file = OffsetFile(
        path=path,
        family=header.metadata.get("family") or family_of(contents, header.shapes),
        kind="full" if contents.whole else "lora",
        format=contents.format,
        adapters=contents.kinds,
        needs_base=contents.needs_base,
        rank=max(ranks, default=0),
        layers=len(contents.modules),
        size=sum(file.stat().st_size for file in files),
        provenance={key: value for key, value in header.metadata.items() if key not in hidden},
        notes=contents.notes,
    )
    if quantized := sorted(set(header.dtypes.values()) & QUANTIZED.keys()):
        note = f"its values are those that GGUF's blocks hold: {', '.join(quantized)}"
        file = replace(file, notes=(*file.notes, note))
    # a configuration that cannot be read is refused here already, before anybody relies on the file
    config = _config(contents.format, header.metadata, files[0])
    scaled = all("alpha" in parts for parts in contents.layers.values() if "down" in parts)
    if any("oft_R" in parts for parts in contents.layers.values()):
        check_rotation(config, path.name)
    if contents.format == "peft" and not config and not scaled:
        note = Sentence("there is no adapter_config.json beside it: its strength, alpha / rank, is taken to be 1")
        file = replace(file, notes=(*file.notes, note))
    return file, contents, files


def _config(format: Format, metadata: Mapping[str, str], path: Path) -> Mapping[str, Any]:
    """What says how strong an adapter is, where its layers do not."""
    return SAT if format == "sat" else config_of(metadata, path, peft=format == "peft")


def read_offset(path: Path) -> OffsetFile:
    """What an offset file is, from its header alone.

    Raises:
        StudioError: the file is not an offset, is damaged, or has a format that is not read here.
    """
    return _described(path)[0]


def read_parameters(path: Path, *, family: str | None = None) -> dict[str, Tensor]:
    """The parameters of a denoiser's whole weights, by diffusers' names, as they are stored; scaled 8-bit floats in
    float32.

    Raises:
        StudioError: it is a LoRA, of another family, or damaged.
    """
    file, contents, files = _described(path)
    if file.kind != "full":
        raise StudioError(
            "“{name}” is a LoRA, not whole weights.", "Choose the weights of a whole denoiser.", name=path.name
        )
    _check_family(file, family)
    tensors = read_tensors(files, [*contents.weights.values(), *contents.scales.values()])
    parameters = {name: tensors[key] for name, key in contents.weights.items()}
    for name, key in contents.scales.items():
        if name not in parameters or tensors[key].numel() != 1:
            raise StudioError(
                "“{name}” has a scale that cannot be read: “{key}”.",
                "Convert it to float16 with the program that made it.",
                name=path.name,
                key=key[:80],
            )
        parameters[name] = parameters[name].float() * tensors[key].float()
    return parameters


def _check_family(file: OffsetFile, family: str | None) -> None:
    if family and file.family and file.family != family:
        raise StudioError(
            "“{name}” is an offset for {own}, but the model is {family}.",
            "Choose one made for this base.",
            name=file.path.name,
            own=file.family,
            family=family,
        )


def load_lora(path: Path, *, family: str | None = None, denoiser: nn.Module | None = None) -> Offset:
    """The offset in an adapter file of any dialect and kind, float32 on the CPU, its scaling folded in.

    Args:
        family: refuse offsets of another family.
        denoiser: the base, for kinds whose change depends on its weights (`OffsetFile.needs_base`).

    Raises:
        StudioError: as `read_offset`; whole weights; a tensor that is not finite; another family; the base is needed
            and was not given, or lacks the layer.
    """
    file, contents, files = _described(path)
    if file.kind == "full":
        raise StudioError(
            "“{name}” holds the whole weights of a network.",
            "Extract an offset from it relative to its base with `offset extract` or in the Library tab.",
            name=path.name,
        )
    _check_family(file, family)
    if file.needs_base and denoiser is None:
        raise StudioError(
            "“{name}” is of the kind {kind}: what it changes depends on the base's own weights.",
            "Give the base model it belongs to with --base.",
            name=path.name,
            kind=", ".join(file.adapters),
        )
    config = _config(file.format, read_header(files[0]).metadata, files[0])
    own = dict(denoiser.named_modules()) if denoiser is not None else {}
    tensors = read_tensors(files, [key for keys in contents.layers.values() for key in keys.values()])
    low_rank: dict[str, LowRankLayer] = {}
    dense: dict[str, DenseLayer] = {}
    for module, keys in contents.layers.items():
        parts = {part: tensors.pop(key).float() for part, key in keys.items()}
        alpha = float(parts["alpha"]) if "alpha" in parts and parts["alpha"].numel() == 1 else None
        scale = scale_of(config, module, rank_of({part: tuple(t.shape) for part, t in parts.items()}), alpha)
        weight, bias = _base_of(own, module, path.name) if file.needs_base else (None, None)
        try:
            kohya_oft = next(iter(keys.values())).startswith("oft_unet_")
            layer, change = change_of(parts, scale, weight, bias, config=config, kohya_oft=kohya_oft)
            if layer is not None and layer.up.shape[1] != layer.down.shape[0]:
                raise ValueError("two ranks")
        except (ValueError, RuntimeError, IndexError, TypeError) as error:
            raise StudioError(
                "In “{name}”, the tensors of {module} do not fit each other{base}.",
                "Train or fetch it again, or choose the base that it was made for.",
                name=path.name,
                module=module,
                base=Sentence(" or the base") if file.needs_base else "",
            ) from error
        if layer is not None:
            low_rank[module] = layer
        if change is not None:
            dense[module] = change
    return Offset(low_rank, dense)


def _base_of(modules: Mapping[str, nn.Module], module: str, name: str) -> tuple[Tensor | None, Tensor | None]:
    """The base's own weight and bias of a module, float32 on the CPU."""
    if module not in modules:
        raise StudioError(
            "“{name}” changes {module}, which the base model does not have.",
            "Choose the base that it was made for.",
            name=name,
            module=module,
        )
    own = [getattr(modules[module], part, None) for part in ("weight", "bias")]
    weight, bias = (part.detach().float().cpu() if isinstance(part, Tensor) else None for part in own)
    return weight, bias
