"""What `bench` measures, on models of the library and on true architectures. Heavy imports happen inside."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from core.families.libraries import with_libraries
from core.studio.library.choose import BUNDLED, family_of_base, find_base, find_offset
from core.studio.library.load import load_base
from core.studio.workspace import ASSETS, Workspace


def _facts(workspace: Workspace, name: str, measured: dict[str, Any]) -> dict[str, Any]:
    """A measurement with when and where it was made."""
    from core.studio.doctor import facts

    known = facts(workspace, ask_hub=False)
    machine = {key: known[key] for key in ("studio", "python", "system", "packages", "gpu", "processors", "memory_gib")}
    return {"bench": name, "when": time.strftime("%Y-%m-%d"), "machine": machine, **measured}


def _loaded(workspace: Workspace, base: str | None, negative: str | None, cpu: bool) -> tuple[Any, Any, Any]:
    """The pipeline, family and negative offset that are measured."""
    import torch

    from core.families import get
    from core.studio.library.load import load_offset

    folder = find_base(workspace, base or BUNDLED)
    family = get(family_of_base(folder))
    bundled = ASSETS / "offsets" / f"{family.name}-mini-negative.safetensors"
    file = find_offset(workspace, negative or "") or bundled
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    pipe = load_base(folder, device=device)
    return pipe, family, load_offset(file, family.name, family.denoiser(pipe))


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
    compiled: bool = False,
) -> dict[str, Any]:
    """`core.generation.bench.bench_guidance` on a base of the library.

    Args:
        compared: implementations of attention that are timed beside it, the first against the others.
        compiled: with compiled blocks, too.
    """
    from core.generation.bench import Guided, bench_attention, bench_guidance, example_of

    pipe, family, offset = _loaded(workspace, base, negative, cpu)
    guided = Guided(family.denoiser(pipe), family, offset, example_of(pipe, family, images))
    measured = bench_guidance(guided, rounds=rounds, compiled=compiled)
    if compared:
        measured["attention"] = bench_attention(pipe, family, compared, rounds=rounds, images=images)
    return _facts(workspace, "guidance", {"model": base or BUNDLED, **measured})


@with_libraries
def measure_sweep(
    workspace: Workspace, base: str | None, negative: str | None, *, rounds: int, cpu: bool
) -> dict[str, Any]:
    """What a picture costs as columns grow from 1 to 32, `core.generation.bench.bench_sweep`."""
    from core.generation.bench import bench_sweep

    pipe, family, offset = _loaded(workspace, base, negative, cpu)
    measured = bench_sweep(pipe, family, offset, columns=(1, 2, 4, 8, 16, 32), rounds=rounds)
    return _facts(workspace, "sweep", {"model": base or BUNDLED, **measured})


@with_libraries
def measure_training(workspace: Workspace, base: str | None, *, rounds: int, batch: int, cpu: bool) -> dict[str, Any]:
    """`core.training.bench.bench_training` on a base of the library."""
    from core.training.bench import bench_training

    pipe, family, _ = _loaded(workspace, base, None, cpu)
    measured = bench_training(pipe, family, rounds=rounds, batch=batch, cpu=cpu)
    return _facts(workspace, "training", {"model": base or BUNDLED, **measured})


@with_libraries
def measure_memory(workspace: Workspace) -> dict[str, Any]:
    """The computed table of memory, with what was measured on this machine's card beside it where there is one."""
    from core.studio.memory import RESERVE, table

    computed = table()
    rows = [
        {
            "way": f"{row['model']}, LoRA of rank {computed['rank']}, batch {row['batch_size']}"
            + (", checkpointing" if row["gradient_checkpointing"] else ""),
            "gib": round(row["bytes"] / 2**30, 2),
            "source": "computed",
        }
        for row in computed["rows"]
    ]
    for row in computed["rendering"]:
        for way, taken in _rendering_in_each_way(row).items():
            rows.append(
                {"way": f"{row['model']}, rendering, 2 rows{way}", "gib": round(taken / 2**30, 2), "source": "computed"}
            )
    facts = {
        "floor": "",
        "rival": "",
        "reserve_gib": round(RESERVE / 2**30, 2),
        "precision": computed["precision"],
        "rows": rows,
    }
    return _facts(workspace, "memory", facts)


