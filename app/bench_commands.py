"""`bench`: measures on this machine, prints a table, and writes what it measured as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import StudioError

SIZES = ("sd15", "sdxl", "cogvideox-2b", "cogvideox-5b")
OFFSETS = "a base of the library, or a folder"
KINDS = {
    "guidance": "plain CFG, the row gate, two networks and set_adapters in one run",
    "training": "a training step beside the published schedule",
    "memory": "what trainings and renderings take, computed for the true sizes",
    "sweep": "what a picture costs as columns grow from 1 to 32",
    "start": "from the command to a served page",
    "evaluate": "pairs a minute: both columns in one batch, beside two renderings",
    "full-size": "a true architecture with random weights: time and memory of a forward",
}
COLUMNS = {
    "way": "",
    "time": "time over {floor}",
    "milliseconds": "ms",
    "seconds": "s",
    "worst": "worst s",
    "weights": "weights over {floor}",
    "row_forwards": "row-forwards",
    "with_own_samples": "with own samples",
    "pairs_a_minute": "pairs a minute",
    "gib": "GiB",
    "source": "from",
    "difference": "difference",
}
"""The columns of a table, in their order, with their heads."""


def add_bench(commands: Any, common: Callable[..., None]) -> None:
    """`bench KIND` and `bench --all`."""
    bench = commands.add_parser(
        "bench", help="measure on this machine; --all measures everything, for docs/performance.md"
    )
    bench.add_argument("--all", action="store_true", help="every kind, the sizes that fit a card where there is one")
    kinds = bench.add_subparsers(dest="action")
    parsers = {kind: kinds.add_parser(kind, help=meaning) for kind, meaning in KINDS.items()}
    parsers["full-size"].add_argument("model", choices=SIZES)
    parsers["full-size"].add_argument("--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parsers["full-size"].add_argument(
        "--rows", type=int, default=2, help="of one forward; of an even number the row gate is timed, too"
    )
    for kind in ("guidance", "training", "sweep", "evaluate"):
        parsers[kind].add_argument("--base", default=None, help=OFFSETS)
    for kind in ("guidance", "sweep", "evaluate"):
        parsers[kind].add_argument("--negative", default=None, help="an offset; default: the bundled one")
    parsers["guidance"].add_argument("--images", type=int, default=4, help="images of a batch")
    parsers["training"].add_argument("--batch", type=int, default=4, help="samples of a step")
    parsers["guidance"].add_argument("--compile", dest="compiled_too", action="store_true", help="compiled blocks, too")
    parsers["guidance"].add_argument(
        "--attention",
        default="",
        metavar="NAME,NAME",
        help="implementations to compare: sdpa, xformers, plain; the first is what the others are measured against",
    )
    for kind, parser in parsers.items():
        parser.add_argument(
            "--rounds", type=int, default=3 if kind in ("full-size", "start") else 15, help="interleaved"
        )
    for parser in (bench, *parsers.values()):
        parser.add_argument(
            "--out", metavar="FILE", default="", help="JSON file; default: in the workspace's folder bench"
        )
        parser.add_argument("--cpu", action="store_true", help="do not use a graphics card")
        common(parser, dry_run=True)


def table(measured: dict[str, Any]) -> str:
    """A measurement as a person reads it: what it was measured on, then a line for each way."""
    machine = measured["machine"]
    facts = [
        f"{measured['bench']}: {measured.get('model', '')}".rstrip(": "),
        *(
            f"{name} {measured[name]}"
            for name in ("device", "precision", "clock", "rounds", "batch_rows")
            if name in measured
        ),
    ]
    where = [
        machine["gpu"] if machine["gpu"] != "none" else f"{machine['processors']} processor cores",
        f"{machine['memory_gib']} GiB",
        machine["system"],
        f"Python {machine['python']}",
        *(f"{name} {machine['packages'][name]}" for name in ("torch", "diffusers", "peft")),
    ]
    lines = ["  ".join(facts), "  ".join([measured["when"], *where])]
    if measured.get("rival"):
        lines.append(
            f"floor: {measured['floor']}; rival: {measured['rival']}; medians with 5 and 95 % of the rounds' ratios"
        )
    rows = measured.get("rows")
    if not isinstance(rows, list):
        skipped = ("machine", "bench", "when", "model")
        return "\n".join([*lines, *(f"{name}: {value}" for name, value in measured.items() if name not in skipped)])
    present = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    heads = [COLUMNS[name].format(floor=measured["floor"]) for name in present]
    cells = [heads, *([_cell(row.get(name)) for name in present] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(present))]
    for line in cells:
        first, *others = (
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    for name in ("rule", "slider_milliseconds", "compile_fault", "peak_gib_of_all", "reserve_gib"):
        if measured.get(name):
            lines.append(f"{name.replace('_', ' ')}: {measured[name]}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return f"{value['median']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{value:.3g}" if isinstance(value, float) and value < 0.01 else str(value)


def _measure(kind: str, options: argparse.Namespace, workspace: Any) -> dict[str, Any]:
    from core.studio import measure

    base, rounds = getattr(options, "base", None), options.rounds
    if kind == "full-size":
        return measure.measure_full_size(
            workspace, options.model, precision=options.precision, rows=options.rows, rounds=rounds, cpu=options.cpu
        )
    if kind == "memory":
        return measure.measure_memory(workspace)
    if kind == "start":
        return measure.measure_start(workspace, rounds=rounds)
    if kind == "training":
        return measure.measure_training(workspace, base, rounds=rounds, batch=options.batch, cpu=options.cpu)
    if kind == "guidance":
        return measure.measure_guidance(
            workspace,
            base,
            options.negative,
            rounds=rounds,
            images=options.images,
            cpu=options.cpu,
            compared=tuple(options.attention.split(",")) if options.attention else (),
            compiled=options.compiled_too,
        )
    measuring = measure.measure_sweep if kind == "sweep" else measure.measure_evaluate
    return measuring(workspace, base, options.negative, rounds=rounds, cpu=options.cpu)


def _everything(options: argparse.Namespace, workspace: Any) -> list[dict[str, Any]]:
    """Each kind, on the bundled models; of the true sizes those that fit the card."""
    from core.studio.measure import sizes_that_fit

    common: dict[str, Any] = {"negative": None, "attention": "", "batch": 4, "cpu": options.cpu}
    plans: list[tuple[str, dict[str, Any]]] = [
        ("guidance", {"base": base, "images": images, "rounds": 15, "compiled_too": sizes_that_fit(options.cpu) != ()})
        for base in ("miniature-sd15", "miniature-cogvideox")
        for images in (1, 4)
    ]
    plans += [
        ("training", {"rounds": 7}),
        ("sweep", {"rounds": 5}),
        ("evaluate", {"rounds": 5}),
        ("start", {"rounds": 3}),
    ]
    plans += [("memory", {"rounds": 1})]
    for model, precision in sizes_that_fit(options.cpu):
        plans.append(("full-size", {"model": model, "precision": precision, "rows": 2, "rounds": 9}))
    done = []
    for kind, changes in plans:
        print(f"{kind} {changes.get('base') or changes.get('model', '')} …", file=sys.stderr, flush=True)
        done.append(_measure(kind, argparse.Namespace(**{**common, "base": None, **changes}), workspace))
    return done


def run_bench(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `bench …` says.

    Raises:
        StudioError: nothing to measure was named, or it cannot be measured here.
    """
    from core.files import write_json

    if bool(options.action) == options.all:
        raise StudioError("Name what to measure, or --all.", "Choose {kinds}.", kinds=", ".join(KINDS))
    name = options.action or "all"
    if options.dry_run:
        print(f"{name}: {KINDS.get(name, 'everything')}")
        return 0
    measured: Any = _everything(options, workspace) if options.all else _measure(name, options, workspace)
    every = measured if options.all else [measured]
    file = (
        Path(options.out).expanduser() if options.out else workspace.root / "bench" / f"{name}-{every[0]['when']}.json"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, measured)
    show(measured, "\n\n".join([*(table(one) for one in every), f"Written to {file.name}."]))
    return 0
