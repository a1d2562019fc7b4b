"""Scores of pictures that exist already: two folders of numbered files with their prompts beside them, compared in pairs.

The layout is that of `gallery`, so that what another program rendered, or was published, can be checked. Pictures are read
a few at a time. torch inside functions.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.evaluation.prompts import LENGTH_LIMIT
from core.files import read_text
from core.studio.evaluating.scorers import ALL, check, judged_world, load
from core.studio.workspace import Workspace

KINDS = (".png", ".jpg", ".jpeg", ".webp")
BATCH = 16


def _files(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name, without ending.

    Raises:
        StudioError: no such folder.
    """
    if not folder.is_dir():
        raise StudioError("“{name}” is not a folder.", "Name a folder of pictures.", name=folder.name)
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in KINDS}


def pairs_of(without: Path, with_: Path) -> tuple[list[tuple[Path, Path, str]], list[str]]:
    """((picture without, picture with, prompt) of every pair; what is missing of the others, by name).

    A pair is two pictures of one name, and a text of that name with their prompt beside either.

    Raises:
        StudioError: no such folder, or not one whole pair.
    """
    a, b = _files(without), _files(with_)
    pairs, missing = [], []
    for name in sorted({*a, *b}):
        text = next((p for p in (with_ / f"{name}.txt", without / f"{name}.txt") if p.is_file()), None)
        absent = [f"{folder.name}/{name}" for folder, files in ((without, a), (with_, b)) if name not in files]
        absent += [] if text else [f"{name}.txt"]
        prompt = read_text(text).strip()[:LENGTH_LIMIT] if text else ""
        if text and not prompt:
            absent.append(f"{text.name} (it is empty)")
        if absent:
            missing += absent
        else:
            pairs.append((a[name], b[name], prompt))
    if not pairs:
        raise StudioError(
            "“{a}” and “{b}” have no pair in common: {missing} …",
            "Give both pictures of a pair the same name, and put the prompt beside them as .txt.",
            a=without.name,
            b=with_.name,
            missing=", ".join(missing[:3]) or "nothing is in them",
        )
    return pairs, missing


def score_folders(
    workspace: Workspace, without: Path, with_: Path, names: Sequence[str], *, device: str
) -> dict[str, Any]:
    """Paired figures of every scorer: `with_` minus `without`.

    Raises:
        StudioError: as `pairs_of`; a scorer that is not here; a picture that cannot be read.
    """
    from core.evaluation.pairs import paired
    from core.evaluation.statistics import mean_interval
    from core.generation.media import open_picture

    check(workspace, names)
    pairs, missing = pairs_of(without, with_)
    scorers = load(workspace, names, judged_world(workspace, pairs[0][2]))
    scores = {name: (array("f"), array("f")) for name in names}
    for scorer in scorers:
        scorer.to(device.partition(":")[0])
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        texts = [prompt for _, _, prompt in part]
        for side in (0, 1):
            images = [open_picture((one[0], one[1])[side]) for one in part]
            for name, scorer in zip(names, scorers, strict=True):
                scores[name][side].extend(float(score) for score in scorer.score(images, texts))
    import torch

    figures: dict[str, Any] = {"pairs": len(pairs), "missing": missing, "scorers": {}}
    for name, (before, after) in scores.items():
        a, b = torch.tensor(before, dtype=torch.float64), torch.tensor(after, dtype=torch.float64)
        compared = paired(b, a)
        figures["scorers"][name] = {
            "title": ALL[name].title,
            without.name: asdict(mean_interval(a)),
            with_.name: asdict(mean_interval(b)),
            **asdict(compared),
        }
    return figures
