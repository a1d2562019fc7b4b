"""Loads what the library names: base models, offsets, control networks. Heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json
from core.studio.library.choose import family_of_base, list_inversions
from core.studio.workspace import ASSETS, Workspace


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


def find_inversions(workspace: Workspace, *texts: str) -> dict[str, Path]:
    """The textual inversions that these texts call, by name. A child process converts a pickle the first time that it is
    called; the safetensors beside it is used from then on.

    Raises:
        StudioError: a pickle is damaged or holds code.
    """
    from core.generation.prompt_syntax import called_words
    from core.offsets.header import is_pickle
    from core.offsets.unpickle import convert_pickle

    known = list_inversions(workspace)
    called = {word.name: known[word.name] for text in texts for word in called_words(text, known)}
    for name, path in called.items():
        if is_pickle(path):
            called[name] = path.with_suffix(".safetensors")
            convert_pickle(path, called[name])
    return called


def load_inversion(path: Path) -> Any:
    """A textual inversion, ready to be read in prompts.

    Raises:
        StudioError: it is damaged or something else.
    """
    from core.generation.textual_inversion import Inversion
    from core.offsets.textual_inversion import read_inversion

    return Inversion(read_inversion(path))


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
        loaded = _folder(path) if path.is_dir() else _single_file(path, family, denoiser)
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


def _single_file(path: Path, family: str, denoiser: Any) -> Any:
    from core.offsets.header import read_header
    from core.offsets.t2i_adapter import is_t2i_adapter

    return _t2i_adapter(path, family) if is_t2i_adapter(read_header(path).shapes) else _controlnet(path, denoiser)


def _t2i_adapter(path: Path, family: str) -> Any:
    """A T2I-Adapter of the sizes that its tensors have; SDXL's halves the picture once where the others do at each stage."""
    from diffusers import T2IAdapter

    from core.offsets.t2i_adapter import read_t2i_adapter

    architecture, parameters = read_t2i_adapter(path)
    channels, factor = architecture.reads()
    network = T2IAdapter(
        in_channels=channels,
        channels=list(architecture.channels),
        num_res_blocks=architecture.blocks,
        downscale_factor=factor,
        adapter_type="light_adapter"
        if architecture.light
        else "full_adapter_xl"
        if family == "sdxl"
        else "full_adapter",
    )
    network.load_state_dict(parameters)
    return network


def _controlnet(path: Path, denoiser: Any) -> Any:
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
