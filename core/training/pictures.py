"""Captioned pictures of a folder, and their latents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from core.errors import StudioError
from core.families.base import FamilySpec, Size

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
                f"Line {number} of metadata.jsonl cannot be read.", "Correct that line: it needs file_name and text."
            ) from error
    return captions


def read_captioned_images(folder: Path, limit: int) -> list[tuple[Path, str]]:
    """Pictures and captions: `name.txt` beside `name.png`, or `metadata.jsonl` with file_name and text.

    Raises:
        StudioError: no such folder, or no captioned picture in it.
    """
    if not folder.is_dir():
        raise StudioError(f"There is no folder “{folder.name}”.", "Name a folder of captioned images.")
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
    if not pictures:
        raise StudioError(
            f"“{folder.name}” holds no captioned image.",
            "Put name.txt beside each name.png, or a metadata.jsonl with file_name and text.",
        )
    return pictures[:limit]


def open_picture(path: Path) -> Image.Image:
    """A picture in RGB.

    Raises:
        StudioError: it is missing, damaged or too large; it is named.
    """
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError(f"“{path.name}” is not a readable image.", "Remove it from the folder.") from error


def pixels_of(image: Image.Image, size: Size) -> Tensor:
    """The middle of a picture at a size: (1, 3, height, width) in [-1, 1]."""
    height, width = size.height, size.width
    scale = max(width / image.width, height / image.height)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    image = image.crop((left, top, left + width, top + height))
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(1, height, width, 3)
    return pixels.movedim(-1, 1).float() / 127.5 - 1


def latents_of(pipe: Any, family: FamilySpec, paths: list[Path], size: Size) -> Tensor:
    """The pictures as scaled latents on the CPU: (pictures, *latent), float32.

    Raises:
        StudioError: a picture cannot be read, or the model draws videos.
    """
    if size.frames != 1:
        raise StudioError("A folder of images cannot start the training of a video model.", "Choose start own.")
    return torch.cat([family.encode_image(pipe, pixels_of(open_picture(path), size)).float().cpu() for path in paths])
