"""What a sweep found: the mean of every cell, the best one with its interval, as heat map, CSV and sheets of pictures.

The best cell is chosen on the prompts that serve to choose; its figures are those of the others. torch inside functions.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from core.files import whole_file, write_json
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.settings import EvaluationSettings, cells_of, sweep_of
from core.studio.evaluating.work import picture_path

SHEETS = 4
"""Sheets of pictures: one for each of the first pairs that are kept."""
_LOW, _HIGH = (242, 245, 252), (30, 80, 180)


def sweep_figures(
    settings: EvaluationSettings,
    scores: Mapping[str, Mapping[str, Any]],
    choosing: Any,
    reported: Any,
    best_cfg: Mapping[str, str],
    *,
    draws: int,
) -> dict[str, Any]:
    """The sweep as a report has it; empty where there is none.

    Args:
        scores: column to scorer to scores (pairs,).
        choosing, reported: which pairs serve to choose, and which are reported, (pairs,) of truth values.
        best_cfg: the best plain column by scorer, chosen on the same pairs as the best cell.
    """
    from core.evaluation.pairs import paired
    from core.evaluation.statistics import mean_interval

    axes = sweep_of(settings)
    if not axes:
        return {}
    x, y = axes if len(axes) == 2 else (axes[0], ("", ("",)))
    cells = cells_of(settings)
    found: dict[str, Any] = {
        "x": {"name": x[0], "values": list(x[1])},
        "y": {"name": y[0], "values": list(y[1])},
        "scorers": {},
    }
    for scorer, plain in best_cfg.items():
        place = max(cells, key=lambda at: float(scores[cells[at].name][scorer][choosing].mean()))
        best = scores[cells[place].name][scorer][reported]
        against = paired(best, scores[plain][scorer][reported], draws=draws)
        found["scorers"][scorer] = {
            "cells": [
                {"x": at[0], "y": at[1], "column": column.name}
                | asdict(mean_interval(scores[column.name][scorer][reported], draws=draws))
                for at, column in cells.items()
            ],
            "best": {
                "x": place[0],
                "y": place[1],
                "column": cells[place].name,
                **asdict(mean_interval(best, draws=draws)),
                "against": plain,
                "difference": asdict(against.difference),
                "wins": asdict(against.wins),
                "p": against.p,
                "pairs": against.pairs,
            },
        }
    return found


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _grid(found: Mapping[str, Any], scorer: str) -> list[list[float]]:
    """Means by row (y) and column (x)."""
    rows = [[0.0] * len(found["x"]["values"]) for _ in found["y"]["values"]]
    for cell in found["scorers"][scorer]["cells"]:
        rows[cell["y"]][cell["x"]] = cell["value"]
    return rows


def plotly_figure(found: Mapping[str, Any], scorer: str) -> dict[str, Any]:
    """The heat map as a figure of plotly, which a page or a notebook draws: `plotly.io.from_json` and Gradio's Plot read it."""
    best = found["scorers"][scorer]["best"]
    x, y = ([_label(value) for value in found[axis]["values"]] for axis in ("x", "y"))
    text = f"best: {best['value']:.4g} [{best['low']:.4g}, {best['high']:.4g}]"
    return {
        "data": [{"type": "heatmap", "x": x, "y": y, "z": _grid(found, scorer), "colorscale": "Blues"}],
        "layout": {
            "title": {"text": scorer},
            "xaxis": {"title": {"text": found["x"]["name"]}, "type": "category"},
            "yaxis": {"title": {"text": found["y"]["name"]}, "type": "category"},
            "annotations": [{"x": x[best["x"]], "y": y[best["y"]], "text": text, "showarrow": True}],
        },
    }


def heat_map(found: Mapping[str, Any], scorer: str, title: str) -> str:
    """The heat map as a table of coloured cells, which needs no script; the best cell is framed and says its interval."""
    rows, best = _grid(found, scorer), found["scorers"][scorer]["best"]
    values = [value for row in rows for value in row]
    low, span = min(values), (max(values) - min(values)) or 1.0
    head = "".join(f"<th scope=col>{escape(found['x']['name'])} {escape(_label(v))}</th>" for v in found["x"]["values"])
    body = ""
    for j, row in enumerate(rows):
        cells = ""
        for i, value in enumerate(row):
            share = (value - low) / span
            colour = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_LOW, _HIGH, strict=True))
            ink = "#fff" if share > 0.5 else "#1d2129"
            mine = (i, j) == (best["x"], best["y"])
            note = f"<br><small>[{best['low']:.4g}, {best['high']:.4g}]</small>" if mine else ""
            frame = ";outline:3px solid #c0392b;outline-offset:-3px" if mine else ""
            cells += f'<td style="background:{colour};color:{ink}{frame}">{value:.4g}{note}</td>'
        side = escape(f"{found['y']['name']} {_label(found['y']['values'][j])}".strip())
        body += f"<tr><th scope=row>{side}</th>{cells}</tr>"
    change, against = best["difference"], best["wins"]["value"]
    return (
        f"<h3>{escape(title)}</h3><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table><p>Best: "
        f"{escape(best['column'])}; {change['value']:+.4g} [{change['low']:+.4g}, {change['high']:+.4g}] against "
        f"{escape(best['against'])}, the best CFG; wins {against:.0%} of {best['pairs']} pairs.</p>"
    )


