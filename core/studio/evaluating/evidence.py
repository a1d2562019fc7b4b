"""What an evaluation says for a setting, as a preset keeps it. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import StudioError
from core.files import read_json
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.settings import NPO
from core.studio.evaluating.sweep import best_settings

LENGTH = 4000


def report_of(evaluation: Evaluation) -> dict[str, Any]:
    """The figures of its report.

    Raises:
        StudioError: there is no report yet, or it is damaged.
    """
    path = evaluation.folder / "report.json"
    if not path.is_file():
        raise StudioError("The evaluation {id} has no report yet.", "Run it, then `evaluate report`.", id=evaluation.id)
    return read_json(path, dict, limit=2**26)


def setting_with_evidence(
    evaluation: Evaluation, figures: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(Compare's settings, evidence): of the best cell of a sweep, else of the setting that was evaluated.

    The evidence has the keys of a preset's: kind, text, source, scorer, prompts, metrics; one entry a scorer, the one that
    decides first.

    Raises:
        StudioError: there is no report yet.
    """
    figures = figures if figures is not None else report_of(evaluation)
    decisive = figures["verdict"]["scorer"]
    names = [decisive, *(name for name in figures["scorers"] if name != decisive)]
    values = best_settings(evaluation.settings, figures, decisive)
    return values, [_evidence(evaluation.id, figures, name, name == decisive) for name in names]


def _evidence(evaluation_id: str, figures: Mapping[str, Any], scorer: str, decides: bool) -> dict[str, Any]:
    table, found = figures["scorers"][scorer], figures.get("sweep") or {}
    # one setting is saved: every scorer speaks of the cell that the deciding one chose
    column = found["scorers"][figures["verdict"]["scorer"]]["best"]["column"] if found else NPO
    rows = {row["column"]: row for row in table["rows"]}
    metrics = {"mean": rows[column]["mean"]["value"], "best_cfg_mean": rows[table["best_cfg"]]["mean"]["value"]}
    if column == NPO:
        against = rows[table["best_cfg"]]["npo_against_it"]
        text = figures["verdict"]["sentence"] if decides else _against(table, against)
        metrics |= {"difference": against["difference"]["value"], "wins": against["wins"]["value"]}
        metrics |= {"low": against["difference"]["low"], "high": against["difference"]["high"]}
    elif decides:
        best = found["scorers"][scorer]["best"]
        text = _against(table, best)
        metrics |= {"difference": best["difference"]["value"], "wins": best["wins"]["value"]}
        metrics |= {"low": best["difference"]["low"], "high": best["difference"]["high"]}
    else:
        text = f"{table['title']}: mean {metrics['mean']:.4g}; {table['best_cfg']}, its best CFG, {metrics['best_cfg_mean']:.4g}."
    return {
        "kind": "measured",
        "text": text[:LENGTH],
        "source": f"evaluate report {evaluation_id}"[:200],
        "scorer": table["title"][:200],
        "prompts": max(1, figures["reported"] // max(1, figures["settings"]["seeds"])),
        "metrics": {name: round(float(value), 5) for name, value in metrics.items()},
    }


def _against(table: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    change = figures["difference"]
    return (
        f"{table['title']}: {change['value']:+.4g} [{change['low']:+.4g}, {change['high']:+.4g}] against "
        f"{table['best_cfg']}, the best CFG; wins {figures['wins']['value']:.0%} of {figures['pairs']} pairs."
    )
