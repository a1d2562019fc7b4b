"""The sampling schedulers of the variance-preserving image families, by the names people know."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

SAMPLERS: dict[str, tuple[Any, str]] = {
    "dpmsolver++": (DPMSolverMultistepScheduler, "DPM++ 2M"),
    "ddim": (DDIMScheduler, "DDIM"),
    "euler": (EulerDiscreteScheduler, "Euler"),
    "unipc": (UniPCMultistepScheduler, "UniPC"),
}
"""Name to class and to the name that image metadata of other programs use."""
