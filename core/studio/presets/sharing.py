"""Presets on their way to others: as a link, and as the card of a Hub repository."""

from __future__ import annotations

import base64
import zlib

from core.errors import StudioError
from core.studio.presets.preset import Preset
from core.studio.presets.reading import parse_preset

LINK_LIMIT = 16_000


def to_link(preset: Preset) -> str:
    """The preset as the value of `?preset=`: compressed, safe in an address.

    Raises:
        StudioError: it is too long for an address.
    """
    packed = zlib.compress(preset.model_dump_json(by_alias=True, exclude_none=True).encode("utf-8"), 9)
    text = base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")
    if len(text) > LINK_LIMIT:
        raise StudioError("The preset is too long for a link.", "Share its file instead.")
    return text


def from_link(text: str) -> Preset:
    """The preset of a link.

    Raises:
        StudioError: it is cut off, damaged, or unpacks to too much.
    """
    again = "Ask for the link again, or for the preset file."
    if len(text) > LINK_LIMIT:
        raise StudioError("The link is too long.", again)
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, 4 * LINK_LIMIT)
        if not unpacker.eof:
            raise ValueError("cut off, or too much")
        return parse_preset(raw.decode("utf-8"), "the link")
    except (ValueError, zlib.error) as error:
        raise StudioError("The link is cut off or damaged.", again) from error


def card_of(preset: Preset) -> str:
    """A card for a Hub repository: what it is, how it was judged, how to use it."""
    lines = ["---", "tags:", "- self-npo-studio", "- preset"]
    if preset.license:
        lines.append(f"license: {preset.license}")
    lines += [
        "---",
        f"# {preset.name or 'Preset'}",
        "",
        preset.description or "",
        "",
        "```json",
        preset.to_json().strip(),
        "```",
        "",
    ]
    for part in preset.evidence or []:
        lines.append(f"* {part.kind}: {part.text}" + (f" ({part.source})" if part.source else ""))
    lines += ["", "Open Self-NPO Studio, tab Presets, and pull this repository by its name."]
    return "\n".join(lines) + "\n"
