"""Image and video files that carry their settings: the `parameters` text other programs read, and our own JSON beside it."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps, PngImagePlugin, UnidentifiedImageError

from core.errors import StudioError
from core.generation.settings import FIELDS, METADATA

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
    told = {name: settings[name] for name in _NAMES if settings.get(name) not in (None, "")}
    lines.append(", ".join(f"{_NAMES[name]}: {value(raw)}" for name, raw in told.items()))
    return "\n".join(lines)


def _as_json(settings: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(settings), ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise StudioError(
            "The settings hold something that cannot be written.", "Remove unusual characters."
        ) from error
    return text


def save_png(image: Image.Image, path: Path, settings: Mapping[str, Any]) -> None:
    """Writes a PNG with its settings in both forms: whole, or not at all.

    Args:
        settings: JSON values; names and figures, never a path or a token. Text that is no valid Unicode is refused.

    Raises:
        StudioError: the settings cannot be written, or the disk refuses.
    """
    chunk = _as_json(settings)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", parameters_text(settings))
    info.add_itxt(CHUNK, chunk)
    staged = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staged = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            image.save(file, format="PNG", pnginfo=info)
        os.chmod(staged, 0o644)
        os.replace(staged, path)
    except OSError as error:
        raise StudioError(f"“{path.name}” could not be written: {error.strerror}.", "Free disk space.") from error
    finally:
        if staged:
            Path(staged).unlink(missing_ok=True)


def _png_texts(path: Path) -> dict[str, str]:
    """The text chunks of a PNG that may hold settings."""
    again = "Drop a PNG as the program saved it."
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError(f"“{path.name}” is larger than {FILE_LIMIT // 2**20} MiB.", again)
        raw = path.read_bytes()
        if raw.count(CHUNK.encode() + b"\0") > 1:
            raise StudioError(f"“{path.name}” carries its settings twice.", again)
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise StudioError(f"“{path.name}” has too many pixels.", again)
            return {str(key): text for key, text in image.info.items() if isinstance(text, str)}
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError(f"“{path.name}” is not a readable PNG.", again) from error


def open_picture(path: Path) -> Image.Image:
    """A picture of a person's disk, upright, whole in memory.

    Raises:
        StudioError: it is none, damaged or too large.
    """
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError(f"“{path.name}” is larger than {FILE_LIMIT // 2**20} MiB.", "Choose a smaller picture.")
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise StudioError(f"“{path.name}” has too many pixels.", "Scale it down.")
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StudioError(f"“{path.name}” is no picture that can be read.", "Choose a PNG, JPEG or WebP.") from error


def read_png(path: Path) -> dict[str, Any]:
    """The settings that the studio wrote into a PNG.

    Raises:
        StudioError: no PNG, too large, without settings, or with settings that are damaged or ambiguous.
    """
    text = _png_texts(path).get(CHUNK)
    if text is None:
        raise StudioError(
            f"“{path.name}” carries no settings of this studio.",
            "Sites that re-encode pictures remove them: use the original file.",
        )
    return _settings_of(text, path.name)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a picture or video: ours whole, or what A1111's or ComfyUI's parameters say of the same things.

    Raises:
        StudioError: none can be read.
    """
    if path.suffix.lower() == ".mp4":
        return read_mp4(path)
    texts = _png_texts(path)
    if CHUNK in texts:
        return _settings_of(texts[CHUNK], path.name)
    for key, reader in (("parameters", parse_parameters), ("prompt", parse_comfyui)):
        if key in texts and len(texts[key]) <= TEXT_LIMIT and (found := reader(texts[key])):
            return found
    raise StudioError(
        f"“{path.name}” carries no settings that can be read.",
        "Sites that re-encode pictures remove them: use the original file, or a preset's JSON.",
    )


_SAMPLER_NAMES = {
    "dpm++ 2m": "dpmsolver++",
    "dpmpp_2m": "dpmsolver++",
    "ddim": "ddim",
    "euler": "euler",
    "unipc": "unipc",
    "uni_pc": "unipc",
}
_PAIR = re.compile(r'\s*([\w ]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')


def _same_things(told: Mapping[str, Any]) -> dict[str, Any]:
    """Steps, seed, sampler, scale and size in our names; what is no number is left out."""
    found: dict[str, Any] = {}
    for ours, theirs, kind in (("steps", "steps", int), ("seed", "seed", int), ("omega", "cfg", float)):
        try:
            found[ours] = kind(told[theirs])
        except (KeyError, ValueError, TypeError, OverflowError):
            continue
    if "omega" in found:
        found["omega"] = round(found["omega"] - 1, 6)
        low, high = FIELDS["omega"].range
        if not low <= found["omega"] <= high:
            del found["omega"]
    sampler = str(told.get("sampler", "")).lower()
    name = next((ours for theirs, ours in _SAMPLER_NAMES.items() if sampler.startswith(theirs)), None)
    if name:
        found["scheduler"] = name
    size = re.fullmatch(r"(\d{2,4})x(\d{2,4})", str(told.get("size", "")))
    if size:
        found |= {"width": int(size.group(1)), "height": int(size.group(2))}
    return found


