"""A pair as one picture, or as a short animation, to show to others: labels on it, prompt and setting under it, and the whole
settings inside. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from core.files import cannot_read
from core.generation.media import save_gif, save_mp4, save_png
from core.studio.workspace import ASSETS

FONT = ASSETS / "fonts" / "labels.otf"
SIDE = 512
"""Pixels of a picture's longer side, at least."""
MARGIN, GAP = 24, 8
PAPER, INK, SOFT, ACCENT = "#ffffff", "#14161c", "#5b6172", "#0b7a70"
SECONDS = 0.8
"""For which each picture of a flicker is shown."""
_WORDS = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+\s*|\s+")
"""Where a line may end: after a word, and after any Chinese character."""
EACH = 4
"""Frames of the video for each of them."""


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The bundled font: Latin, Greek and Chinese."""
    return ImageFont.truetype(str(FONT), size)


def _enlarged(path: Path) -> Image.Image:
    """A picture at least `SIDE` pixels large, by whole multiples where it is small, so that nothing is blurred away."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise cannot_read(path.name, error) from error
    times = max(1, -(-SIDE // max(image.size)))
    return image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)


def lines_of(text: str, width: int, size: int, most: int) -> list[str]:
    """A text in lines of at most `width` pixels; the last one is cut where there are more than `most`."""
    face, lines = font(size), [""]
    for word in _WORDS.findall(" ".join(text.split())):
        if face.getlength((lines[-1] + word).rstrip()) > width and lines[-1]:
            lines.append("")
        while face.getlength(word.rstrip()) > width and len(word) > 1:  # one long word
            fit = next(n for n in range(len(word), 0, -1) if n == 1 or face.getlength(word[:n]) <= width)
            lines[-1:] = [word[:fit], ""]
            word = word[fit:]
        lines[-1] += word if lines[-1] or word.strip() else ""
    lines = [line.rstrip() for line in lines if line.strip()]
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and face.getlength(last + "…") > width:
        last = last[:-1]
    return [*lines[: most - 1], last.rstrip() + "…"]


def figures(settings: Mapping[str, Any]) -> str:
    """The setting in a line: ω with its CFG scale, α, β, seed, steps, model and offset."""
    parts = []
    if "omega" in settings:
        parts.append(f"ω {settings['omega']:g} (CFG {settings['omega'] + 1:g})")
    parts += [f"{sign} {settings[name]:g}" for name, sign in (("alpha", "α"), ("beta", "β")) if name in settings]
    parts += [f"{name} {settings[name]}" for name in ("seed", "steps") if name in settings]
    parts += [str(settings[name]) for name in ("model", "negative", "positive") if settings.get(name)]
    return " · ".join(parts)


def _caption(canvas: Image.Image, top: int, settings: Mapping[str, Any]) -> None:
    draw = ImageDraw.Draw(canvas)
    width = canvas.width - 2 * MARGIN
    for line in lines_of(str(settings.get("prompt", "")), width, 22, 3):
        draw.text((MARGIN, top), line, fill=INK, font=font(22))
        top += 30
    for line in lines_of(figures(settings), width, 16, 2):
        draw.text((MARGIN, top + 4), line, fill=SOFT, font=font(16))
        top += 24
    draw.text((MARGIN, top + 8), "Self-NPO Studio", fill=ACCENT, font=font(16))


def _caption_height(settings: Mapping[str, Any], width: int) -> int:
    prompt = lines_of(str(settings.get("prompt", "")), width, 22, 3)
    return 30 * len(prompt) + 24 * len(lines_of(figures(settings), width, 16, 2)) + 8 + 24 + MARGIN


def _labelled(image: Image.Image, name: str) -> Image.Image:
    labelled = image.copy()
    draw = ImageDraw.Draw(labelled, "RGBA")
    width = int(font(18).getlength(name))
    draw.rounded_rectangle((10, 10, 10 + width + 20, 40), 15, fill=(13, 15, 20, 196))
    draw.text((20, 13), name, fill="#ffffff", font=font(18))
    return labelled


def poster(files: Sequence[Path], names: Sequence[str], settings: Mapping[str, Any]) -> Image.Image:
    """Pictures side by side, what each is on it, the prompt and the setting under them.

    Args:
        files: PNG files, plain CFG first.
        names: what each is, in the person's language.
        settings: of the last one.

    Raises:
        StudioError: a file is not there any more.
    """
    pictures = [_labelled(_enlarged(file), name) for file, name in zip(files, names, strict=True)]
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1) + 2 * MARGIN
    height = max(picture.height for picture in pictures)
    canvas = Image.new("RGB", (width, MARGIN + height + 16 + _caption_height(settings, width - 2 * MARGIN)), PAPER)
    left = MARGIN
    for picture in pictures:
        canvas.paste(picture, (left, MARGIN))
        left += picture.width + GAP
    _caption(canvas, MARGIN + height + 16, settings)
    return canvas


def flicker_frames(files: Sequence[Path], names: Sequence[str], settings: Mapping[str, Any]) -> list[Image.Image]:
    """The first and the last picture as two frames with the same caption."""
    frames = []
    for file, name in ((files[0], names[0]), (files[-1], names[-1])):
        picture = _labelled(_enlarged(file), name)
        width = picture.width + 2 * MARGIN
        height = MARGIN + picture.height + 16 + _caption_height(settings, picture.width)
        frame = Image.new("RGB", (width, height), PAPER)
        frame.paste(picture, (MARGIN, MARGIN))
        _caption(frame, MARGIN + picture.height + 16, settings)
        frames.append(frame)
    return frames


def save_pair(
    folder: Path, files: Sequence[str], names: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Path, Path | None, Path | None]:
    """A pair of a folder of pictures as a labelled picture, a GIF and an MP4 that flicker, in its folder `shared`; of one
    picture alone the labelled picture, None and None.

    Args:
        files: names of PNG files in the folder, plain CFG first.
        names: what each is, in the person's language.
        settings: of the last one; they go whole into the picture, the animation and the video.

    Raises:
        StudioError: a file is not there any more, or the disk refuses.
    """
    paths = [folder / Path(name).name for name in files]
    stem = f"pair-{paths[-1].stem}"
    picture, animation, video = (folder / "shared" / f"{stem}{suffix}" for suffix in (".png", ".gif", ".mp4"))
    save_png(poster(paths, names, settings), picture, {**settings, "pair": list(names)})
    if len(paths) == 1:
        return picture, None, None
    frames = flicker_frames(paths, names, settings)
    save_gif(frames, animation, settings, seconds=SECONDS)
    shown = [frame for frame in frames * 4 for _ in range(EACH)]
    save_mp4(shown, video, settings, fps=round(EACH / SECONDS))
    return picture, animation, video
