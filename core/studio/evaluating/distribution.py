"""An evaluation's pictures as a distribution: Fréchet distance, precision and recall, diversity between seeds. torch inside
functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.miniature.scorer_cards import purpose_of
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.settings import NPO, EvaluationSettings
from core.studio.workspace import ASSETS

FEATURE_PAIRS = 5000
"""Measured on the first so many pairs, to bound memory."""
FEWEST = 8
"""Pictures below which nothing is measured."""
REFERENCE = "reference.safetensors"
KINDS = (".png", ".jpg", ".jpeg", ".webp")


def distribution_of(evaluation: Evaluation, names: Sequence[str], same: str) -> dict[str, Any]:
    """What each column's pictures are as a distribution; empty where no scorer describes pictures.

    Args:
        names: of the scorers.
        same: the column of CFG at the same ω.
    """
    from core.evaluation.distribution import diversity, precision_recall
    from core.evaluation.statistics import Gaussian, frechet_difference, frechet_distance, mean_difference

    features = _features(evaluation)
    if len(features.get(NPO, ())) < FEWEST:
        return {}
    seeds, points = evaluation.settings.seeds, _reference(evaluation)
    clean = _clean(evaluation, names) or (Gaussian.of(points) if points is not None and len(points) > 1 else None)
    columns: dict[str, dict[str, float]] = {name: {} for name in features}
    measured: dict[str, Any] = {"pairs": len(features[NPO]), "columns": columns}
    for column, own in features.items():
        if clean is not None:
            columns[column]["frechet"] = round(frechet_distance(Gaussian.of(own), clean), 3)
        if points is not None and len(points) >= FEWEST:
            precision, recall = precision_recall(own, points)
            columns[column] |= {"precision": round(precision, 4), "recall": round(recall, 4)}
        if seeds > 1:
            columns[column]["diversity"] = round(float(diversity(own, seeds).mean()), 4)
    if same in features:
        if clean is not None:
            interval = frechet_difference(features[NPO], features[same], clean, draws=100)
            measured["npo_minus_same_omega"] = asdict(interval)
        if seeds > 1:
            change = mean_difference(diversity(features[NPO], seeds), diversity(features[same], seeds))
            measured["diversity_minus_same_omega"] = asdict(change)
    return measured if any(columns.values()) else {}


def _clean(evaluation: Evaluation, names: Sequence[str]) -> Any:
    """Mean and covariance of the features of clean renderings, for the bundled judge; None for other scorers."""
    purpose = next((purpose for name in names if (purpose := purpose_of(name))), "")
    return evaluation.world.judge(ASSETS, purpose).clean if purpose else None


def _reference(evaluation: Evaluation) -> Any:
    """Features of the reference pictures, (pictures, features); None where none were named."""
    from safetensors.torch import load_file

    path = evaluation.folder / REFERENCE
    return load_file(path)["features"].float() if path.is_file() else None


def check_reference(settings: EvaluationSettings) -> list[Path]:
    """The reference pictures that the settings name; none where they name none.

    Raises:
        StudioError: no such folder, or too few pictures in it.
    """
    if not settings.reference:
        return []
    folder = Path(settings.reference).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS) if folder.is_dir() else []
    if len(files) < FEWEST:
        raise StudioError(
            "“{name}” holds {count} pictures, fewer than {fewest}.",
            "Name a folder of reference pictures.",
            name=folder.name,
            count=len(files),
            fewest=FEWEST,
        )
    return files[:FEATURE_PAIRS]


def keep_reference(evaluation: Evaluation, settings: EvaluationSettings, scorers: Sequence[Any]) -> None:
    """Describes the reference pictures once, by the first scorer that can.

    Raises:
        StudioError: a picture that cannot be read, or no scorer that describes pictures.
    """
    import torch
    from safetensors.torch import save_file

    from core.files import whole_file
    from core.generation.media import open_picture

    files = check_reference(settings)
    path = evaluation.folder / REFERENCE
    if not files or path.is_file():
        return
    describer = next((scorer for scorer in scorers if hasattr(scorer, "features")), None)
    if describer is None:
        raise StudioError("No scorer of this evaluation describes pictures.", "Add pickscore, hpsv2 or clipscore.")
    parts = []
    for start in range(0, len(files), 16):
        parts.append(describer.features([open_picture(file) for file in files[start : start + 16]]).half())
    with whole_file(path) as staged:
        save_file({"features": torch.cat(parts).contiguous()}, staged)


def _features(evaluation: Evaluation) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    parts: dict[str, list[Any]] = {}
    count = 0
    for number in range(evaluation.chunks):
        path = evaluation.chunk_path(number).with_suffix(".safetensors")
        if not path.is_file() or not evaluation.chunk_path(number).is_file() or count >= FEATURE_PAIRS:
            continue
        for column, tensor in load_file(path).items():
            parts.setdefault(column, []).append(tensor.float())
        count += evaluation.settings.batch * evaluation.settings.seeds
    return {column: torch.cat(tensors) for column, tensors in parts.items()}
