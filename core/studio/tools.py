"""What the command line and the page do with offsets and speed, as plain data. Heavy imports happen inside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.families.libraries import with_libraries
from core.offsets.header import is_pickle
from core.studio.bases import BUNDLED, family_of_base, find_base, find_offset
from core.studio.workspace import ASSETS, Workspace, slug


def _named(workspace: Workspace, name: str) -> Path:
    path = find_offset(workspace, name)
    if path is None:
        raise StudioError("No offset was named.", "Name a file or an offset of the library.")
    return path


@with_libraries
def offset_info(workspace: Workspace, name: str) -> dict[str, Any]:
    """What an offset is: family, kind, format, rank, layers, size, notes, and its provenance.

    Raises:
        StudioError: no such offset, or no file this studio reads.
    """
    from core.offsets.offset import read_offset

    offset = read_offset(_named(workspace, name))
    return {
        "file": offset.path.name,
        "family": offset.family or "unknown",
        "kind": offset.kind,
        "format": offset.format,
        "rank": offset.rank,
        "layers": offset.layers,
        "bytes": offset.size,
        **({"notes": "; ".join(offset.notes)} if offset.notes else {}),
        **offset.provenance,
    }


def target(workspace: Workspace, out: str, name: str, ending: str = ".safetensors") -> Path:
    """Where a new offset goes: the path asked for, else a free name in the workspace's offsets."""
    if out:
        path = Path(out).expanduser()
        if path.suffix != ending:
            raise StudioError(f"“{path.name}” must end with {ending}.", f"Write {path.stem}{ending}.")
        if path.exists():
            raise StudioError(f"“{path.name}” exists already.", "Choose another name; nothing is overwritten.")
        return path
    stem, number = slug(name), 1
    while (path := workspace.offsets / f"{stem}{'' if number == 1 else f'-{number}'}{ending}").exists():
        number += 1
    return path


@with_libraries
def import_offset(workspace: Workspace, source: Path, out: str = "") -> dict[str, Any]:
    """Copies a dropped or named weights file into the workspace, converted from a pickle where it is one.

    Raises:
        StudioError: it is nothing this studio reads; nothing is left behind then.
    """
    import shutil

    from core.offsets.offset import read_offset
    from core.offsets.unpickle import convert_pickle

    path = target(workspace, out, source.stem)
    if is_pickle(source):
        convert_pickle(source, path)
    else:
        read_offset(source)
        staged = path.with_suffix(".tmp")
        try:
            shutil.copyfile(source, staged)
            staged.replace(path)
        except OSError as error:
            staged.unlink(missing_ok=True)
            raise StudioError(f"“{path.name}” could not be written.", "Free disk space.") from error
    try:
        return {"saved": str(path), **offset_info(workspace, str(path))}
    except StudioError:
        path.unlink(missing_ok=True)
        raise


