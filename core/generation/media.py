"""Image and video files that carry their settings: the `parameters` text other programs read, and our own JSON beside it."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from core.errors import StudioError
from core.files import whole_file, write_text
from core.generation.foreign_metadata import ForeignPicture, read_foreign, texts_of_exif
from core.generation.settings import METADATA

CHUNK = "self_npo"
TEXT_LIMIT = 256 * 1024
PIXEL_LIMIT = 64 * 2**20
FILE_LIMIT = 64 * 2**20

_NAMES = {
    "steps": "Steps",
    "sampler": "Sampler",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "size": "Size",
    "model": "Model",
    **METADATA,
    "textual_inversions": "TI hashes",
    "version": "Version",
}
"""Our setting to its name in the `parameters` text, in the order written."""


def parameters_text(settings: Mapping[str, Any]) -> str:
    """The settings as the text that A1111 introduced and other programs read; names they do not know, they keep."""

    def value(raw: Any) -> str:
        text = f"{raw:g}" if isinstance(raw, float) else str(raw)
        return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:"\n') else text

    lines = [str(settings.get("prompt", ""))]
    if settings.get("negative_prompt"):
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    present = {name: settings[name] for name in _NAMES if settings.get(name) not in (None, "")}
    lines.append(", ".join(f"{_NAMES[name]}: {value(raw)}" for name, raw in present.items()))
    return "\n".join(lines)


def _as_json(settings: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(settings), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise StudioError(
            "The settings contain something that cannot be written.", "Remove unusual characters."
        ) from error
    return text


def save_png(image: Image.Image, path: Path, settings: Mapping[str, Any]) -> None:
    """Writes a PNG with its settings in both forms: whole, or not at all.

    Args:
        settings: JSON values; names and figures, never a path or a token. Text that is not valid Unicode is refused.

    Raises:
        StudioError: the settings cannot be written, or the disk refuses.
    """
    chunk = _as_json(settings)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", parameters_text(settings))
    info.add_itxt(CHUNK, chunk)
    with whole_file(path) as staged:
        image.save(staged, format="PNG", pnginfo=info)


def save_gif(frames: Sequence[Image.Image], path: Path, settings: Mapping[str, Any], *, seconds: float) -> None:
    """Writes frames as an animation that goes round, its settings in its comment: whole, or not at all.

    Args:
        seconds: for which each frame is shown.

    Raises:
        StudioError: as `save_png`.
    """
    comment = _as_json(settings).encode("utf-8")
    with whole_file(path) as staged:
        frames[0].save(
            staged,
            format="GIF",
            save_all=True,
            append_images=list(frames[1:]),
            duration=int(1000 * seconds),
            loop=0,
            comment=comment,
        )


def _picture_texts(path: Path, formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "GIF")) -> dict[str, str]:
    """The texts of a picture that may hold settings: chunks of a PNG, the comment of a GIF, EXIF of the others."""
    again = "Drop a picture as the program saved it."
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError("“{name}” is larger than {limit} MiB.", again, name=path.name, limit=FILE_LIMIT // 2**20)
        if path.read_bytes().count(CHUNK.encode() + b"\0") > 1:
            raise StudioError("“{name}” contains its settings twice.", again, name=path.name)
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise StudioError("“{name}” has too many pixels.", again, name=path.name)
            if image.format == "GIF":
                comment = image.info.get("comment", b"").decode("utf-8", "replace")
                return {CHUNK: comment} if comment.startswith("{") else {}
            texts = {str(key): text for key, text in image.info.items() if isinstance(text, str)}
            return texts if image.format == "PNG" else {**texts, **texts_of_exif(image.getexif())}
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError("“{name}” is not a readable picture.", again, name=path.name) from error


def open_picture(path: Path) -> Image.Image:
    """A picture of a person's disk, upright, whole in memory.

    Raises:
        StudioError: it is not a picture, is damaged or too large.
    """
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError(
                "“{name}” is larger than {limit} MiB.",
                "Choose a smaller picture.",
                name=path.name,
                limit=FILE_LIMIT // 2**20,
            )
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise StudioError("“{name}” has too many pixels.", "Scale it down.", name=path.name)
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError(
            "“{name}” is not a picture that can be read.", "Choose a PNG, JPEG or WebP.", name=path.name
        ) from error


def read_png(path: Path) -> dict[str, Any]:
    """The settings that the studio wrote into a PNG.

    Raises:
        StudioError: no PNG, too large, without settings, or with settings that are damaged or ambiguous.
    """
    text = _picture_texts(path, formats=("PNG",)).get(CHUNK)
    if text is None:
        raise StudioError(
            "“{name}” contains no settings of this studio.",
            "Sites that re-encode pictures remove them: use the original file.",
            name=path.name,
        )
    return _settings_of(text, path.name)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a picture or video: ours whole, or what other programs' metadata say of the same things.

    Raises:
        StudioError: none can be read.
    """
    if path.suffix.lower() == ".mp4":
        return read_mp4(path)
    texts = _picture_texts(path)
    if CHUNK in texts:
        return _settings_of(texts[CHUNK], path.name)
    if values := read_foreign(texts, longest=TEXT_LIMIT).values:
        return dict(values)
    raise StudioError(
        "“{name}” contains no settings that can be read.",
        "Sites that re-encode pictures remove them: use the original file, or a preset's JSON.",
        name=path.name,
    )


