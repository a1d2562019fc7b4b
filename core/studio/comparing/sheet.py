"""A whole grid as one picture to show to others: prompt and settings above it, what changes along its sides, scores under the
cells, and the whole settings inside the file. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from core.files import cannot_read
from core.studio.comparing.poster import ACCENT, INK, MARGIN, PAPER, SOFT, figures, font, lines_of

CELL, GAP, BESIDE = 192, 6, 200
"""Pixels that a cell has at least, between cells, and of the widest text at the left."""
LARGEST = 8_000
"""Pixels of the picture's longer side, about."""


@dataclass(frozen=True)
class Placed:
    """What one cell shows: PNG files, one for each seed, and the mean score where there is one."""

    files: tuple[Path, ...]
    score: float | None = None


def _picture(placed: Placed, side: tuple[int, int]) -> Image.Image:
    """The pictures of a cell together, as near to a square as they fit."""
    across = math.ceil(math.sqrt(len(placed.files)))
    down = -(-len(placed.files) // across)
    cell = Image.new("RGB", side, PAPER)
    width, height = (side[0] - 2 * (across - 1)) // across, (side[1] - 2 * (down - 1)) // down
    for n, file in enumerate(placed.files):
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except OSError as error:
            raise cannot_read(file.name, error) from error
        scale = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        left, top = n % across * (width + 2), n // across * (height + 2)
        shown = image.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
        cell.paste(shown, (left + (width - size[0]) // 2, top + (height - size[1]) // 2))
    return cell


def _side(cells: Mapping[tuple[int, int], Placed], columns: int, rows: int) -> tuple[int, int]:
    """Width and height of a cell: those of its pictures, enlarged where they are small, reduced where the whole would be huge."""
    first = next(iter(cells.values()))
    try:
        with Image.open(first.files[0]) as opened:
            width, height = opened.size
    except OSError as error:
        raise cannot_read(first.files[0].name, error) from error
    across = math.ceil(math.sqrt(len(first.files)))
    down = -(-len(first.files) // across)
    width, height = width * across, height * down
    times = max(1.0, CELL / max(width, height))
    times = min(times, LARGEST / (columns * width), LARGEST / (rows * height))
    return max(16, round(width * times)), max(16, round(height * times))


def grid_picture(
    cells: Mapping[tuple[int, int], Placed],
    columns: Sequence[str],
    rows: Sequence[str],
    settings: Mapping[str, Any],
    *,
    title: str = "",
) -> Image.Image:
    """The cells by (column, row); missing ones stay blank.

    Args:
        columns, rows: labels above each column and next to each row; empty for none.
        settings: that all cells share: their prompt and figures are above the grid.
        title: of this page of the grid.

    Raises:
        StudioError: a file is not there any more.
    """
    width, height = _side(cells, len(columns), len(rows))
    beside = min(BESIDE, max((math.ceil(font(16).getlength(row)) for row in rows), default=0) + 12) if any(rows) else 0
    inner = max(480, beside + len(columns) * (width + GAP) - GAP)
    prompt = lines_of(str(settings.get("prompt", "")), inner, 22, 8)
    facts = lines_of(" · ".join(part for part in (title, figures(settings)) if part), inner, 16, 4)
    over = [lines_of(column, width, 16, 3) for column in columns]
    head = MARGIN + 30 * len(prompt) + 24 * len(facts) + 10
    top = head + 22 * max((len(lines) for lines in over), default=0) + 6
    under = 22 if any(cell.score is not None for cell in cells.values()) else 0
    sheet = Image.new("RGB", (inner + 2 * MARGIN, top + len(rows) * (height + under + GAP) + 24 + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for n, line in enumerate(prompt):
        draw.text((MARGIN, MARGIN + 30 * n), line, fill=INK, font=font(22))
    for n, line in enumerate(facts):
        draw.text((MARGIN, MARGIN + 30 * len(prompt) + 24 * n), line, fill=SOFT, font=font(16))
    left = MARGIN + beside
    for i, lines in enumerate(over):
        for n, line in enumerate(lines):
            draw.text((left + i * (width + GAP), head + 22 * n), line, fill=INK, font=font(16))
    for j, row in enumerate(rows):
        lines = lines_of(row, beside - 12, 16, 5) if row else []
        middle = top + j * (height + under + GAP) + height // 2 - 11 * len(lines)
        for n, line in enumerate(lines):
            draw.text((MARGIN, middle + 22 * n), line, fill=INK, font=font(16))
    for (i, j), placed in cells.items():
        place = left + i * (width + GAP), top + j * (height + under + GAP)
        sheet.paste(_picture(placed, (width, height)), place)
        if placed.score is not None:
            draw.text((place[0], place[1] + height + 1), f"{placed.score:.2f}", fill=SOFT, font=font(15))
    draw.text((MARGIN, sheet.height - MARGIN - 20), "Self-NPO Studio", fill=ACCENT, font=font(16))
    return sheet
