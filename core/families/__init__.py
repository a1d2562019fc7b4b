"""The model families the studio knows. Adding one is a file here and a line in `_MODULES`."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError

if TYPE_CHECKING:
    from core.families.base import FamilySpec

_MODULES = {"sd15": "core.families.sd15"}
_PIPELINES = {"StableDiffusionPipeline": "sd15"}

NAMES = tuple(_MODULES)


def get(name: str) -> FamilySpec:
    """The family of that name; its libraries are imported now.

    Raises:
        StudioError: there is no such family.
    """
    if name not in _MODULES:
        raise StudioError(f"There is no model family “{name[:40]}”.", f"This studio knows {', '.join(NAMES)}.")
    return import_module(_MODULES[name]).SPEC


def detect(folder: Path) -> str:
    """Name of the family of a diffusers folder, from its `model_index.json`. Imports nothing heavy.

    Raises:
        StudioError: no model folder, or of a family this studio does not know.
    """
    try:
        kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudioError(
            f"“{folder.name}” is not a model folder: it has no readable model_index.json.",
            "Choose a folder in the diffusers layout.",
        ) from error
    if kind not in _PIPELINES:
        raise StudioError(
            f"“{folder.name}” is a {str(kind)[:60]}, which this studio does not know.",
            f"Choose a folder of {', '.join(_PIPELINES)}.",
        )
    return _PIPELINES[kind]
