"""What the command line and the page do with offset files, as plain data. Heavy imports happen inside."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import Sentence, StudioError
from core.families.libraries import with_libraries
from core.offsets.header import copy_file, copy_files, is_gguf, is_pickle
from core.studio.library.choose import BUNDLED, family_of_base, find_base, find_offset
from core.studio.library.entries import kind_of
from core.studio.library.load import load_base, load_offset
from core.studio.workspace import Workspace, slug


def _named(workspace: Workspace, name: str) -> Path:
    path = find_offset(workspace, name)
    if path is None:
        raise StudioError("No offset was given.", "Choose a file or an offset from the library.")
    return path


@with_libraries
def offset_info(workspace: Workspace, name: str) -> dict[str, Any]:
    """What an offset is: family, kind, format, rank, layers, size, notes, and its provenance.

    Raises:
        StudioError: no such offset, or no file this studio reads.
    """
    from core.offsets.files import read_offset

    offset = read_offset(_named(workspace, name))
    return {
        "file": offset.path.name,
        "family": offset.family or "unknown",
        "kind": offset.kind,
        "format": offset.format,
        "rank": offset.rank,
        "layers": offset.layers,
        "bytes": offset.size,
        **({"notes": functools.reduce(_then, offset.notes)} if offset.notes else {}),
        **offset.provenance,
    }


def _then(first: str, second: str) -> Sentence:
    return Sentence("{first}; {second}", first=first, second=second)


def target(workspace: Workspace, out: str, name: str, ending: str = ".safetensors") -> Path:
    """Where a new offset goes: the path asked for, else a free name in the workspace's offsets."""
    if out:
        path = Path(out).expanduser()
        if path.suffix != ending:
            raise StudioError(
                "“{name}” must end with {ending}.",
                "Write {stem}{ending}.",
                name=path.name,
                ending=ending,
                stem=path.stem,
            )
        if path.exists():
            raise StudioError(
                "“{name}” already exists.", "Choose another name; nothing is overwritten.", name=path.name
            )
        return path
    stem, number = slug(name), 1
    while (path := workspace.offsets / f"{stem}{'' if number == 1 else f'-{number}'}{ending}").exists():
        number += 1
    return path


@with_libraries
def import_offset(workspace: Workspace, source: Path, out: str = "") -> dict[str, Any]:
    """Copies a dropped or named weights file, or the one of a folder, into the workspace, converted from a pickle where
    it is one. PEFT's adapter_config.json next to the file, which holds its strength, goes into its header;
    shards become one file.

    Raises:
        StudioError: it is nothing this studio reads; nothing is left behind then.
    """
    from core.offsets.files import read_offset, weight_files
    from core.offsets.scaling import config_beside
    from core.offsets.unpickle import convert_pickle

    ending = ".gguf" if source.is_file() and is_gguf(source) else ".safetensors"
    path = target(workspace, out, source.name if source.is_dir() else source.stem, ending)
    if ending == ".gguf":
        read_offset(source)
        copy_file(source, path)
    elif source.is_file() and is_pickle(source):
        convert_pickle(source, path)
        beside = config_beside(source)
        if beside:
            copy_files([path], path, beside)
    elif source.is_file() and kind_of(source)[0] in _BESIDE:
        return _import_beside(workspace, source, out)
    else:
        read_offset(source)
        files = weight_files(source)
        copy_files(files, path, config_beside(files[0]))
    try:
        if kind_of(path)[0] in _BESIDE:  # of a pickle it shows now
            return _import_beside(workspace, path, out, move=True)
        return {"saved": str(path), **offset_info(workspace, str(path))}
    except StudioError:
        path.unlink(missing_ok=True)
        raise


_BESIDE = {"control": "control network", "embedding": "textual inversion"}
"""Kinds of files that are imported though they are no offsets, and what they are called."""


def _import_beside(workspace: Workspace, source: Path, out: str, *, move: bool = False) -> dict[str, Any]:
    """Copies or moves the file of a control network or a textual inversion to where it is asked for, else to its folder of
    the workspace."""
    kind, family = kind_of(source)
    folder = workspace.models if kind == "control" else workspace.embeddings
    path, number = Path(out).expanduser() if out else folder / source.name, 1
    while not out and path.exists():
        number += 1
        path = folder / f"{source.stem}-{number}{source.suffix}"
    if path != source:
        copy_file(source, path)
        if move:
            source.unlink()
    return {"saved": str(path), "kind": _BESIDE[kind], "family": family or "unknown", "bytes": path.stat().st_size}


