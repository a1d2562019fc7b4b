"""Offset files: reading every dialect people have, writing diffusers and kohya LoRAs with their provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core import __version__
from core.errors import StudioError
from core.offsets.formats import Contents, Format, classify, family_of
from core.offsets.header import Header, read_header, shards_of
from core.offsets.low_rank import LowRankLayer
from core.offsets.offset import DenseLayer, Offset
from core.offsets.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class OffsetFile:
    """What the header of a weights file says.

    Args:
        path: the file, or the folder of a sharded one.
        family: of the model it was made for; empty where the file does not tell.
        kind: "lora", or "full": the whole weights of another network, whose difference from a base is the offset.
        format: the dialect.
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
    contents = classify(header.shapes, path.name)
    full = contents.format in ("full", "original")
    family = header.metadata.get("family") or family_of(contents, header.shapes)
    modules = {*contents.lora, *(name.rpartition(".")[0] for name in contents.dense)}
    file = OffsetFile(
        path=path,
        family=family,
        kind="full" if full else "lora",
        format=contents.format,
        rank=max((header.shapes[keys.down][0] for keys in contents.lora.values()), default=0),
        layers=len(modules),
        size=sum(file.stat().st_size for file in files),
        provenance={key: value for key, value in header.metadata.items() if key not in ("format", "family")},
        notes=contents.notes,
    )
    return file, contents, files


def read_offset(path: Path) -> OffsetFile:
    """What an offset file is, from its header alone.

    Raises:
        StudioError: the file is not an offset, is damaged, or has a format that is not read here.
    """
    return _described(path)[0]


def read_parameters(path: Path, *, family: str | None = None) -> dict[str, Tensor]:
    """The parameters of a denoiser's whole weights, by diffusers' names, as they are stored.

    Raises:
        StudioError: it is a LoRA, of another family, or damaged.
    """
    file, contents, files = _described(path)
    if file.kind != "full":
        raise StudioError(f"“{path.name}” is a LoRA, not whole weights.", "Choose the weights of a whole denoiser.")
    _check_family(file, family)
    tensors = read_tensors(files, contents.dense.values())
    return {name: tensors[key] for name, key in contents.dense.items()}


def _check_family(file: OffsetFile, family: str | None) -> None:
    if family and file.family and file.family != family:
        raise StudioError(
            f"“{file.path.name}” is an offset for {file.family}, the model is {family}.",
            "Choose one made for this base.",
        )


def _lora_alpha(file: OffsetFile, module: str, rank: int, beside: Mapping[str, float]) -> float:
    """lora_alpha of a layer where no `.alpha` tensor says it: of the header, of an adapter_config.json, else the rank."""
    metadata = file.provenance.get("lora_adapter_metadata")
    if metadata:
        try:
            values = {key.rpartition(".")[2]: value for key, value in json.loads(metadata).items()}
            return float(values.get("alpha_pattern", {}).get(module, values.get("lora_alpha", rank)))
        except (ValueError, TypeError, AttributeError):
            return float(rank)
    return beside.get("lora_alpha", float(rank))


def load_lora(path: Path, *, family: str | None = None) -> Offset:
    """The offset in a LoRA file of any dialect, float32 on the CPU, its scaling folded into the up matrices.

    Args:
        family: refuse offsets of another family.

    Raises:
        StudioError: as `read_offset`; whole weights; a tensor that is not finite; another family.
    """
    file, contents, files = _described(path)
    if file.kind == "full":
        raise StudioError(
            f"“{path.name}” holds the whole weights of a network.",
            "Extract an offset from it against its base: `offset extract`, or the Library tab.",
        )
    _check_family(file, family)
    keys = [k for layer in contents.lora.values() for k in (layer.down, layer.up, layer.alpha) if k]
    tensors = read_tensors(files, [*keys, *contents.dense.values()])
    beside: dict[str, float] = {}
    if file.format == "peft" and (path.parent / "adapter_config.json").is_file():
        try:
            config = json.loads((path.parent / "adapter_config.json").read_text(encoding="utf-8"))
            beside = {"lora_alpha": float(config["lora_alpha"])}
        except (OSError, ValueError, KeyError, TypeError):
            beside = {}
    layers = {}
    for module, named in contents.lora.items():
        down, up = tensors[named.down].float(), tensors[named.up].float()
        if down.ndim < 2 or up.ndim < 2 or up.shape[1] != down.shape[0]:
            raise StudioError(f"“{path.name}” has two ranks in {module}.", "Train or fetch it again.")
        rank = down.shape[0]
        alpha = float(tensors[named.alpha]) if named.alpha else _lora_alpha(file, module, rank, beside)
        if up.ndim == 2 and down.ndim == 4:
            up = up[:, :, None, None]
        layers[module] = LowRankLayer(down, up * (alpha / rank))
    dense: dict[str, dict[str, Tensor]] = {}
    for parameter, key in contents.dense.items():
        module, _, part = parameter.rpartition(".")
        dense.setdefault(module, {})[part] = tensors[key].float()
    return Offset(layers, {module: DenseLayer(**parts) for module, parts in dense.items()})


def save_offset(
    path: Path,
    offset: Offset,
    *,
    family: str,
    provenance: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
    format: Literal["diffusers", "kohya"] = "diffusers",
) -> OffsetFile:
    """Writes an offset as a LoRA: whole, or not at all.

    The lora scaling is folded into the up matrices, so every reader applies it right with lora_alpha = rank, the
    value that readers assume where a file names none; kohya's dialect says it too.

    Args:
        provenance: what a person will want to know of it; names and figures, no paths.
        format: the dialect; kohya's is read by A1111, ComfyUI and diffusers.
    """
    transformer = any(module.startswith("transformer_blocks.") for module in offset.modules)
    prefix = "transformer." if transformer else "unet."
    tensors: dict[str, Tensor] = {}
    for module, layer in offset.low_rank.items():
        down, up = layer.down.to(dtype).contiguous(), layer.up.to(dtype).contiguous()
        if format == "kohya":
            name = f"lora_unet_{module.replace('.', '_')}"
            tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            tensors[f"{name}.alpha"] = torch.tensor(float(layer.rank), dtype=dtype)
        else:
            tensors |= {f"{prefix}{module}.lora_A.weight": down, f"{prefix}{module}.lora_B.weight": up}
    for module, change in offset.dense.items():
        name = f"lora_unet_{module.replace('.', '_')}" if format == "kohya" else f"{prefix}{module}"
        for ending, tensor in (("diff", change.weight), ("diff_b", change.bias)):
            if tensor is not None:
                tensors[f"{name}.{ending}"] = tensor.to(dtype).contiguous()
    metadata = {"format": "pt", "family": family, "studio_version": __version__, **provenance}
    write_tensors(path, tensors, metadata)
    return read_offset(path)
