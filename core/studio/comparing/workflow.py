"""A picture's settings as a workflow of another program, beside the picture."""

from __future__ import annotations

from pathlib import Path

from core.generation.comfyui_export import save_workflow
from core.generation.media import read_settings

__all__ = ["export_workflow", "save_workflow"]


def export_workflow(picture: Path, out: Path | None = None) -> Path:
    """Writes the ComfyUI workflow of a picture, beside it where no other place is named.

    Raises:
        StudioError: the picture has no settings, or guidance that a workflow cannot say.
    """
    return save_workflow(read_settings(picture), out or picture.with_suffix(".comfyui.json"))
