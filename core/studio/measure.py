"""What `bench` measures, on models of the library and on true architectures. Heavy imports happen inside."""

from __future__ import annotations

import time
from typing import Any

from core.families.libraries import with_libraries
from core.studio.library.choose import BUNDLED, family_of_base, find_base, find_offset
from core.studio.library.load import load_base
from core.studio.workspace import ASSETS, Workspace


@with_libraries
def measure_guidance(
    workspace: Workspace,
    base: str | None,
    negative: str | None,
    *,
    rounds: int,
    images: int,
    cpu: bool,
    compared: tuple[str, ...] = (),
) -> dict[str, Any]:
    """`core.generation.bench.bench_guidance` on a base of the library.

    Args:
        compared: implementations of attention that are timed beside it, the first against the others.
    """
    import torch

    from core.families import get
    from core.generation.bench import bench_attention, bench_guidance
    from core.offsets.files import load_lora

    folder = find_base(workspace, base or BUNDLED)
    file = find_offset(workspace, negative or "") or ASSETS / "offsets" / "sd15-mini-negative.safetensors"
    family = get(family_of_base(folder))
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    pipe = load_base(folder, device=device)
    offset = load_lora(file, family=family.name, denoiser=family.denoiser(pipe))
    measured = bench_guidance(pipe, family, offset, rounds=rounds, images=images)
    if compared:
        measured["attention"] = bench_attention(pipe, family, compared, rounds=rounds, images=images)
    return measured


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

    dtype = getattr(torch, precision)
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    began = time.monotonic()
    denoiser = build_denoiser(name, ASSETS / "configs", dtype=dtype, device=device)
    built = time.monotonic() - began
    timings = bench_rows(denoiser, get(detect(ASSETS / "configs" / name)), rows=rows, rounds=rounds)
    return {"model": name, "precision": precision, "build_seconds": round(built, 1), **timings}
