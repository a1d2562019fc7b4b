"""Times ways of doing the same thing in one run: in turn, round by round, and as ratios, so that what else the machine does falls on
all of them alike."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

Way = Callable[[], AbstractContextManager[Callable[[], Any]]]
"""Sets one way up and yields what is timed."""


def plainly(act: Callable[[], Any]) -> Way:
    """A way that needs no setting up."""
    return lambda: nullcontext(act)


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of the processor where one thread of it computes, which others on the machine do not lengthen; else of the wall,
    with everything asked of the device done."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.thread_time

    def of_the_wall() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return of_the_wall


def clock_name(device: torch.device) -> str:
    """What `clock` counts: "processor" or "wall"."""
    return "processor" if clock(device) is time.thread_time else "wall"


def interleaved(
    ways: Mapping[str, Way], rounds: int, device: torch.device, *, warm_up: int = 1
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Each way once in each round, in turn; set up anew for it and done once before it is timed.

    Args:
        warm_up: rounds that do not count.

    Returns:
        seconds of each way by round, and what each gave last.
    """
    now, times, results = clock(device), {name: [] for name in ways}, {}  # type: ignore[var-annotated]
    for turn in range(rounds + warm_up):
        for name, way in ways.items():
            with way() as act:
                act()
                began = now()
                results[name] = act()
                taken = now() - began
            if turn >= warm_up:
                times[name].append(taken)
    return times, results


def ratio(times: list[float], floor: list[float]) -> dict[str, float]:
    """The median of the rounds' ratios to the floor, with their 5 and 95 % quantiles."""
    pairs = sorted(a / b for a, b in zip(times, floor, strict=True))
    return {
        "median": round(statistics.median(pairs), 3),
        "low": round(pairs[int(0.05 * (len(pairs) - 1))], 3),
        "high": round(pairs[int(0.95 * (len(pairs) - 1))], 3),
    }


def peak_bytes(device: torch.device) -> int | None:
    """The most memory so far: of a card by its allocator's own counter, of a process on the CPU by the system's; None where the system
    does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