def write_sweep(evaluation: Evaluation, found: Mapping[str, Any]) -> None:
    """Writes `sweep.csv`, a plotly figure for each scorer and the sheets of pictures beside the report.

    Raises:
        StudioError: the disk refuses.
    """
    with whole_file(evaluation.folder / "sweep.csv") as staged, staged.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([found["x"]["name"], found["y"]["name"] or "-", "scorer", "mean", "low", "high", "best"])
        for scorer, one in found["scorers"].items():
            for cell in one["cells"]:
                best = (cell["x"], cell["y"]) == (one["best"]["x"], one["best"]["y"])
                place = [found["x"]["values"][cell["x"]], found["y"]["values"][cell["y"]]]
                table.writerow([*place, scorer, cell["value"], cell["low"], cell["high"], int(best)])
    for scorer in found["scorers"]:
        write_json(evaluation.folder / f"heatmap-{scorer}.json", plotly_figure(found, scorer))
    _sheets(evaluation, found)


def _sheets(evaluation: Evaluation, found: Mapping[str, Any]) -> None:
    from contextlib import ExitStack

    from PIL import Image

    from core.generation.media import save_png

    settings, cells = evaluation.settings, cells_of(evaluation.settings)
    names = {axis: [f"{found[axis]['name']} {_label(v)}".strip() for v in found[axis]["values"]] for axis in ("x", "y")}
    for pair in range(min(SHEETS, settings.keep, settings.count * settings.seeds)):
        paths = {at: picture_path(evaluation, column.name, pair) for at, column in cells.items()}
        if not all(path.is_file() for path in paths.values()):
            continue
        prompt = next(iter(evaluation.prompts(pair // settings.seeds, pair // settings.seeds + 1))).text
        with ExitStack() as opened:
            pictures = {at: opened.enter_context(Image.open(path)) for at, path in paths.items()}
            sheet = _sheet(pictures, names["x"], names["y"], prompt)
        facts: dict[str, Any] = {
            **{key: value for key, value in settings.with_changes({}).values().items() if key != "images"},
            "prompt": prompt,
            "seed": settings.seed + pair,
            "size": f"{sheet.width}x{sheet.height}",
            "grid": {found[axis]["name"]: found[axis]["values"] for axis in ("x", "y") if found[axis]["name"]},
        }
        save_png(sheet, evaluation.folder / f"sheet-{pair:06d}.png", facts)


def _sheet(pictures: Mapping[tuple[int, int], Any], columns: Sequence[str], rows: Sequence[str], title: str) -> Any:
    """Pictures by (column, row) as one, with what changes along both sides."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    width, height = (max(128, max(getattr(one, side) for one in pictures.values())) for side in ("width", "height"))
    left, top = 16 + max(int(font.getlength(row)) for row in rows), 52
    sheet = Image.new("RGB", (left + len(columns) * (width + 4), top + len(rows) * (height + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((8, 6), title[: sheet.width // 8], fill="black", font=font)
    for i, name in enumerate(columns):
        draw.text((left + i * (width + 4), top - 20), name, fill="black", font=font)
    for j, name in enumerate(rows):
        draw.text((8, top + j * (height + 4) + height // 2 - 8), name, fill="black", font=font)
    for (i, j), picture in pictures.items():
        shown = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(shown, (left + i * (width + 4), top + j * (height + 4)))
    return sheet


def best_settings(settings: EvaluationSettings, figures: Mapping[str, Any], scorer: str) -> dict[str, Any]:
    """Compare's settings of the best cell; without a sweep, of the setting that was evaluated."""
    found: Mapping[str, Any] = figures.get("sweep") or {}
    changes: dict[str, Any] = {}
    if found:
        best = found["scorers"][scorer]["best"]
        axes: Sequence[tuple[str, Any]] = [
            (found[axis]["name"], found[axis]["values"][best[axis]]) for axis in ("x", "y")
        ]
        changes = {name: value for name, value in axes if name}
    values = settings.with_changes(changes).values()
    return {key: value for key, value in values.items() if key not in ("images", "seed", "prompt")}
