"""The report of an evaluation: one HTML file that opens offline with everything in it, and the same as JSON. No torch."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any

from core.files import write_text
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.results import figures_of
from core.studio.evaluating.settings import NPO, cfg_name
from core.studio.evaluating.sweep import heat_map, write_sweep
from core.studio.evaluating.work import picture_path

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1d2129;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{padding:.25rem .7rem;border-bottom:1px solid #d8dce3;text-align:right}th:first-child,td:first-child{text-align:left}
.verdict{padding:1rem;border-left:4px solid #3659c9;background:#f2f5fc;font-size:1.05rem}
.own{background:#f2f5fc;font-weight:600}.pairs{display:flex;flex-wrap:wrap;gap:1rem}.pair{max-width:17rem}
.pair img{width:8rem;image-rendering:pixelated}figcaption,.note{font-size:.85rem;color:#555b66}
svg{max-width:100%}@media(prefers-color-scheme:dark){body{background:#15171c;color:#e6e8ec}.verdict,.own{background:#222838}
th,td{border-color:#3a404c}figcaption,.note{color:#a5abb8}}
"""


def write_report(evaluation: Evaluation) -> dict[str, Any]:
    """Writes `report.json` and `report.html` into the folder from the chunks that are done, and returns the figures.

    Raises:
        StudioError: no chunk is done yet, or the disk refuses.
    """
    figures = figures_of(evaluation)
    write_text(evaluation.folder / "report.json", json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    write_text(evaluation.folder / "report.html", as_html(evaluation, figures))
    if figures["sweep"]:
        write_sweep(evaluation, figures["sweep"])
    return figures


def _interval(value: dict[str, float], signed: bool = False) -> str:
    form = "+.4g" if signed else ".4g"
    return f"{value['value']:{form}} <span class=note>[{value['low']:{form}}, {value['high']:{form}}]</span>"


def _table(head: list[str], rows: list[tuple[str, list[str]]]) -> str:
    cells = "".join(f"<th scope=col>{name}</th>" for name in head)
    body = "".join(f"<tr{mark}>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for mark, row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _scorer(table: dict[str, Any]) -> str:
    rows = []
    for row in table["rows"]:
        own = ' class="own"' if row["role"] == "npo" else ""
        name = escape(row["column"]) + (" (best CFG)" if row["column"] == table["best_cfg"] else "")
        figures = row.get("npo_against_it")
        rest = (
            [
                _interval(figures["difference"], signed=True),
                f"{figures['wins']['value']:.1%} <span class=note>[{figures['wins']['low']:.0%}, "
                f"{figures['wins']['high']:.0%}]</span>",
                f"{figures['p']:.2g}",
            ]
            if figures
            else ["", "", ""]
        )
        rows.append((own, [name, escape(row["label"]), _interval(row["mean"]), *rest]))
    head = ["column", "setting", "mean", "NPO minus it", "NPO wins", "sign test p"]
    text = f"<h2>{escape(table['title'])}</h2><p class=note>{escape(table['range'])}</p>{_table(head, rows)}"
    if table["categories"]:
        split = [
            (
                "",
                [
                    escape(name or "none"),
                    str(one["pairs"]),
                    _interval(one["difference"], signed=True),
                    f"{one['wins']:.1%}",
                ],
            )
            for name, one in table["categories"].items()
        ]
        text += _table(["category", "pairs", "NPO minus CFG at the same ω", "NPO wins"], split)
    return text


def _sweep(figures: dict[str, Any]) -> str:
    found = figures["sweep"]
    if not found:
        return ""
    maps = "".join(heat_map(found, name, figures["scorers"][name]["title"]) for name in found["scorers"])
    how = f"on {figures['chosen_on']} other pairs" if figures["chosen_on"] else "on these pairs, which favours it"
    return f"<h2>Sweep</h2><p class=note>Means; the framed cell is the best, chosen {how}.</p>{maps}"


_DISTRIBUTION = {
    "frechet": ("Fréchet distance", ".2f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "diversity": ("diversity between seeds", ".3f"),
}


def _pixels(figures: dict[str, Any]) -> str:
    measured = figures["distribution"].get("columns", {})
    known = [key for key in _DISTRIBUTION if any(key in one for one in measured.values())]
    rows = []
    for name, values in figures["pixels"].items():
        own = measured.get(name, {})
        cells = [format(own[key], _DISTRIBUTION[key][1]) if key in own else "–" for key in known]
        rows.append(("", [escape(name), *cells, *(f"{value:.4g}" for value in values.values())]))
    head = ["column", *(_DISTRIBUTION[key][0] for key in known), "saturation", "contrast", "sharpness"]
    text = "<h2>Distribution and pixels</h2>" + _table(head, rows)
    count = figures["distribution"].get("pairs", 0)
    if change := figures["distribution"].get("npo_minus_same_omega"):
        text += (
            f"<p>Fréchet distance, NPO minus CFG at the same ω: {_interval(change, signed=True)} over {count} pairs. "
            "It is biased upwards by small numbers of pictures, alike in all columns.</p>"
        )
    if change := figures["distribution"].get("diversity_minus_same_omega"):
        text += f"<p>Diversity between seeds, NPO minus CFG at the same ω: {_interval(change, signed=True)}.</p>"
    return text


def _curve(facts: dict[str, Any], key: str, title: str) -> str:
    """A small line drawing of one figure over the steps, one line a column."""
    colours = ("#3659c9", "#c0392b", "#2e8b57")
    series = {name: [step[key] for step in one["steps"]] for name, one in facts.items()}
    values = [value for line in series.values() for value in line]
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    lines, legend = [], []
    for (name, line), colour in zip(series.items(), colours, strict=False):
        points = " ".join(
            f"{40 + 260 * index / max(1, len(line) - 1):.1f},{110 - 90 * (value - low) / span:.1f}"
            for index, value in enumerate(line)
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(f'<span style="color:{colour}">{escape(name)}</span>')
    return (
        f'<figure><figcaption>{title}: {", ".join(legend)}</figcaption><svg viewBox="0 0 310 125" width="310" role="img" '
        f'aria-label="{title}"><text x="2" y="24" font-size="10" fill="currentColor">{high:.3g}</text>'
        f'<text x="2" y="112" font-size="10" fill="currentColor">{low:.3g}</text>{"".join(lines)}</svg></figure>'
    )


def _diagnostics(figures: dict[str, Any]) -> str:
    facts = figures["diagnostics"]
    if not facts:
        return ""
    rows = [("", [escape(name), f"{one['effective_omega']:.3g}", f"{one['dose']:.3g}"]) for name, one in facts.items()]
    omega = figures["settings"]["omega"]
    independent = (2 * omega**2 + 2 * omega + 1) ** 0.5
    curves = "".join(
        _curve(facts, key, title)
        for key, title in (
            ("cosine", "cosine of the two predictions"),
            ("deviation_ratio", "standard deviation, guided over conditional"),
            ("dose", "dose"),
            ("effective_scale", "effective scale"),
        )
    )
    return (
        "<h2>Guidance, step by step</h2>"
        + _table(["column", "effective ω", "dose"], rows)
        + f"<p class=note>From the first step (left) to the last. Effective ω: how far guidance goes along CFG's own "
        f"direction. Dose: how large the offset's part is beside the prompt's. Independent predictions would have a "
        f"deviation ratio of {independent:.3g} at this ω.</p><div class=pairs>{curves}</div>"
    )


def _picture(evaluation: Evaluation, column: str, pair: int) -> str:
    raw = picture_path(evaluation, column, pair).read_bytes()
    return f'<img alt="{escape(column)}" src="data:image/png;base64,{base64.b64encode(raw).decode()}">'


def _extremes(evaluation: Evaluation, figures: dict[str, Any]) -> str:
    same = cfg_name(figures["settings"]["omega"])
    text = ""
    for key, title in (("best", "Greatest gains"), ("worst", "Greatest losses")):
        shown = "".join(
            f"<figure class=pair>{_picture(evaluation, same, one['pair'])} {_picture(evaluation, NPO, one['pair'])}"
            f"<figcaption>{escape(one['prompt'])}<br>seed {one['seed']}, {one['gain']:+.3g}</figcaption></figure>"
            for one in figures["extremes"][key]
        )
        if shown:
            text += f"<h2>{title}: {escape(same)} left, NPO right</h2><div class=pairs>{shown}</div>"
    return text


def as_html(evaluation: Evaluation, figures: dict[str, Any]) -> str:
    """The whole report as one page without scripts and without anything to load."""
    settings = json.dumps(figures["settings"], indent=1, ensure_ascii=False)
    facts = json.dumps(figures["facts"], indent=1, ensure_ascii=False)
    whole = figures["pairs"] == figures["planned"]
    state = f"{figures['pairs']} pairs" if whole else f"{figures['pairs']} of {figures['planned']} pairs so far"
    failures = "".join(f"<li>{escape(line)}</li>" for line in figures["failures"][:20])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Evaluation {escape(figures['id'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Evaluation of {escape(figures['settings']['negative'] or 'guidance')} on "
        f"{escape(figures['facts']['base']['name'])}</h1><p class=verdict>{escape(figures['verdict']['sentence'])}</p>"
        f"<p class=note>{state}, {figures['reported']} of them reported and {figures['chosen_on']} set aside to choose; the same prompts and seeds in every column, one random generator an image; intervals are "
        "95 % bootstrap intervals over pairs; ties count one half.</p>"
        + (f"<h2>Not scored</h2><ul>{failures}</ul>" if failures else "")
        + "".join(_scorer(table) for table in figures["scorers"].values())
        + _sweep(figures)
        + _pixels(figures)
        + _diagnostics(figures)
        + _extremes(evaluation, figures)
        + f"<h2>Settings</h2><pre>{escape(settings)}</pre><h2>Hashes, versions, machine</h2><pre>{escape(facts)}</pre>"
        "</body></html>\n"
    )
