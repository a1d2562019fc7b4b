"""The figures of an evaluation while it runs, from running sums: each look reads only the chunks that are new. No torch.

Any number of processes may fill the folder; whoever looks adds up for himself, so nothing is lost with a closed tab. The
intervals here are mean ± 1.96 standard errors and shrink as pairs come in; the report's are bootstrap intervals.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.settings import NPO


@dataclass(frozen=True)
class LiveRow:
    """One column in one scorer's figures so far.

    Args:
        mean: of the column.
        difference, low, high: mean of NPO minus this column, and its interval; None for NPO itself.
        wins: share of pairs that NPO wins, ties as half; None for NPO itself.
        pairs: how many pairs are in it.
    """

    scorer: str
    column: str
    role: str
    mean: float
    difference: float | None
    low: float | None
    high: float | None
    wins: float | None
    pairs: int


@dataclass
class _Sums:
    count: int = 0
    total: float = 0.0
    difference: float = 0.0
    squares: float = 0.0
    wins: float = 0.0

    def add(self, values: list[float], own: list[float]) -> None:
        self.count += len(values)
        self.total += sum(values)
        for value, other in zip(own, values, strict=True):
            self.difference += value - other
            self.squares += (value - other) ** 2
            self.wins += 1.0 if value > other else 0.5 if value == other else 0.0

    def row(self, scorer: str, column: str, role: str) -> LiveRow:
        mean = self.total / self.count
        if column == NPO:
            return LiveRow(scorer, column, role, mean, None, None, None, None, self.count)
        change = self.difference / self.count
        variance = max(0.0, self.squares / self.count - change**2) * self.count / max(1, self.count - 1)
        half = 1.96 * math.sqrt(variance / self.count)
        return LiveRow(
            scorer, column, role, mean, change, change - half, change + half, self.wins / self.count, self.count
        )


@dataclass
class LiveFigures:
    """Adds up the chunks of one evaluation as they appear. Safe to share between threads."""

    evaluation: Evaluation
    _seen: set[str] = field(default_factory=set)
    _sums: dict[tuple[str, str], _Sums] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, scorers: tuple[str, ...], roles: Mapping[str, str]) -> list[LiveRow]:
        """The figures of all chunks that are done, by scorer and then in the order of the columns.

        Args:
            roles: each column's role by its name, in the order of the table.
        """
        with self._lock:
            for path in sorted((self.evaluation.folder / "chunks").glob("*.json")):
                if path.name not in self._seen and (chunk := self._whole(path)) is not None:
                    self._seen.add(path.name)
                    self._add(chunk, scorers)
            return [
                self._sums[scorer, column].row(scorer, column, role)
                for scorer in scorers
                for column, role in roles.items()
                if (scorer, column) in self._sums
            ]

    def _whole(self, path: Path) -> dict[str, Any] | None:
        """A chunk in which every scorer did its work; others are looked at again."""
        try:
            chunk = self.evaluation.chunk(int(path.stem))
        except (StudioError, ValueError):
            return None
        return chunk if chunk and not chunk["failed"] else None

    def _add(self, chunk: dict[str, Any], scorers: tuple[str, ...]) -> None:
        columns = chunk["columns"]
        for scorer in scorers:
            for column, figures in columns.items():
                sums = self._sums.setdefault((scorer, column), _Sums())
                sums.add(figures[scorer], columns[NPO][scorer])


@lru_cache(maxsize=8)
def live_figures(folder: Path) -> LiveFigures:
    """The running sums of a folder, one for all who look at it."""
    return LiveFigures(Evaluation(folder))
