"""The true architectures from their configurations: single checkpoint files loaded without a network, and full-size
networks with random weights for speed, memory and loading tests. Random weights are never shown as results."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTokenizer

from core.errors import StudioError
from core.families import detect, get

NAMES = ("sd15", "sdxl", "cogvideox-2b", "cogvideox-5b")


def _bytes_as_letters() -> list[str]:
    """The printable letters that represent the 256 bytes in CLIP's byte-pair vocabulary, in its order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [256 + n for n in range(256 - len(plain))]
    return [chr(code) for code in [*plain, *others]]


@cache
def _vocabulary(file: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        lines = opened.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = _bytes_as_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}, merges


def clip_tokenizer(configs: Path, *, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's tokenizer of 49,408 pieces; SDXL's second one pads with "!".

    Args:
        configs: the folder of `assets.build.configs`.
    """
    vocabulary, merges = _vocabulary(configs / "clip_bpe_vocabulary.txt.gz")
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), model_max_length=77, pad_token=pad_token)


def load_single_file(
    file: Path, family_name: str, configs: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Any:
    """A pipeline from one checkpoint file of a true architecture, in the original layout, from local files alone.

    Raises:
        StudioError: this family has no single files, or the file is damaged.
    """
    if family_name not in ("sd15", "sdxl"):
        raise StudioError(
            "“{name}” cannot be loaded as a whole model: {family} comes as a folder.",
            "Choose a folder in the diffusers layout.",
            name=file.name,
            family=get(family_name).title,
        )
    tokenizers = {"tokenizer": clip_tokenizer(configs)}
    if family_name == "sdxl":
        tokenizers["tokenizer_2"] = clip_tokenizer(configs, pad_token="!")
    family = get(family_name)
    return family.load(file, dtype=dtype, device=device, config=configs / family_name, extra=tokenizers)


def build_denoiser(name: str, configs: Path, *, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> nn.Module:
    """The denoiser of a true architecture with random weights, made on the device in the data type.

    Args:
        name: of `NAMES`.

    Raises:
        StudioError: there is none of that name.
    """
    if name not in NAMES:
        raise StudioError(
            "There is no full-size model “{name}”.",
            "Choose one of {choices}.",
            name=name[:40],
            choices=", ".join(NAMES),
        )
    import diffusers

    family = get(detect(configs / name))
    config = json.loads((configs / name / family.parts[0] / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return getattr(diffusers, config["_class_name"]).from_config(config).eval()
    finally:
        torch.set_default_dtype(before)


def decode_in_tiles(vae: Any) -> None:
    """Lets a true architecture's VAE decode in tiles of 512 px and rows one by one: slower, in a fraction of the memory."""
    vae.enable_slicing()
    vae.enable_tiling()
    if hasattr(vae, "tile_latent_min_size"):  # of pictures; that of videos has tiles small enough
        vae.tile_sample_min_size, vae.tile_latent_min_size = 512, 64
