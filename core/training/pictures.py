"""Captioned pictures of a folder, and their latents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from core.errors import StudioError
from core.families.base import Size
from core.families.image_vae import encode_distribution
from core.training.draws import CROPS, generator_of

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def captions_of(folder: Path) -> dict[str, str]:
    """File name to caption, of a folder's metadata.jsonl; empty where it has none.

    Raises:
        StudioError: a line cannot be read; its number is named.
    """
    path, captions = folder / "metadata.jsonl", {}
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError("metadata.jsonl is not a readable text file.", "Save it as UTF-8.") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            captions[str(row["file_name"])] = str(row["text"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StudioError(
                "Line {number} of metadata.jsonl cannot be read.",
                "Correct that line: it needs file_name and text.",
                number=number,
            ) from error
    return captions


def read_captioned_images(folder: Path, limit: int, captions_needed: bool = True) -> list[tuple[Path, str]]:
    """Pictures and captions: `name.txt` beside `name.png`, or `metadata.jsonl` with file_name and text.

    Args:
        limit: the most that are read, by name; 0 reads all.
        captions_needed: pass over pictures without a caption; else theirs is empty.

    Raises:
        StudioError: no such folder, or no captioned picture in it.
    """
    if not folder.is_dir():
        raise StudioError("There is no folder “{name}”.", "Choose a folder of captioned images.", name=folder.name)
    captions = captions_of(folder)
    pictures = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS:
            continue
        beside = path.with_suffix(".txt")
        if path.name in captions:
            pictures.append((path, captions[path.name]))
        elif beside.is_file():
            pictures.append((path, beside.read_text(encoding="utf-8", errors="replace").strip()))
        elif not captions_needed:
            pictures.append((path, ""))
    if not pictures:
        raise StudioError(
            "“{name}” contains no captioned image.",
            "Put name.txt beside each name.png, or a metadata.jsonl with file_name and text.",
            name=folder.name,
        )
    return pictures[: limit or None]


def open_picture(path: Path) -> Image.Image:
    """A picture in RGB.

    Raises:
        StudioError: it is missing, damaged or too large; it is named.
    """
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError("“{name}” is not a readable image.", "Remove it from the folder.", name=path.name) from error


@dataclass(frozen=True)
class Crop:
    """Where the picture that is used lies in the scaled one: pixels from its top and from its left."""

    top: int
    left: int


def pixels_of(image: Image.Image, size: Size, random: torch.Generator | None = None) -> tuple[Tensor, Crop]:
    """A picture at a size, (1, 3, height, width) in [-1, 1], and where it was cut: scaled until it covers the size, then
    its middle, or a place drawn from `random`."""
    height, width = size.height, size.width
    if image.width * height <= image.height * width:
        scaled = (width, max(height, image.height * width // image.width))
    else:
        scaled = (max(width, image.width * height // image.height), height)
    image = image.resize(scaled, Image.Resampling.LANCZOS)
    room = (image.height - height, image.width - width)
    if random is None:
        crop = Crop(*(round(free / 2) for free in room))
    else:
        crop = Crop(*(int(torch.randint(free + 1, (), generator=random)) for free in room))
    image = image.crop((crop.left, crop.top, crop.left + width, crop.top + height))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, height, width, 3)
    return pixels.movedim(-1, 1).float() / 127.5 - 1, crop


@dataclass(frozen=True)
class EncodedPictures:
    """Pictures as scaled latents on the CPU.

    Args:
        mode: (pictures, *latent) the most likely latents.
        spread: (pictures, *latent) the standard deviation of the encoder's distribution.
        crops: (pictures, 2) pixels from the top and from the left at which each was cut.
    """

    mode: Tensor
    spread: Tensor
    crops: Tensor


def encode(pipe: Any, images: Iterable[Image.Image], size: Size, seed: int | None = None) -> EncodedPictures:
    """Pictures as latents, one after the other.

    Args:
        seed: cut each at its own place, drawn from this seed and its number; None cuts the middle.

    Raises:
        StudioError: a picture cannot be read, or the model draws videos.
    """
    if size.frames != 1:
        raise StudioError("A video model cannot be trained from a folder of images.", "Choose start = own.")
    modes, spreads, crops = [], [], []
    for number, image in enumerate(images):
        random = None if seed is None else generator_of(seed, number, CROPS)
        pixels, crop = pixels_of(image, size, random)
        mode, spread = encode_distribution(pipe, pixels)
        modes.append(mode.float().cpu())
        spreads.append(spread.float().cpu())
        crops.append([crop.top, crop.left])
    return EncodedPictures(torch.cat(modes), torch.cat(spreads), torch.tensor(crops))
