"""Loads what the library names: base models, offsets, control networks. Heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json
from core.studio.library.choose import family_of_base
from core.studio.workspace import ASSETS


def load_base(base: Path, *, dtype: Any = None, device: str = "cpu") -> Any:
    """The pipeline of a base: a diffusers folder, or a single file of a true architecture. Its denoiser computes attention
    as this program was started to (`core.families.attention.chosen`).

    Raises:
        StudioError: it cannot be loaded, or its attention cannot be computed in that way.
    """
    import torch

    from core.families import get
    from core.families.attention import check, chosen, put_in_place

    check(chosen())  # before minutes of loading
    family, dtype = get(family_of_base(base)), dtype or torch.float32
    if base.is_file():
        from core.families.full_size import load_single_file

        pipe = load_single_file(base, family.name, ASSETS / "configs", dtype=dtype, device=device)
    else:
        pipe = family.load(base, dtype=dtype, device=device)
    put_in_place(family.denoiser(pipe), chosen())
    return pipe


def load_offset(path: Path, family: str, denoiser: Any) -> Any:
    """An offset ready for the row gate: a LoRA's layers, or the exact difference of whole weights from this base."""
    from core.offsets.files import load_lora, read_offset
    from core.offsets.full import difference, exact

    if read_offset(path).kind == "lora":
        return load_lora(path, family=family, denoiser=denoiser)
    return exact(difference(denoiser, path, family=family))


def load_control(path: Path, family: str, denoiser: Any) -> Any:
    """A ControlNet or T2I-Adapter, from local safetensors alone.

    Args:
        denoiser: of the base; a ControlNet's single file does not say its architecture, which is the denoiser's.

    Raises:
        StudioError: it is of another family, incomplete or damaged.
    """
    from core.families import get
    from core.families.attention import chosen, put_in_place
    from core.studio.library.entries import kind_of

    own = kind_of(path)[1]
    if own and own != family:
        raise StudioError(
            "“{name}” is a control network for {title}, but the base model is {title_2}.",
            "Choose one for the same family.",
            name=path.name,
            title=get(own).title,
            title_2=get(family).title,
        )
    try:
        loaded = _folder(path) if path.is_dir() else _single_file(path, denoiser)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise StudioError(
            "The control network “{name}” could not be loaded: {kind}.",
            "It is incomplete, damaged, a pickle, or made for another base: fetch it again as safetensors.",
            name=path.name,
            kind=type(error).__name__,
        ) from error
    if hasattr(loaded, "attn_processors"):
        put_in_place(loaded, chosen())
    return loaded.eval()


def _folder(path: Path) -> Any:
    import diffusers

    kind = getattr(diffusers, read_json(path / "config.json", dict)["_class_name"])
    return kind.from_pretrained(path, use_safetensors=True, local_files_only=True)


def _single_file(path: Path, denoiser: Any) -> Any:
    """A ControlNet with the architecture of a UNet; a tensor that is missing, left over or of another size is a
    RuntimeError of torch."""
    from diffusers import ControlNetModel

    from core.offsets.controlnet import read_controlnet

    parameters = read_controlnet(path)
    reads = parameters["controlnet_cond_embedding.conv_in.weight"].shape
    blocks = (f"controlnet_cond_embedding.blocks.{number}.weight" for number in range(1, 12, 2))
    widths = (reads[0], *(parameters[name].shape[0] for name in blocks if name in parameters))
    network = ControlNetModel.from_unet(
        denoiser,
        conditioning_embedding_out_channels=widths,
        load_weights_from_unet=False,
        conditioning_channels=reads[1],
    )
    own = network.state_dict()
    for name, tensor in parameters.items():
        if name in own and tensor.numel() == own[name].numel():
            # the original layout writes some projections as convolutions
            parameters[name] = tensor.reshape(own[name].shape)
    network.load_state_dict(parameters)
    return network
