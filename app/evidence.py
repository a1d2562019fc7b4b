"""The setting of an evaluation as a preset with its evidence: for the command line and the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.studio.evaluating.evidence import setting_with_evidence
from core.studio.evaluating.folder import Evaluation
from core.studio.presets.files import save_preset
from core.studio.presets.preset import Evidence, preset_of
from core.studio.workspace import Workspace


@dataclass(frozen=True)
class Saved:
    """Where the preset is, its settings, and what was measured of them."""

    path: Path
    values: dict[str, Any]
    evidence: list[dict[str, Any]]


def save_with_evidence(workspace: Workspace, evaluation: Evaluation, name: str = "", *, replace: bool = False) -> Saved:
    """Saves the setting of an evaluation, or the best cell of its sweep.

    Args:
        name: of the preset; the evaluation's own where it is empty.
        replace: in place of one of that name.

    Raises:
        StudioError: there is no report yet, the name is taken, or the disk refuses.
    """
    values, evidence = setting_with_evidence(evaluation)
    checked = [Evidence.model_validate(one) for one in evidence]
    preset = preset_of(values, name=name or evaluation.id, workspace=workspace, evidence=checked)
    return Saved(save_preset(workspace, preset, replace=replace), values, evidence)
