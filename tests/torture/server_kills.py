"""SIGKILL of what the server does, rendering, keeping pictures, marks and presets, at random file operations and moments. What
is there afterwards is whole, and the next start renders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.studio.workspace import Workspace
from tests.torture.tally import Tally

if TYPE_CHECKING:
    from tests.torture.kills import Host

RENDERS = 3
"""Renderings of one fork: two pictures, a mark and a preset each."""


def render_and_keep(root: Path, renders: int) -> int:
    """Runs in a fork of `tests.torture.host`: renders pairs of the tiny model, and keeps what the page keeps."""
    from core.generation.comparison import Comparison
    from core.generation.settings import Settings
    from core.studio.comparing.engine import Engine
    from core.studio.comparing.events import Saved
    from core.studio.comparing.gallery import toggle_favourite
    from core.studio.presets.files import save_preset
    from core.studio.presets.preset import preset_of

    workspace = Workspace(root)
    engine = Engine(workspace, cpu=True)
    for number in range(renders):
        settings = Settings.from_values(
            {"base": "tiny", "prompt": "ab", "negative": "none", "steps": 1, "seed": number}
        )
        saved = [event for event in engine.compare(Comparison.of(settings)) if isinstance(event, Saved)]
        toggle_favourite(workspace, saved[0].path.name)
        save_preset(workspace, preset_of(settings.values(), name=f"kept {number % 2}"), replace=True)
    return 0


def kill_the_server(workspace: Workspace, host: Host, dice: random.Random, tally: Tally, count: int) -> None:
    """Kills until the tally has `count` tries; then lets one end."""
    code, ops = host.order(workspace.root, renders=RENDERS)
    if code:
        raise RuntimeError(f"the server's work ended with {code}")
    while tally.tries < count:
        inside = dice.random() < 0.7
        kill = {"op": dice.randint(1, max(2, ops))} if inside else {"after": dice.uniform(0.01, 0.6)}
        code, _ = host.order(workspace.root, renders=RENDERS, **kill)
        if code not in (0, -9):
            tally.failures.append(f"after a kill the server's work ended with {code}")
        if code == -9:
            tally.tries += 1
            tally.count("of the server, while it kept something" if inside else "of the server, elsewhere")
            tally.failures += [f"{kill}: {fault}" for fault in damaged_files(workspace.root)]
    code, _ = host.order(workspace.root, renders=RENDERS)
    if code:
        tally.failures.append(f"the last start ended with {code}")


def damaged_files(root: Path) -> list[str]:
    """What the next start finds damaged, in words: it sweeps first, as it always does."""
    from core.generation.media import read_png
    from core.studio.comparing.gallery import favourites, pictures
    from core.studio.locks import holding
    from core.studio.presets.files import list_presets

    workspace, faults = Workspace(root), []
    faults += [f"{path.name} was left" for path in root.rglob("*.tmp")]
    for path in workspace.outputs.glob("*.png"):
        try:
            read_png(path)
        except StudioError as error:
            faults.append(str(error))
    try:
        pictures(workspace)
        favourites(workspace)
        list_presets(workspace)
    except StudioError as error:
        faults.append(str(error))
    with holding(workspace.lock) as free:
        if not free:
            faults.append("the lock is still held")
    for path in sorted(workspace.outputs.glob("*.png"))[:-40]:
        path.unlink()  # so that reading them all stays quick
    return faults
