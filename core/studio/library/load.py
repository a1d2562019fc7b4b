"""Loads what the library names: base models, offsets, control networks. Heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json
from core.studio.library.choose import family_of_base
from core.studio.workspace import ASSETS


def load_base(base: Path, *, dtype: Any = None, device: str = "cpu") -> Any:
    """The pipeline of a base: a diffusers folder, or a single file of a true architecture."""
    import torch

    from core.families import get

    family, dtype = family_of_base(base), dtype or torch.float32
    if base.is_file():
        from core.families.full_size import load_single_file

        return load_single_file(base, family, ASSETS / "configs", dtype=dtype, device=device)
    return get(family).load(base, dtype=dtype, device=device)


def load_offset(path: Path, family: str, denoiser: Any) -> Any:
    """An offset ready for the row gate: a LoRA's layers, or the exact difference of whole weights from this base."""
    from core.offsets.files import load_lora, read_offset
    from core.offsets.full import difference, exact

    if read_offset(path).kind == "lora":
        return load_lora(path, family=family, denoiser=denoiser)
    return exact(difference(denoiser, path, family=family))


def load_control(path: Path, family: str) -> Any:
    """A ControlNet or T2I-Adapter, from local safetensors alone.

    Raises:
        StudioError: it is of another family, incomplete or damaged.
    """
    import diffusers

    from core.families import get
    from core.studio.library.entries import kind_of

    own = kind_of(path)[1]
    if own != family:
        raise StudioError(
            "“{name}” is a control network for {title}, but the base model is {title_2}.",
            "Choose one for the same family.",
            name=path.name,
            title=get(own).title,
            title_2=get(family).title,
        )
    name = read_json(path / "config.json", dict)["_class_name"]
    try:
        loaded = getattr(diffusers, name).from_pretrained(path, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise StudioError(
            "The control network “{name}” could not be loaded: {kind}.",
            "It is incomplete, damaged or a pickle: fetch it again as safetensors.",
            name=path.name,
            kind=type(error).__name__,
        ) from error
    return loaded.eval()
