"""Sessions that open the page, render or cancel or leave, at a started studio: nothing of them stays, and the engine is free."""

from __future__ import annotations

import random
import secrets
import time
from pathlib import Path
from typing import Any

from tests.torture.server import TortureServer
from tests.torture.tally import Tally

FATES = ("renders", "stops", "leaves while it renders", "leaves at once", "never asks for its answer")
SETTLED = 30
"""Sessions after which memory and open files are compared with the end."""
GROWTH = 0.05
"""Part that memory may grow by from there: pictures of one step are cached by nobody."""


def attack_sessions(root: Path, *, count: int, seed: int = 0) -> Tally:
    """Lets `count` sessions come and go.

    Args:
        root: an empty folder, the workspace.
    """
    tally, dice = Tally("sessions", seed), random.Random(seed)
    server = TortureServer(root)
    try:
        event, data = server.rendering()
        stops = server.stops()
        _session(server, event, data, stops, "renders", tally)  # the libraries and the model are loaded by it
        memory = files = 0
        for number in range(count):
            fate = dice.choice(FATES)
            tally.tries += 1
            tally.count(fate)
            _session(server, event, data, stops, fate, tally)
            if number + 1 == min(SETTLED, count // 2):
                _freed(server, event, data, tally)
                memory, files = server.memory(), server.open_files()
        _freed(server, event, data, tally)
        grown = server.memory() / max(1, memory) - 1
        tally.facts.append(
            f"memory {grown:+.1%} after the first {min(SETTLED, count // 2)}, {server.open_files() - files:+d} open files"
        )
        if count >= 2 * SETTLED and grown > GROWTH:
            tally.failures.append(f"memory grew by {grown:.1%}")
        if server.open_files() > files + 10:
            tally.failures.append(f"{server.open_files() - files} more files and sockets are open")
        if left := [path.name for path in root.rglob("*.tmp")]:
            tally.failures.append(f"{left[0]} was left in the workspace")
    finally:
        server.close()
    return tally


def _session(server: TortureServer, event: int, data: list[Any], stops: list[int], fate: str, tally: Tally) -> None:
    name = secrets.token_hex(5)
    if server.ask("GET", "/", most=4096).status != 200:
        tally.failures.append("the page did not open")
    answer = server.join(name, event, data)
    if answer.status != 200:
        # the queue is bounded; those who left at once are still in it
        tally.count("told that the queue is full")
        if b"full" not in answer.body.lower():
            tally.failures.append(f"the queue answered {answer.status}")
        return
    if fate in ("leaves at once", "never asks for its answer"):
        if fate == "leaves at once":
            with server.messages(name):
                pass
        return
    ended = False
    with server.messages(name) as messages:
        for message in messages:
            if message["msg"] == "process_starts" and fate != "renders":
                for stop in stops if fate == "stops" else ():
                    server.join(name, stop, [])
                if fate == "leaves while it renders":
                    return
            if message["msg"] == "process_completed":
                ended = True
                if fate == "renders" and not message.get("success", True):
                    tally.failures.append(f"a rendering failed: {str(message)[:200]}")
                break
            if message["msg"] == "close_stream":
                break
    if not ended:
        tally.failures.append(f"a session that {fate} had no end")


def _freed(server: TortureServer, event: int, data: list[Any], tally: Tally) -> None:
    """The engine renders for the next one, whoever left before."""
    until = time.monotonic() + 120
    name = secrets.token_hex(5)
    while (answer := server.join(name, event, data)).status != 200 and time.monotonic() < until:
        time.sleep(0.5)
    if answer.status != 200:
        tally.failures.append("the queue stayed full")
        return
    with server.messages(name) as messages:
        if not any(message["msg"] == "process_completed" and message.get("success", True) for message in messages):
            tally.failures.append("the engine was not free for the next session")
