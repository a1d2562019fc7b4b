"""Pictures to begin from or to follow: image-to-image, inpainting, ControlNet and T2I-Adapter.

The stock pipelines do the work, on the same components: the row gate wraps the denoiser they share, and a
ControlNet or adapter gets the same rows with and without NPO.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageOps
from torch import Tensor, nn

from core.errors import StudioError
from core.families.base import FamilySpec, Size
from core.generation import limits


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """A picture that a rendering begins from, or, with `control`, that it follows.

    Args:
        image: any size; cropped in the middle to the shape of the result and scaled to it.
        mask: white is redrawn and black is kept; None redraws everything.
        strength: 0.01 to 1, how far the picture is taken back to noise; 1 keeps nothing of it.
        control: a ControlNet or T2I-Adapter of the family; `image` is then what it was trained to read (edges, a pose).
        control_scale: [0, 2], how strongly it is followed.

    Raises:
        StudioError: a value outside its range, or a mask together with a control network.
    """

    image: Image.Image
    mask: Image.Image | None = None
    strength: float = 0.6
    control: nn.Module | None = None
    control_scale: float = 1.0

    def __post_init__(self) -> None:
        limits.check_number("strength", self.strength, *limits.STRENGTH, whole=False)
        limits.check_number("control_scale", self.control_scale, *limits.CONTROL_SCALE, whole=False)
        if self.control is not None and self.mask is not None:
            raise StudioError("A control network cannot be combined with a painted mask.", "Remove one of them.")

    @property
    def use(self) -> str:
        """ "image", "inpaint", "control" or "adapter"."""
        if self.control is not None:
            return "adapter" if type(self.control).__name__ == "T2IAdapter" else "control"
        return "image" if self.mask is None else "inpaint"


def pipeline_with(pipe: Any, family: FamilySpec, input_image: InputImage) -> Any:
    """The family's stock pipeline for this use, on the components of `pipe`; nothing is copied or cast.

    Raises:
        StudioError: the family has none, or none for this network.
    """
    if input_image.use not in family.input_pipelines:
        raise StudioError("{family} does not support an input image.", "Remove the input image.", family=family.title)
    channels = cast(Any, family.denoiser(pipe)).config.in_channels
    if input_image.use == "inpaint" and channels not in (4, 9):
        raise StudioError(
            "Inpainting needs a network with 4 or 9 input channels; this model has {channels}.",
            "Clear the mask to redraw the whole picture, or choose another base model.",
            channels=channels,
        )
    kind = family.input_pipelines[input_image.use]
    known = inspect.signature(kind).parameters
    parts: dict[str, Any] = {name: part for name, part in pipe.components.items() if name in known}
    parts |= {name: value for name, value in family.load_options.items() if name in known and name not in parts}
    if input_image.control is not None:
        parts["adapter" if input_image.use == "adapter" else "controlnet"] = input_image.control
    made = kind(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def arguments_with(input_image: InputImage, size: Size, count: int) -> dict[str, Any]:
    """Keyword arguments of that pipeline's call for `count` rows: every row has its own copy of the picture, so that
    what the VAE draws at random comes from the row's own generator."""
    box = (size.width, size.height)
    images = [ImageOps.fit(input_image.image.convert("RGB"), box)] * count
    if input_image.control is not None:
        key = "adapter_conditioning_scale" if input_image.use == "adapter" else "controlnet_conditioning_scale"
        return {"image": images, key: input_image.control_scale}
    if input_image.mask is None:
        return {"image": images, "strength": input_image.strength}
    return {
        "image": images,
        "mask_image": [ImageOps.fit(input_image.mask.convert("L"), box)] * count,
        "strength": input_image.strength,
    }


def steps_with(input_image: InputImage | None, steps: int) -> int:
    """Steps that are really made: image-to-image leaves out those before its start.

    Raises:
        StudioError: not one is left.
    """
    if input_image is None or input_image.control is not None:
        return steps
    made = min(int(steps * input_image.strength), steps)
    if made < 1:
        raise StudioError(
            "{steps} steps at strength {strength:g} leave no step to run.",
            "Choose more steps or a higher strength.",
            steps=steps,
            strength=input_image.strength,
        )
    return made


def fitting(pipe: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that this pipeline's call knows; image-to-image takes its size from the picture."""
    known = inspect.signature(type(pipe).__call__).parameters
    return {name: value for name, value in arguments.items() if name in known}


def callback_for(pipe: Any, after_step: Callable[[int, Tensor], None]) -> dict[str, Any]:
    """`after_step(step, latents)` as this pipeline takes it: the adapters' pipelines have the older form."""
    known = inspect.signature(type(pipe).__call__).parameters
    if "callback_on_step_end" not in known:
        return {"callback": lambda step, timestep, latents: after_step(step, latents), "callback_steps": 1}

    def at_step_end(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        after_step(step, tensors["latents"])
        return tensors

    return {"callback_on_step_end": at_step_end}
