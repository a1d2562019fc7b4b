"""The voting page alone, behind the studio's guard: for phones of others, to whom the studio itself stays closed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from app.page.security import guarded
from app.page.voting import routes
from core.studio.workspace import Workspace


def voting_app(workspace: Workspace, *, any_host: bool) -> Any:
    """An ASGI application with the routes of the studies of a workspace and nothing else."""
    app = Starlette(routes=routes(workspace))
    return guarded(app, any_host=any_host, in_a_space=False, uploads=Path(tempfile.gettempdir()))