def foreign_picture(path: Path) -> ForeignPicture:
    """What another program wrote into a picture; empty of one that this studio saved, and of one without settings.

    Raises:
        StudioError: it is not a readable picture.
    """
    texts = _picture_texts(path)
    return ForeignPicture() if CHUNK in texts else read_foreign(texts, longest=TEXT_LIMIT)


def _settings_of(text: str, name: str) -> dict[str, Any]:
    again = "Drop a file as the studio saved it."
    if len(text) > TEXT_LIMIT:
        raise StudioError("The settings in “{name}” are too long.", again, name=name)
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudioError("The settings in “{name}” are damaged.", again, name=name) from error
    if not isinstance(settings, dict):
        raise StudioError("The settings in “{name}” are damaged.", again, name=name)
    return settings


def contact_sheet(frames: Sequence[Image.Image], *, most: int = 12) -> Image.Image:
    """Up to `most` frames of a video, evenly spread, first and last among them, as one picture row by row."""
    count = min(most, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, count - 1))] for i in range(count)]
    columns = math.ceil(math.sqrt(count * 1.5))
    width, height = chosen[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height), "white")
    for index, frame in enumerate(chosen):
        sheet.paste(frame, (index % columns * width, index // columns * height))
    return sheet


def save_mp4(frames: Sequence[Image.Image], path: Path, settings: Mapping[str, Any], *, fps: int) -> None:
    """Writes an H.264 video with its settings in the container and in `<name>.json` beside it: whole, or not at all.

    Args:
        fps: frames a second.

    Raises:
        StudioError: the settings cannot be written, the disk refuses, or the encoder fails.
    """
    import imageio_ffmpeg

    chunk = _as_json(settings)
    tags = ["-metadata", f"{CHUNK}={chunk}", "-metadata", f"comment={parameters_text(settings)}"]
    with whole_file(path) as staged:
        writer = imageio_ffmpeg.write_frames(
            str(staged),
            frames[0].size,
            fps=fps,
            quality=9,
            macro_block_size=2,
            output_params=["-f", "mp4", "-movflags", "+faststart+use_metadata_tags", *tags],
        )
        writer.send(None)
        for frame in frames:
            writer.send(frame.convert("RGB").tobytes())
        writer.close()
        write_text(path.with_suffix(".json"), chunk + "\n")


def read_mp4(path: Path) -> dict[str, Any]:
    """The settings that the studio wrote into a video.

    Raises:
        StudioError: no video, or one without settings.
    """
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path}", "-f", "ffmetadata", "-"]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise StudioError(
            "“{name}” is not a readable video.", "Drop an MP4 as the studio saved it.", name=path.name
        ) from error
    text = answer.stdout.decode("utf-8", errors="replace")
    match = re.search(rf"^{CHUNK}=((?:\\.|[^\\\n])*)$", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise StudioError(
            "“{name}” contains no settings of this studio.",
            "Sites that re-encode videos remove them: use the original file, or the JSON beside it.",
            name=path.name,
        )
    return _settings_of(re.sub(r"\\(.)", r"\1", match.group(1), flags=re.DOTALL), path.name)
