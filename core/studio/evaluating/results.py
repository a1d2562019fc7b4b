"""The figures of an evaluation from its chunks: tables, pairs, verdict. What is done so far counts; torch inside functions."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.errors import StudioError
from core.studio.evaluating.distribution import distribution_of
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.scorers import ALL
from core.studio.evaluating.settings import NPO, EvaluationSettings, cfg_name
from core.studio.evaluating.sweep import sweep_figures
from core.studio.evaluating.work import all_columns, picture_path

PIXELS = ("saturation", "contrast", "sharpness")
SHOWN = 6


def _gather(
    evaluation: Evaluation, names: Sequence[str]
) -> tuple[dict[str, dict[str, array[float]]], array[int], list[str]]:
    """(column to scorer to scores, the pair of each row, failures); only chunks that are done, in their order."""
    settings = evaluation.settings
    columns: dict[str, dict[str, array[float]]] = {
        column.name: {name: array("f") for name in (*names, *PIXELS)} for column in all_columns(evaluation)
    }
    pairs = array("q")
    failures: list[str] = []
    for number in range(evaluation.chunks):
        chunk = evaluation.chunk(number)
        if chunk is None:
            continue
        for name, reason in chunk["failed"].items():
            failures.append(f"chunk {number}, {name}: {reason}")
        if chunk["failed"]:
            continue
        first = chunk["start"] * settings.seeds
        pairs.extend(range(first, first + chunk["prompts"] * settings.seeds))
        for column, figures in columns.items():
            for name, values in figures.items():
                values.extend(chunk["columns"][column][name])
    return columns, pairs, failures


def _split(settings: EvaluationSettings, pairs: Sequence[int]) -> tuple[Any, Any]:
    """Which pairs serve to choose and which are reported, (pairs,) of truth values each; all of them for both where
    nothing is set aside, or one side would be empty."""
    import torch

    choosing = torch.tensor([settings.chooses(pair // settings.seeds) for pair in pairs])
    if choosing.all() or not choosing.any():
        everything = torch.ones(len(pairs), dtype=torch.bool)
        return everything, everything
    return choosing, ~choosing


def figures_of(evaluation: Evaluation, *, draws: int = 2000) -> dict[str, Any]:
    """Everything a report shows, as JSON values: see the keys below.

    Args:
        draws: of each bootstrap.

    Raises:
        StudioError: no chunk is done yet.
    """
    import torch

    from core.evaluation.pairs import best_of, by_category, paired
    from core.evaluation.statistics import mean_interval

    settings = evaluation.settings
    names = list(settings.scorers or evaluation.facts["scorers"])
    scores, pairs, failures = _gather(evaluation, names)
    if not pairs:
        raise StudioError("No chunk of the evaluation is done yet.", "Run it first.")
    columns = all_columns(evaluation)
    whole = {c: {n: torch.tensor(v, dtype=torch.float64) for n, v in by.items()} for c, by in scores.items()}
    choosing, reported = _split(settings, pairs)
    chosen_on = int(choosing.sum()) if not bool((choosing & reported).any()) else 0
    kept = torch.tensor(pairs)[reported].tolist()
    tensors = {c: {n: values[reported] for n, values in by.items()} for c, by in whole.items()}
    same = cfg_name(settings.omega)
    plain = [column.name for column in columns if column.role in ("cfg", "effective")]
    categories = _categories(evaluation, kept)
    tables: dict[str, Any] = {}
    for name in names:
        best = best_of({column: float(whole[column][name][choosing].mean()) for column in plain})
        rows = []
        for column in columns:
            own = tensors[column.name][name]
            row: dict[str, Any] = {
                "column": column.name,
                "role": column.role,
                "label": column.weights.label(),
                "row_forwards": column.weights.row_forwards(column.value("steps", settings)),
                "mean": asdict(mean_interval(own, draws=draws)),
            }
            if column.name != NPO:
                row["npo_against_it"] = _as_json(paired(tensors[NPO][name], own, draws=draws))
            rows.append(row)
        tables[name] = {
            "title": ALL[name].title,
            "range": ALL[name].range,
            "best_cfg": best,
            "rows": rows,
            "categories": {
                category: {"pairs": count, "difference": asdict(interval), "wins": wins}
                for category, (count, interval, wins) in by_category(
                    tensors[NPO][name], tensors[same][name], categories
                ).items()
            },
        }
    best_cfg = {name: table["best_cfg"] for name, table in tables.items()}
    return {
        "id": evaluation.id,
        "settings": settings.to_dict(),
        "facts": evaluation.facts,
        "pairs": len(pairs),
        "chosen_on": chosen_on,
        "reported": len(kept),
        "planned": settings.count * settings.seeds,
        "verdict": _verdict(names, tables, tensors, same, columns, draws, chosen_on),
        "scorers": tables,
        "sweep": sweep_figures(settings, whole, choosing, reported, best_cfg, draws=draws),
        "pixels": {
            column.name: {name: round(float(tensors[column.name][name].mean()), 5) for name in PIXELS}
            for column in columns
        },
        "distribution": distribution_of(evaluation, names, same),
        "diagnostics": (evaluation.probe() or {}).get("columns", {}),
        "extremes": _extremes(evaluation, tensors, names[0], same, kept),
        "failures": failures,
    }


def _as_json(figures: Any) -> dict[str, Any]:
    return {**asdict(figures), "better": figures.better, "worse": figures.worse}


def _categories(evaluation: Evaluation, pairs: Sequence[int]) -> list[str]:
    settings, wanted = evaluation.settings, set(pairs)
    return [
        prompt.category
        for number, prompt in enumerate(evaluation.prompts())
        for seed in range(settings.seeds)
        if number * settings.seeds + seed in wanted
    ]


def _verdict(
    names: Sequence[str],
    tables: dict[str, Any],
    tensors: dict[str, Any],
    same: str,
    columns: Sequence[Any],
    draws: int,
    chosen_on: int,
) -> dict[str, str]:
    from core.evaluation.pairs import judge_verdict, paired

    decisive = names[0]
    own = tensors[NPO][decisive]
    roles = {column.role: column.name for column in columns}

    def against(role: str) -> Any:
        return paired(own, tensors[roles[role]][decisive], draws=draws) if role in roles else None

    signs = [float((tensors[NPO][name] - tensors[same][name]).mean()) for name in names]
    made = judge_verdict(
        scorer=ALL[decisive].title,
        against_same=paired(own, tensors[same][decisive], draws=draws),
        against_best=paired(own, tensors[tables[decisive]["best_cfg"]][decisive], draws=draws),
        best=tables[decisive]["best_cfg"],
        against_random=against("random"),
        against_reversed=against("reversed"),
        chosen_on=chosen_on,
        agreeing=(sum(sign * signs[0] > 0 for sign in signs), len(signs)),
    )
    return {"word": made.word, "sentence": made.sentence, "scorer": decisive}


def _extremes(
    evaluation: Evaluation, tensors: dict[str, Any], name: str, same: str, pairs: Sequence[int]
) -> dict[str, list[dict[str, Any]]]:
    """The pairs with the greatest gain and the greatest loss against CFG at the same ω, among those whose pictures are kept."""
    difference = (tensors[NPO][name] - tensors[same][name]).tolist()
    shown = sorted(
        (gain, pair)
        for gain, pair in zip(difference, pairs, strict=True)
        if pair < evaluation.settings.keep
        and picture_path(evaluation, NPO, pair).is_file()
        and picture_path(evaluation, same, pair).is_file()
    )
    texts = {}
    wanted = {pair // evaluation.settings.seeds for _, pair in (*shown[:SHOWN], *shown[-SHOWN:])}
    for number, prompt in enumerate(evaluation.prompts()):
        if number in wanted:
            texts[number] = prompt.text

    def facts(gain: float, pair: int) -> dict[str, Any]:
        prompt = texts[pair // evaluation.settings.seeds]
        return {"pair": pair, "gain": round(gain, 5), "prompt": prompt, "seed": evaluation.settings.seed + pair}

    return {
        "best": [facts(*one) for one in reversed(shown[-SHOWN:])],
        "worst": [facts(*one) for one in shown[:SHOWN]],
    }
