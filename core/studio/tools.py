"""What the command line and the page ask about offsets and speed, as plain data. Heavy imports happen inside."""

from __future__ import annotations

from typing import Any

from core.studio.bases import BUNDLED, find_base, find_offset
from core.studio.workspace import ASSETS, Workspace


def offset_info(workspace: Workspace, name: str) -> dict[str, Any]:
    """What an offset is: family, kind, rank, layers, size, and its provenance.

    Raises:
        StudioError: no such offset, or no file this studio reads.
    """
    from core.errors import StudioError
    from core.offsets.offset import read_offset

    path = find_offset(workspace, name)
    if path is None:
        raise StudioError("No offset was named.", "Name a file or an offset of the library.")
    offset = read_offset(path)
    return {
        "file": path.name,
        "family": offset.family,
        "kind": offset.kind,
        "rank": offset.rank,
        "layers": offset.layers,
        "bytes": offset.size,
        **offset.provenance,
    }


def measure_guidance(
    workspace: Workspace, base: str | None, negative: str | None, *, rounds: int, images: int, cpu: bool
) -> dict[str, Any]:
    """`core.generation.bench.bench_guidance` on a base of the library."""
    import torch

    from core.families import detect, get
    from core.generation.bench import bench_guidance
    from core.offsets.offset import load_low_rank

    folder = find_base(workspace, base or BUNDLED)
    file = find_offset(workspace, negative or "") or ASSETS / "offsets" / "sd15-mini-negative.safetensors"
    family = get(detect(folder))
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    pipe = family.load(folder, device=device)
    return bench_guidance(pipe, family, load_low_rank(file, family=family.name), rounds=rounds, images=images)
