"""Which implementation computes a denoiser's attention, and whether it really is in place.

sdpa      torch's scaled_dot_product_attention: it chooses among flash, memory-efficient and plain kernels itself
xformers  of UNets and SD3, through diffusers' `enable_xformers_memory_efficient_attention`; on an NVIDIA card
plain     of UNets: the matrix written out, for comparison

diffusers' attention dispatcher (`set_attention_backend`) is not used: in 0.42 the processors of all families here call
scaled_dot_product_attention themselves, so that it changes nothing without a word. xformers is not offered for CogVideoX:
diffusers would put a processor in place that does not know its joint sequence of text and video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from core.errors import StudioError

CHOICES = ("auto", "sdpa", "xformers", "plain")
VARIABLE = "SELF_NPO_ATTENTION"
"""The environment's name for the choice of a program and of the processes that it starts: training, evaluation."""
_PROCESSORS = {
    "AttnProcessor2_0": "sdpa",
    "JointAttnProcessor2_0": "sdpa",
    "CogVideoXAttnProcessor2_0": "sdpa",
    "XFormersAttnProcessor": "xformers",
    "XFormersJointAttnProcessor": "xformers",
    "AttnProcessor": "plain",
}


def chosen() -> str:
    """The implementation that this program was started with; auto where none was named."""
    return os.environ.get(VARIABLE) or "auto"


def available() -> dict[str, str]:
    """Each implementation and whether it works on this machine: "yes", or what is missing."""
    xformers = "yes" if find_spec("xformers") else "not installed"
    if xformers == "yes" and not torch.cuda.is_available():
        xformers = "needs an NVIDIA card"
    return {"sdpa": "yes", "xformers": xformers, "plain": "yes"}


def in_place(denoiser: nn.Module) -> str:
    """The implementation that the denoiser's processors are of; several are joined with "+"."""
    names = {type(processor).__name__ for processor in _processors(denoiser).values()}
    return "+".join(sorted({_PROCESSORS.get(name, name) for name in names}))


def _processors(denoiser: nn.Module) -> dict[str, Any]:
    return dict(denoiser.attn_processors)  # type: ignore[arg-type]


def check(name: str) -> None:
    """Whether there is such an implementation, and whether it works on this machine.

    Raises:
        StudioError: it does not; says what is missing.
    """
    if name not in CHOICES:
        raise StudioError(
            "“{name}” is not an implementation of attention.", "Choose {known}.", name=name[:40], known=", ".join(CHOICES)
        )  # fmt: skip
    missing = available().get(name, "yes")
    if missing != "yes":
        raise StudioError(
            "Attention by {name} is not available here: {missing}.",
            "Install it into this environment, or choose sdpa, which is as exact.",
            name=name,
            missing=missing,
        )


def put_in_place(denoiser: nn.Module, name: str) -> str:
    """Gives the denoiser that implementation of attention, and returns the one that is in place then.

    Args:
        name: of `CHOICES`; auto leaves what diffusers chose, which is sdpa.

    Raises:
        StudioError: as `check`; or this denoiser has no such form.
    """
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0  # not needed to say what there is

    check(name)
    own = _processors(denoiser)
    if name == "xformers" and in_place(denoiser) == "sdpa" and not _is_cogvideox(own):
        denoiser.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
    elif name in ("plain", "sdpa") and all(type(p) in (AttnProcessor, AttnProcessor2_0) for p in own.values()):
        denoiser.set_attn_processor(AttnProcessor() if name == "plain" else AttnProcessor2_0())  # type: ignore[operator]
    current = in_place(denoiser)
    if name not in ("auto", current):
        denoiser.set_attn_processor(own)  # type: ignore[operator]
        raise StudioError(
            "This model's attention cannot use {name}; it still uses {current}.",
            "Choose sdpa.",
            name=name,
            current=current,
        )
    return current


@contextmanager
def attention(denoiser: nn.Module, name: str) -> Iterator[str]:
    """The denoiser with that implementation of attention; yields what is in place. Its own is put back afterwards.

    Raises:
        StudioError: as `put_in_place`.
    """
    own = _processors(denoiser)
    try:
        yield put_in_place(denoiser, name)
    finally:
        denoiser.set_attn_processor(own)  # type: ignore[operator]


def _is_cogvideox(processors: dict[str, Any]) -> bool:
    return any(type(processor).__name__.startswith("CogVideoX") for processor in processors.values())
