"""When something happens in a run: seconds since it began, and its pace."""

from __future__ import annotations

import time
from typing import Any


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something that happens each `every` steps and after the last one happens now; 0 is never."""
    return bool(every) and (step % every == 0 or step == last)


class Clock:
    """Seconds since the training began, and steps per second."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.pace = 0.0

    def at(self, step: int) -> dict[str, Any]:
        """When an event happens: its step and the seconds so far."""
        return {"step": step, "elapsed": round(time.monotonic() - self.began, 3)}

    def tick(self) -> float:
        """Ends a step: the running average of steps per second."""
        now = time.monotonic()
        rate = 1 / max(now - self.last, 1e-9)
        self.pace = 0.9 * self.pace + 0.1 * rate if self.pace else rate
        self.last = now
        return round(self.pace, 4)

    def pass_over(self) -> None:
        """What happened since the last step does not count for the next one."""
        self.last = time.monotonic()