def _rendering_in_each_way(row: dict[str, Any]) -> dict[str, float]:
    """Bytes at the peak of a rendering of two rows in half precision, by what is chosen to save memory."""
    import torch

    from core.families.full_size import build_denoiser
    from core.families.saving import SHARE_OF_WEIGHTS

    denoiser = build_denoiser(row["model"], ASSETS / "configs", dtype=torch.bfloat16, device="meta")
    weights = 2 * sum(parameter.numel() for parameter in denoiser.parameters())
    layer = 2 * max(sum(p.numel() for p in part.parameters(recurse=False)) for part in denoiser.modules())
    saved = weights * (1 - SHARE_OF_WEIGHTS["layerwise-casting"])
    others = row["fixed"] - weights
    eight_bits = max(weights - saved, row["largest"] if row["largest"] > 1.1 * weights else others)
    tiled = max(2 * row["row"], row["tiled"])
    return {
        "": row["fixed"] + max(2 * row["row"], row["picture"]),
        ", --medvram": row["largest"] + max(2 * row["row"], row["picture"]),
        ", layerwise-casting or int8": row["fixed"] - saved + max(2 * row["row"], row["picture"]),
        ", --lowvram, layerwise-casting": eight_bits + tiled,
        # the layer that computes and the one that comes
        ", group-offload,vae-tiling": 2 * layer + tiled,
    }


def measure_start(workspace: Workspace, *, rounds: int) -> dict[str, Any]:
    """Seconds from the command to a served page, and from the page to the libraries and the model being loaded behind it: whole
    programs, on a port of their own, that are ended afterwards."""
    served, first_page = [], []
    for _ in range(rounds):
        began = time.monotonic()
        with _started(workspace) as address:
            served.append(time.monotonic() - began)
            with urllib.request.urlopen(address, timeout=60) as page:
                page.read()
            first_page.append(time.monotonic() - began)
    rows = [
        {
            "way": "command to served page",
            "seconds": round(statistics.median(served), 2),
            "worst": round(max(served), 2),
        },
        {
            "way": "command to the page's text",
            "seconds": round(statistics.median(first_page), 2),
            "worst": round(max(first_page), 2),
        },
    ]
    return _facts(workspace, "start", {"floor": "", "rival": "", "rounds": rounds, "clock": "wall", "rows": rows})


@contextlib.contextmanager
def _started(workspace: Workspace) -> Iterator[str]:
    """A page of its own over this workspace's kind of folder; its address, once it says it is ready."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "app", "--no-browser", "--cpu", "--port", "7990", "--workspace", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ASSETS.parent)
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if "http" in line), "")
            yield next(word for word in line.split() if word.startswith("http"))
        finally:
            process.terminate()
            process.wait(timeout=60)


@with_libraries
def measure_evaluate(
    workspace: Workspace, base: str | None, negative: str | None, *, rounds: int, cpu: bool
) -> dict[str, Any]:
    """Pairs a minute of an evaluation's inner work, CFG and NPO of one prompt and seed: both columns in one batch, beside two renderings."""
    from core.families.timing import clock_name, interleaved, plainly, ratio
    from core.generation.comparison import Comparison
    from core.generation.rendering import render
    from core.method.guidance import GuidanceWeights

    pipe, family, offset = _loaded(workspace, base, negative, cpu)
    npo = GuidanceWeights(omega=2.0, beta=1.0)
    whole = Comparison(prompt="a red circle", columns=(npo.plain(), npo), steps=8)

    def together() -> Any:
        return render(pipe, family, whole, negative=offset)

    def apart() -> Any:
        return [
            render(pipe, family, dataclasses.replace(whole, columns=(column,)), negative=offset)
            for column in whole.columns
        ]

    device = next(family.denoiser(pipe).parameters()).device
    times, _ = interleaved({"two renderings": plainly(apart), "one batch": plainly(together)}, rounds, device)
    rows = [
        {
            "way": way,
            "time": ratio(taken, times["two renderings"]),
            "pairs_a_minute": round(60 / statistics.median(taken), 1),
        }
        for way, taken in times.items()
    ]
    facts = {
        "floor": "two renderings",
        "rival": "two renderings",
        "clock": clock_name(device),
        "rounds": rounds,
        "rows": rows,
    }
    return _facts(workspace, "evaluate", {"model": base or BUNDLED, "device": str(device), **facts})


def sizes_that_fit(cpu: bool) -> tuple[tuple[str, str], ...]:
    """The true architectures that this machine's card has room for, each with the precisions to measure; none without a card."""
    import torch

    if cpu or not torch.cuda.is_available():
        return ()
    from core.studio.memory import RESERVE, table

    room = torch.cuda.get_device_properties(0).total_memory - RESERVE
    fitting = [row["model"] for row in table()["rendering"] if row["largest"] + 2 * row["row"] <= room]
    return tuple((model, precision) for model in fitting for precision in ("bfloat16", "float16"))


@with_libraries
def measure_full_size(
    workspace: Workspace, name: str, *, precision: str, rows: int, rounds: int, cpu: bool
) -> dict[str, Any]:
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
    facts = {"model": name, "precision": precision, "build_seconds": round(built, 1), **timings}
    return _facts(workspace, "full-size", facts)
