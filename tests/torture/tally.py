"""What an attack came to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass
class Tally:
    """Tries, what failed of them in words, counts and facts beside them, and the seconds it took."""

    what: str
    seed: int
    tries: int = 0
    failures: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    newest: ClassVar[Tally | None] = None
    """The tally of the attack that is under way: what an interrupted one came to."""

    def __post_init__(self) -> None:
        Tally.newest = self

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def line(self) -> str:
        """The last line of the command."""
        counts = "".join(f", {name} {number}" for name, number in sorted(self.counts.items()))
        counts += "".join(f", {fact}" for fact in self.facts)
        seconds = time.monotonic() - self.began
        return (
            f"{self.what}: seed {self.seed}, tries {self.tries}{counts}, failures {len(self.failures)}, {seconds:.0f} s"
        )
