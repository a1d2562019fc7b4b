"""Which of the bundled miniatures' worlds a base of the library draws. No torch."""

from __future__ import annotations

from core.errors import StudioError
from core.miniature.worlds import World
from core.miniature.worlds import world_of as world_of
from core.studio.library.choose import find_base
from core.studio.workspace import Workspace


def world_of_base(workspace: Workspace, base: str) -> World | None:
    """The world of a base by its name or path; None where it has none, or is not there."""
    try:
        return world_of(find_base(workspace, base))
    except StudioError:
        return None