def parse_parameters(text: str) -> dict[str, Any]:
    """What the `parameters` text of A1111 and its relatives says; empty where it says nothing known."""
    lines = text.strip().splitlines()
    if not lines or "Steps:" not in lines[-1]:
        return {}
    told = {key.strip().lower(): value.strip().strip('"') for key, value in _PAIR.findall(lines[-1])}
    body = "\n".join(lines[:-1])
    prompt, _, negative = body.partition("Negative prompt:")
    found = _same_things({**told, "cfg": told.get("cfg scale")})
    for ours, theirs in METADATA.items():
        if ours not in found and FIELDS[ours].kind in (int, float) and theirs.lower() in told:
            with suppress(ValueError, StudioError):  # a value that is not a number is left out
                found[ours] = FIELDS[ours].checked(FIELDS[ours].kind(told[theirs.lower()]))
    return {**found, "prompt": prompt.strip(), "negative_prompt": negative.strip()}


def parse_comfyui(text: str) -> dict[str, Any]:
    """What a ComfyUI workflow's first sampler says; empty where there is none that can be read."""
    try:
        nodes = json.loads(text)
        sampler = next(
            n["inputs"] for n in nodes.values() if "KSampler" in str(n.get("class_type")) and "cfg" in n["inputs"]
        )

        def words(link: Any) -> str:
            node = nodes[str(link[0])] if isinstance(link, list) else {}
            said = node.get("inputs", {}).get("text", "")
            return said if isinstance(said, str) else ""

        found = _same_things(
            {
                "steps": sampler.get("steps"),
                "seed": sampler.get("seed", sampler.get("noise_seed")),
                "cfg": sampler.get("cfg"),
                "sampler": sampler.get("sampler_name"),
            }
        )
        return {**found, "prompt": words(sampler.get("positive")), "negative_prompt": words(sampler.get("negative"))}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError, IndexError):
        return {}


def _settings_of(text: str, name: str) -> dict[str, Any]:
    again = "Drop a file as the studio saved it."
    if len(text) > TEXT_LIMIT:
        raise StudioError(f"The settings in “{name}” are too long.", again)
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StudioError(f"The settings in “{name}” are damaged.", again) from error
    if not isinstance(settings, dict):
        raise StudioError(f"The settings in “{name}” are damaged.", again)
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
    staged = path.with_suffix(".part.mp4")
    tags = ["-metadata", f"{CHUNK}={chunk}", "-metadata", f"comment={parameters_text(settings)}"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = imageio_ffmpeg.write_frames(
            str(staged),
            frames[0].size,
            fps=fps,
            quality=9,
            macro_block_size=2,
            output_params=["-movflags", "+faststart+use_metadata_tags", *tags],
        )
        writer.send(None)
        for frame in frames:
            writer.send(frame.convert("RGB").tobytes())
        writer.close()
        path.with_suffix(".json").write_text(chunk + "\n", encoding="utf-8")
        os.replace(staged, path)
    except OSError as error:
        raise StudioError(f"“{path.name}” could not be written.", "Free disk space.") from error
    finally:
        staged.unlink(missing_ok=True)


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
        raise StudioError(f"“{path.name}” is not a readable video.", "Drop an MP4 as the studio saved it.") from error
    text = answer.stdout.decode("utf-8", errors="replace")
    found = re.search(rf"^{CHUNK}=((?:\\.|[^\\\n])*)$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise StudioError(
            f"“{path.name}” carries no settings of this studio.",
            "Sites that re-encode videos remove them: use the original file, or the JSON beside it.",
        )
    return _settings_of(re.sub(r"\\(.)", r"\1", found.group(1), flags=re.DOTALL), path.name)


def grid_sheet(
    pictures: Mapping[tuple[int, int], Image.Image], columns: Sequence[str], rows: Sequence[str], title: str = ""
) -> Image.Image:
    """Pictures by (column, row) as one, with what changes along both sides written beside them; missing ones stay blank."""
    width = max(128, max(picture.width for picture in pictures.values()))
    height = max(128, max(picture.height for picture in pictures.values()))
    font = ImageFont.load_default(size=14)
    left = 16 + max((int(font.getlength(row[:28])) for row in rows), default=0) if any(rows) else 8
    top = (26 if title else 0) + 26
    sheet = Image.new("RGB", (left + len(columns) * (width + 4), top + len(rows) * (height + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((left, 4), title[:80], fill="black", font=font)
    for i, column in enumerate(columns):
        draw.text((left + i * (width + 4) + 2, top - 20), column[: max(8, width // 8)], fill="black", font=font)
    for j, row in enumerate(rows):
        draw.text((8, top + j * (height + 4) + height // 2 - 8), row[:28], fill="black", font=font)
    for (i, j), picture in pictures.items():
        shown = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(shown, (left + i * (width + 4), top + j * (height + 4)))
    return sheet
