"""The strength meter: how far an offset moves the prediction, from a few prompts. Heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.evaluation.prompts import read_prompts
from core.method.forms import proposed_beta
from core.studio.evaluating.folder import own_prompts
from core.studio.evaluating.settings import EvaluationSettings
from core.studio.evaluating.work import Parts, load_parts
from core.studio.library.choose import find_base, find_offset
from core.studio.library.doses import keep_dose
from core.studio.workspace import Workspace

OWN_OMEGA, OWN_STEPS, SEED = 1.0, 25, 0
"""Of the model's own pictures that it is measured on: guidance, DDIM steps, and the seed of the first."""
TOGETHER = 4
"""Rows of one forward: it measures where it renders, too."""


@dataclass(frozen=True)
class Strength:
    """What was measured of an offset.

    Args:
        omega: of the guidance that it is stated for.
        dose: size of the offset's change of the prediction relative to the prompt's change; see `core.method.dose`.
        ratios: by noise level.
        as_cfg: ω of plain CFG that moves the prediction as far as the offset's part does at β = 1: omega times dose.
        proposed_beta: what is proposed at this omega.
        prompts: how many were measured.
    """

    offset: str
    omega: float
    dose: float
    ratios: dict[str, float]
    as_cfg: float
    proposed_beta: float
    prompts: int

    @property
    def sentence(self) -> str:
        """It as a person reads it."""
        return (
            f"At β = 1 and ω = {self.omega:g}, {self.offset} moves the prediction as much as CFG at ω = {self.as_cfg:.2g} "
            f"(dose {self.dose:.2g}; {self.prompts} prompts). Proposed: β = {self.proposed_beta:g}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "sentence": self.sentence}


def measure_strength(
    workspace: Workspace,
    offset: str,
    *,
    base: str,
    omega: float = 2.0,
    prompts: int = 8,
    prompts_file: str = "",
    device: str = "cpu",
) -> Strength:
    """Measures an offset on a base, and keeps its dose in the workspace; 65 row-forwards a prompt.

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
    parts = load_parts(workspace, settings, device)
    dose = _measured(parts, parts.offsets[settings.negative], texts)
    keep_dose(workspace, path, dose.mean)
    return Strength(
        path.stem,
        omega,
        round(dose.mean, 5),
        {f"{level:g}": round(ratio, 5) for level, ratio in dose.by_level().items()},
        round(omega * dose.mean, 4),
        proposed_beta(omega, dose.mean),
        len(texts),
    )


def _measured(parts: Parts, offset: Any, texts: Sequence[str]) -> Any:
    """The dose of an offset on pictures that its base draws of these texts."""
    import torch

    from core.families.base import join, take
    from core.method.dose import LEVELS, measure_dose
    from core.method.schedule import NoiseSchedule, ddim_grid
    from core.method.tdft import guided_denoiser, rollout
    from core.offsets.row_gate import row_gate

    family, pipe = parts.family, parts.pipe
    denoiser, size = family.denoiser(pipe), family.defaults(pipe).size
    own = next(denoiser.parameters())
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler).to(own.device)
    spacing = pipe.scheduler.config.get("timestep_spacing", "leading")
    grid = ddim_grid(schedule.timesteps, OWN_STEPS, spacing=spacing).to(own.device)
    shape = family.latent_shape(pipe, size)
    cond = family.encode_prompt(pipe, list(texts), size)
    empty = family.encode_prompt(pipe, [""] * len(texts), size, negative=True)

    def noise(number: int) -> torch.Tensor:
        drawn = torch.Generator().manual_seed(SEED + number)
        return torch.randn((len(texts), *shape), generator=drawn).to(own.device, own.dtype)

    with row_gate(denoiser, None, offset, train_timesteps=schedule.timesteps) as gate:

        def predict(x: torch.Tensor, t: torch.Tensor, text: Any, delta: float) -> torch.Tensor:
            results = []
            for start in range(0, len(x), TOGETHER):
                rows = slice(start, start + TOGETHER)
                gate.set_rows(torch.tensor([(0.0, delta)] * len(x[rows])))
                results.append(family.predict(denoiser, x[rows], t[rows], take(text, rows)))
            return torch.cat(results)

        def base(x: torch.Tensor, t: torch.Tensor, text: Any) -> torch.Tensor:
            return predict(x, t, text, 0.0)

        def changed(x: torch.Tensor, t: torch.Tensor, text: Any) -> torch.Tensor:
            return predict(x, t, text, 1.0)

        guided = guided_denoiser(base, cond, empty, OWN_OMEGA, join)
        x_0 = rollout(guided, noise(0), grid[:, None].expand(OWN_STEPS, len(texts)), schedule).x0_hat
        noises = [noise(1 + number) for number in range(len(LEVELS))]
        return measure_dose(changed, base, x_0, cond, empty, schedule, noises)
