"""The sampling schedulers on offer, by the names people know."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from core.errors import StudioError

SAMPLERS: dict[str, tuple[Any, str]] = {
    "dpmsolver++": (DPMSolverMultistepScheduler, "DPM++ 2M"),
    "ddim": (DDIMScheduler, "DDIM"),
    "euler": (EulerDiscreteScheduler, "Euler"),
    "unipc": (UniPCMultistepScheduler, "UniPC"),
}
"""Name to class and to the name that image metadata of other programs use."""


def make_scheduler(name: str, config: Any) -> Any:
    """A fresh scheduler of that name with the model's own noise schedule.

    Raises:
        StudioError: there is none of that name.
    """
    if name not in SAMPLERS:
        raise StudioError(f"There is no scheduler “{name[:40]}”.", f"Choose one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name][0].from_config(config)
