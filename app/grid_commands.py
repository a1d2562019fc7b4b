"""`grid` and `score`: what the page's Grid does, and the scores of pictures, on the command line."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.arguments import add_rendering, rendering_values
from app.attention import add_attention
from core.errors import StudioError


def add_grid(commands: Any, common: Callable[..., None]) -> None:
    """`grid`."""
    grid = commands.add_parser("grid", help="render two settings against each other, a third as pages")
    add_rendering(grid)
    for flag, what in (("--x", "across"), ("--y", "down"), ("--pages", "from page to page")):
        grid.add_argument(
            flag, metavar="NAME=VALUES", default="", help=f"what changes {what}: beta=0,1,2 or omega=1:6:1"
        )
    grid.add_argument("--seeds", type=int, default=1, help="pictures of each cell, 1 to 16 (1)")
    grid.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    add_attention(grid)
    common(grid, dry_run=True)


def add_score(commands: Any, common: Callable[..., None]) -> None:
    """`score`."""
    score = commands.add_parser("score", help="score pictures with the prompts that are in them")
    score.add_argument("files", nargs="+", metavar="FILE", help="pictures that this studio or another program made")
    score.add_argument("--scorer", nargs="*", default=["judge-preference"], help="see `evaluate scorers`")
    score.add_argument("--prompt", default=None, help="for pictures without one")
    add_attention(score)
    common(score, dry_run=False)


def _axis(text: str, flag: str) -> Any:
    from core.studio.comparing.grid import parse_axis

    name, mark, values = text.partition("=")
    if text and not mark:
        raise StudioError("{flag} needs a setting and its values.", "Write for example {flag} beta=0,1,2.", flag=flag)
    return parse_axis(name, values.replace("|", "\n") if name == "prompt" else values)


def run_grid(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Renders the grid; prints each cell's file and score, and the whole grid's pictures."""
    from core.generation.settings import FIELDS
    from core.studio.comparing.engine import Engine
    from core.studio.comparing.events import Note
    from core.studio.comparing.grid import Cell, Sheet, cells, render_grid

    seeds = FIELDS["images"].checked(options.seeds)
    values = rendering_values(options, workspace)
    x, y, pages = (_axis(getattr(options, name), f"--{name}") for name in ("x", "y", "pages"))
    planned = cells(values, x, y, pages, seeds)
    if options.dry_run:
        facts = {"cells": len(planned), "pictures": len(planned) * seeds, **values}
        show(facts, "\n".join(f"{key} = {value!r}" for key, value in facts.items()))
        return 0
    done: list[Cell] = []
    sheets: tuple[Path, ...] = ()
    for event in render_grid(Engine(workspace, cpu=options.cpu), values, x, y, pages, seeds=seeds):
        if isinstance(event, Cell):
            done.append(event)
        elif isinstance(event, Sheet):
            sheets = event.paths
        elif isinstance(event, Note):
            print(event.text, file=sys.stderr)
    done.sort(key=lambda cell: (cell.place[2], cell.place[1], cell.place[0], cell.nth))
    rows = [
        {
            "file": str(c.saved.path),
            "place": list(c.place),
            "seed": c.saved.seed,
            "score": c.score,
            **_own(c, x, y, pages),
        }
        for c in done
    ]
    lines = [
        "  ".join([*(f"{name} {value}" for name, value in _own(c, x, y, pages).items()), f"seed {c.saved.seed}:"])
        + f" {c.saved.path}"
        + ("" if c.score is None else f"  score {c.score:.3f}")
        for c in done
    ]
    show({"cells": rows, "sheets": [str(path) for path in sheets]}, "\n".join([*lines, *map(str, sheets)]))
    return 0


def _own(cell: Any, *axes: Any) -> dict[str, Any]:
    return {axis.name: axis.values[at] for axis, at in zip(axes, cell.place, strict=True) if axis.name}


def run_score(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Scores pictures; one line each, and the mean of each scorer where there are several."""
    from core.studio.evaluating.pictures import score_pictures

    names = options.scorer
    rows = score_pictures(workspace, [Path(file) for file in options.files], names, options.prompt)
    lines = ["  ".join([*(f"{name} {row[name]:.4f}" for name in names), row["file"]]) for row in rows]
    if len(rows) > 1:
        means = "  ".join(f"{name} {statistics.fmean(row[name] for row in rows):.4f}" for name in names)
        lines.append(f"{means}  mean of {len(rows)}")
    show(rows, "\n".join(lines))
    return 0
