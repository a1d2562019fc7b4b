"""The pictures that an evaluation kept, prompt by prompt: what a blind study is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import StudioError
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.work import all_columns, picture_path


@dataclass(frozen=True)
class Kept:
    """One prompt and seed: column to file."""

    prompt: str
    seed: int
    pictures: dict[str, Path]


def kept_pictures(evaluation: Evaluation, columns: Sequence[str]) -> list[Kept]:
    """Those of the first pairs of which a picture is there under every one of these columns, in the order of the prompts.

    Raises:
        StudioError: a column that the evaluation does not have, or no picture was kept yet.
    """
    known = [column.name for column in all_columns(evaluation)]
    for column in columns:
        if column not in known:
            raise StudioError(
                "The evaluation has no column “{column}”; it has {names}.",
                "Choose among them.",
                column=column[:60],
                names=", ".join(known),
            )
    settings, kept = evaluation.settings, list[Kept]()
    for number, prompt in enumerate(evaluation.prompts(0, -(-settings.keep // settings.seeds))):
        for turn in range(settings.seeds):
            pair = number * settings.seeds + turn
            files = {column: picture_path(evaluation, column, pair) for column in columns}
            if all(file.is_file() for file in files.values()):
                kept.append(Kept(prompt.text, settings.seed + pair, files))
    if not kept:
        raise StudioError("The evaluation has kept no pictures yet.", "Run it first.")
    return kept