@with_libraries
def convert_offset(workspace: Workspace, name: str, *, to: str, out: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Writes a LoRA in another dialect ("diffusers" or "kohya"), or a pickle as safetensors.

    Raises:
        StudioError: it has no such form.
    """
    from core.offsets.offset import load_low_rank, read_offset, save_offset

    source = _named(workspace, name)
    if is_pickle(source):
        path = target(workspace, out, source.stem)
        return {"would_write": str(path)} if dry_run else import_offset(workspace, source, str(path) if out else "")
    offset = read_offset(source)
    if to not in ("diffusers", "kohya"):
        raise StudioError(f"There is no dialect “{to[:40]}”.", "Choose diffusers or kohya.")
    path = target(workspace, out, f"{source.stem}-{to}")
    if dry_run:
        return {"would_write": str(path), "from": offset.format, "to": to, "layers": offset.layers}
    layers = load_low_rank(source)
    provenance = {key: value for key, value in offset.provenance.items() if key != "lora_adapter_metadata"}
    saved = save_offset(path, layers, family=offset.family, provenance=provenance, format=to)  # type: ignore[arg-type]
    return {"saved": str(path), "format": saved.format, "rank": saved.rank, "layers": saved.layers, "bytes": saved.size}


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

    Raises:
        StudioError: the weights do not fit the base.
    """
    import torch

    from core.families import get
    from core.offsets.full import difference, exact, extract_offset, prediction_error
    from core.offsets.offset import save_offset

    source, folder = _named(workspace, name), find_base(workspace, base)
    path = target(workspace, out, f"{source.stem}-rank-{rank}" if rank else f"{source.stem}-error-{error}")
    if dry_run:
        return {"would_write": str(path), "base": folder.name, "rank": rank, "error": error}
    family = get(family_of_base(folder))
    pipe = load_base(folder)
    denoiser = family.denoiser(pipe)
    changes = difference(denoiser, source, family=family.name)
    found = extract_offset(changes, rank=rank, error=error, on_layer=on_layer)
    standard = family.defaults(pipe).size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((4, *family.latent_shape(pipe, standard)), generator=generator)
    t = torch.tensor([900, 650, 400, 150])
    cond = family.encode_prompt(pipe, [""] * 4, standard)
    lost = prediction_error(denoiser, exact(changes), found.offset, lambda net: family.predict(net, x, t, cond))
    provenance = {
        "base": folder.name,
        "recipe": "extracted from whole weights",
        "source": source.name,
        "rank": str(found.rank),
        "weight_error": f"{found.weight_error:.4f}",
        "prediction_error": f"{lost:.4f}",
    }
    save_offset(path, found.offset, family=family.name, provenance=provenance)
    worst = sorted(found.captured.items(), key=lambda pair: pair[1])[:5]
    return {
        "saved": str(path),
        "rank": found.rank,
        "layers": len(found.captured),
        "captured": round(1 - found.weight_error**2, 4),
        "weight_error": round(found.weight_error, 4),
        "prediction_error": round(lost, 4),
        "least_captured": {layer: round(share, 3) for layer, share in worst},
        "captured_by_layer": {layer: round(share, 4) for layer, share in found.captured.items()},
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
        raise StudioError(f"A scale of {scale:g} is out of range.", "Choose -10 to 10; Neon uses about -0.3.")
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


def load_base(base: Path, *, dtype: Any = None, device: str = "cpu") -> Any:
    """The pipeline of a base: a diffusers folder, or a single file of a true architecture."""
    import torch

    from core.families import get

    family, dtype = family_of_base(base), dtype or torch.float32
    if base.is_file():
        from core.families.full_size import load_single_file

        return load_single_file(base, family, ASSETS / "configs", dtype=dtype, device=device)
    return get(family).load(base, dtype=dtype, device=device)


def load_offset(path: Path, family: str, denoiser: Any) -> Any:
    """An offset ready for the row gate: a LoRA's layers, or the exact difference of whole weights from this base."""
    from core.offsets.full import difference, exact
    from core.offsets.offset import load_low_rank, read_offset

    if read_offset(path).kind == "lora":
        return load_low_rank(path, family=family)
    return exact(difference(denoiser, path, family=family))


def load_control(path: Path, family: str) -> Any:
    """A ControlNet or T2I-Adapter, from local safetensors alone.

    Raises:
        StudioError: it is of another family, incomplete or damaged.
    """
    import json

    import diffusers

    from core.families import get
    from core.studio.library import kind_of

    own = kind_of(path)[1]
    if own != family:
        raise StudioError(
            f"“{path.name}” is a control network of {get(own).title}, the base model is {get(family).title}.",
            "Choose one of the same family.",
        )
    name = json.loads((path / "config.json").read_text(encoding="utf-8"))["_class_name"]
    try:
        loaded = getattr(diffusers, name).from_pretrained(path, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise StudioError(
            f"The control network “{path.name}” could not be loaded: {type(error).__name__}.",
            "It is incomplete, damaged or a pickle: fetch it again as safetensors.",
        ) from error
    return loaded.eval()


@with_libraries
def measure_guidance(
    workspace: Workspace, base: str | None, negative: str | None, *, rounds: int, images: int, cpu: bool
) -> dict[str, Any]:
    """`core.generation.bench.bench_guidance` on a base of the library."""
    import torch

    from core.families import get
    from core.generation.bench import bench_guidance
    from core.offsets.offset import load_low_rank

    folder = find_base(workspace, base or BUNDLED)
    file = find_offset(workspace, negative or "") or ASSETS / "offsets" / "sd15-mini-negative.safetensors"
    family = get(family_of_base(folder))
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    pipe = load_base(folder, device=device)
    return bench_guidance(pipe, family, load_low_rank(file, family=family.name), rounds=rounds, images=images)


@with_libraries
def measure_full_size(name: str, *, precision: str, rows: int, rounds: int, cpu: bool) -> dict[str, Any]:
    """Time and memory of the denoiser of a true architecture with random weights, in row-forwards at its own size.

    Raises:
        StudioError: no such architecture, or not enough memory.
    """
    import torch

    from core.families import detect, get
    from core.families.full_size import build_denoiser
    from core.generation.bench import bench_rows

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    began = time.monotonic()
    denoiser = build_denoiser(name, ASSETS / "configs", dtype=dtype, device=device)
    built = time.monotonic() - began
    told = bench_rows(denoiser, get(detect(ASSETS / "configs" / name)), rows=rows, rounds=rounds)
    return {"model": name, "precision": precision, "build_seconds": round(built, 1), **told}
