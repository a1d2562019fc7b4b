"""The strength meter: how far an offset moves the prediction, from a few prompts. Heavy imports happen inside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.evaluation.prompts import read_prompts
from core.studio.evaluating.folder import own_prompts
from core.studio.evaluating.settings import NPO, Column, EvaluationSettings
from core.studio.evaluating.work import load_parts, measure
from core.studio.library.choose import find_base, find_offset
from core.studio.workspace import Workspace


@dataclass(frozen=True)
class Strength:
    """What was measured of an offset at β = 1.

    Args:
        omega: of the guidance it was measured in.
        dose: size of the offset's change of the negative prediction beside the prompt's change, mean over the steps.
        as_cfg: ω of plain CFG that moves the prediction as far as the offset's part does here: omega times dose.
        effective_omega: how far guidance with the offset goes along CFG's own direction.
        prompts: how many were measured.
        steps: the figures of each step, from noise to picture.
    """

    offset: str
    omega: float
    dose: float
    as_cfg: float
    effective_omega: float
    prompts: int
    steps: list[dict[str, float]]

    @property
    def sentence(self) -> str:
        """It as a person reads it."""
        return (
            f"At β = 1 and ω = {self.omega:g}, {self.offset} moves the prediction as much as CFG at ω = {self.as_cfg:.2g} "
            f"(dose {self.dose:.2g}, effective ω {self.effective_omega:.3g}; {self.prompts} prompts)."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "sentence": self.sentence}


def measure_dose(
    workspace: Workspace,
    offset: str,
    *,
    base: str,
    omega: float = 2.0,
    prompts: int = 3,
    prompts_file: str = "",
    device: str = "cpu",
) -> Strength:
    """Measures an offset on a base; 75 row-forwards a prompt at 25 steps.

    Args:
        prompts: how many prompts are measured, 1 to 64.
        prompts_file: where they come from; empty for the miniature's own, or those beside the base.

    Raises:
        StudioError: no such offset, no prompts for this base, ω = 0, or an offset of another model.
    """
    path = find_offset(workspace, offset)
    if path is None:
        raise StudioError("No offset is named.", "Choose one from the library, or a file.")
    if omega <= 0:
        raise StudioError("Without guidance an offset does nothing.", "Choose an ω above 0.")
    settings = EvaluationSettings(base=base, negative=offset, omega=omega, beta=1.0, probe=prompts)
    folder = find_base(workspace, base)
    if prompts_file:
        texts = [prompt.text for prompt in read_prompts(Path(prompts_file).expanduser(), prompts)]
    elif (folder / "prompts.txt").is_file():
        texts = [prompt.text for prompt in read_prompts(folder / "prompts.txt", prompts)]
    else:
        texts = [prompt.text for prompt in own_prompts(folder, 0, prompts)]
    from core.families.libraries import load_libraries

    load_libraries()
    column = Column(NPO, "npo", settings.weights, "own")
    facts = measure(load_parts(workspace, settings, device), settings, [column], texts)[NPO]
    return Strength(
        path.stem,
        omega,
        facts["dose"],
        round(omega * facts["dose"], 4),
        facts["effective_omega"],
        len(texts),
        facts["steps"],
    )