@with_libraries
def convert_offset(
    workspace: Workspace, name: str, *, to: str, base: str | None = None, out: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """Writes an adapter in another dialect ("diffusers" or "kohya"), or a pickle as safetensors.

    Args:
        base: the model it was made for, where what it changes depends on it (DoRA, LoHa, LoKr, OFT, …).

    Raises:
        StudioError: it has no such form.
    """
    from core.families import get
    from core.offsets.files import load_lora, read_offset
    from core.offsets.writing import readers_of, save_offset

    source = _named(workspace, name)
    if source.is_file() and is_pickle(source):
        path = target(workspace, out, source.stem)
        return {"would_write": str(path)} if dry_run else import_offset(workspace, source, str(path) if out else "")
    offset = read_offset(source)
    if to not in ("diffusers", "kohya"):
        raise StudioError("“{to}” is not a known dialect.", "Choose diffusers or kohya.", to=to[:40])
    path = target(workspace, out, f"{source.stem}-{to}")
    if dry_run:
        return {"would_write": str(path), "from": offset.format, "to": to, "layers": offset.layers}
    denoiser = None
    if base and offset.needs_base:
        folder = find_base(workspace, base)
        denoiser = get(family_of_base(folder)).denoiser(load_base(folder))
    loaded = load_lora(source, denoiser=denoiser)
    saved = save_offset(path, loaded, family=offset.family, provenance=offset.provenance, format=to)  # type: ignore[arg-type]
    return {
        "saved": str(path),
        "format": saved.format,
        "rank": saved.rank,
        "layers": saved.layers,
        "bytes": saved.size,
        "read_by": readers_of(loaded, to),  # type: ignore[arg-type]
    }


@with_libraries
def extract(
    workspace: Workspace,
    name: str,
    *,
    base: str = BUNDLED,
    rank: int | None = None,
    error: float | None = None,
    out: str = "",
    dry_run: bool = False,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Makes a low-rank offset of whole weights: the best of that rank, or the smallest under that error.

    Where norms or biases changed too, two files are written: the offset with them, for this studio, and its low-rank part
    alone, `…-low-rank`, for programs that refuse the rest.

    Raises:
        StudioError: the weights do not fit the base.
    """
    import torch

    from core.families import get
    from core.offsets.full import difference, exact, extract_offset, prediction_error
    from core.offsets.offset import Offset
    from core.offsets.writing import dialect_for_all, readers_of, save_offset

    source, folder = _named(workspace, name), find_base(workspace, base)
    path = target(workspace, out, f"{source.stem}-rank-{rank}" if rank else f"{source.stem}-error-{error}")
    if dry_run:
        return {"would_write": str(path), "base": folder.name, "rank": rank, "error": error}
    family = get(family_of_base(folder))
    pipe = load_base(folder)
    denoiser = family.denoiser(pipe)
    changes = difference(denoiser, source, family=family.name)
    extraction = extract_offset(changes, rank=rank, error=error, on_layer=on_layer)
    standard = family.defaults(pipe).size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, *family.latent_shape(pipe, standard)), generator=generator)
    t = torch.tensor([900, 650, 400, 150])
    cond = family.encode_prompt(pipe, [""] * 4, standard)
    predict = lambda net: family.predict(net, x, t, cond)  # noqa: E731
    lost = prediction_error(denoiser, exact(changes), extraction.offset, predict)
    provenance = {
        "base": folder.name,
        "recipe": "extracted from whole weights",
        "source": source.name,
        "rank": str(extraction.rank),
        "weight_error": f"{extraction.weight_error:.4f}",
        "prediction_error": f"{lost:.4f}",
    }
    save_offset(path, extraction.offset, family=family.name, provenance=provenance)
    files: dict[str, Any] = {
        "saved": str(path),
        "read_by": readers_of(extraction.offset, dialect_for_all(extraction.offset)),
    }
    if extraction.offset.dense and extraction.offset.low_rank:
        part = Offset(extraction.offset.low_rank)
        rest = prediction_error(denoiser, exact(changes), part, predict)
        beside = path.with_name(f"{path.stem}-low-rank{path.suffix}")
        save_offset(beside, part, family=family.name, provenance={**provenance, "prediction_error": f"{rest:.4f}"})
        files |= {
            "without_norms_and_biases": str(beside),
            "read_by_others": readers_of(part, dialect_for_all(part)),
            "prediction_error_without": round(rest, 4),
        }
    worst = sorted(extraction.captured.items(), key=lambda pair: pair[1])[:5]
    return {
        **files,
        "rank": extraction.rank,
        "layers": len(extraction.captured),
        "captured": round(1 - extraction.weight_error**2, 4),
        "weight_error": round(extraction.weight_error, 4),
        "prediction_error": round(lost, 4),
        "least_captured": {layer: round(share, 3) for layer, share in worst},
        "captured_by_layer": {layer: round(share, 4) for layer, share in extraction.captured.items()},
        "note": "The low-rank form is an approximation; the whole weights, used as they are, are exact.",
    }


@with_libraries
def merge(
    workspace: Workspace, name: str, *, scale: float, base: str = BUNDLED, out: str = "", dry_run: bool = False
) -> dict[str, Any]:
    """Folds scale times an offset into the base's denoiser and writes its whole weights: theta + scale * offset.

    Raises:
        StudioError: the offset does not fit the base, or the scale is out of range.
    """
    from core.families import get
    from core.offsets.full import merged_state, save_state

    if not -10 <= scale <= 10:
        raise StudioError(
            "A scale of {scale:g} is out of range.", "Choose a value from -10 to 10; Neon uses about -0.3.", scale=scale
        )
    source, folder = _named(workspace, name), find_base(workspace, base)
    path = target(workspace, out, f"{folder.name}-merged-{source.stem}")
    if dry_run:
        return {"would_write": str(path), "base": folder.name, "scale": scale}
    family = get(family_of_base(folder))
    pipe = load_base(folder)
    denoiser = family.denoiser(pipe)
    state = merged_state(denoiser, load_offset(source, family.name, denoiser), scale)
    provenance = {"base": folder.name, "recipe": "merged", "source": source.name, "scale": f"{scale:g}"}
    save_state(path, state, family=family.name, provenance=provenance)
    return {"saved": str(path), "base": folder.name, "scale": scale, "bytes": path.stat().st_size}
