"""`evaluate search | preset | score`: a good setting searched, kept with its evidence, and pictures that exist already."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Show = Callable[[Any, str], None]
AXES = ("omega", "alpha", "beta", "beta_split")


def add_search(evaluate: Any, common: Callable[..., None]) -> None:
    """The commands, under `evaluate`."""
    search = evaluate.add_parser(
        "search",
        help="search for a good setting by successive halving over prompts; confirmed on prompts it was not chosen on",
    )
    search.add_argument("search", nargs="?", default="", help="the id of a search to go on with")
    for name in ("base", "negative", "positive"):
        search.add_argument(f"--{name}", default=None, help="of the library, or a file")
    search.add_argument("--prompts", default=None, metavar="FILE_OR_COUNT", help="half of them confirm the result")
    search.add_argument("--scorers", default=None, metavar="NAMES", help="the first decides")
    search.add_argument("--cfg", default=None, metavar="OMEGAS", help="ω of plain CFG that take part as well")
    for name in AXES:
        search.add_argument(f"--{name.replace('_', '-')}", dest=name, default="", help="values: 1,2,4 or 0:2:0.5")
    search.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="steps, seed, batch, controls, …")
    search.add_argument("--name", default="", help="name of the search")
    search.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    preset = evaluate.add_parser(
        "preset", help="save the setting of an evaluation, or its best cell, with the evidence"
    )
    preset.add_argument("evaluation", help="its id, or its folder")
    preset.add_argument("--name", default="", help="name of the preset")
    preset.add_argument("--replace", action="store_true", help="in place of one of that name")
    score = evaluate.add_parser("score", help="score two folders of pictures that exist already, in pairs")
    score.add_argument("without", help="numbered pictures, the prompt beside each as .txt")
    score.add_argument("with_", metavar="with", help="the same with the setting that is measured")
    score.add_argument("--scorers", required=True, metavar="NAMES", help="separated by commas")
    score.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    common(search, dry_run=True)
    for command in (preset, score):
        common(command, dry_run=False)


def search(options: argparse.Namespace, workspace: Any, show: Show) -> int:
    """Begins a search or goes on with one."""
    from app.evaluate_commands import settings_of
    from core.studio.evaluating.events import ChunkDone
    from core.studio.evaluating.search import Search, create_search, read_search, rounds_of, run_search

    name = options.search
    if not name:
        asked = Search(settings_of(options), **{axis: getattr(options, axis) for axis in AXES})
        planned = rounds_of(asked)
        cost = sum(one.row_forwards for one in planned)
        text = "\n".join(
            f"round {number}: {one.candidates} settings and {one.plain} of plain CFG on {one.count} prompts, "
            f"{one.row_forwards} row-forwards"
            for number, one in enumerate(planned, 1)
        )
        if options.dry_run:
            show(
                {"row_forwards": cost, "rounds": [vars(one) for one in planned]}, f"{text}\n{cost} row-forwards in all"
            )
            return 0
        name = create_search(workspace, asked, options.name)
        print(f"{name}\n{text}\n{cost} row-forwards in all", file=sys.stderr)
    for event in run_search(workspace, name, cpu=options.cpu):
        if isinstance(event, ChunkDone):
            print(f"\rchunk {event.done} of {event.total} ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    result = read_search(workspace, name)["result"]
    winner = ", ".join(f"{key} {value:g}" for key, value in result["winner"].items())
    show(
        {"search": name, **result},
        f"{winner}\n{result['verdict']}\n{result['row_forwards']} row-forwards, {result['seconds']:.0f} s; keep it with\n"
        f"  evaluate preset {result['confirmed_by']} --name NAME",
    )
    return 0


def preset(options: argparse.Namespace, workspace: Any, show: Show) -> int:
    """Saves a setting as a preset with its evidence."""
    from app.evidence import save_with_evidence
    from core.studio.evaluating.folder import get_evaluation

    evaluation = get_evaluation(workspace, options.evaluation)
    saved = save_with_evidence(workspace, evaluation, options.name, replace=options.replace)
    lines = [f"preset {saved.path.stem}", *(one["text"] for one in saved.evidence)]
    show({"preset": saved.path.stem, "settings": saved.values, "evidence": saved.evidence}, "\n".join(lines))
    return 0


def score(options: argparse.Namespace, workspace: Any, show: Show) -> int:
    """Scores two folders."""
    from core.studio.evaluating.galleries import score_folders
    from core.studio.evaluating.work import device_of

    folders = [Path(name).expanduser().resolve() for name in (options.without, options.with_)]
    names = [name.strip() for name in options.scorers.split(",") if name.strip()]
    figures = score_folders(workspace, folders[0], folders[1], names, device=device_of(cpu=options.cpu))
    lines = [f"{figures['pairs']} pairs"]
    for one in figures["scorers"].values():
        change, wins = one["difference"], one["wins"]
        lines.append(
            f"{one['title']}: {change['value']:+.4g} [{change['low']:+.4g}, {change['high']:+.4g}], wins "
            f"{wins['value']:.1%} [{wins['low']:.0%}, {wins['high']:.0%}], sign test p {one['p']:.2g}"
        )
    lines += [f"missing: {name}" for name in figures["missing"][:20]]
    if len(figures["missing"]) > 20:
        lines.append(f"and {len(figures['missing']) - 20} more")
    show(figures, "\n".join(lines))
    return 1 if figures["missing"] else 0
