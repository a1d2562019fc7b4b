"""Reads presets: JSON, and the settings that pictures and videos carry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import Sentence, StudioError
from core.generation.settings import FIELDS, completed
from core.studio.presets.preset import FILE_LIMIT, VERSION, Preset, preset_of

WIDER_IN_0_2 = {"beta": 10.0, "beta_late": 10.0}
"""Strengths that version 0.2 kept up to ± this, though it never rendered them."""


def _within_range(keys: dict[str, Any]) -> list[Sentence]:
    """Brings strengths that version 0.2 allowed into today's range, in place: a sentence for each."""
    sentences: list[Sentence] = []
    guidance = keys.get("guidance")
    if not isinstance(guidance, dict):
        return sentences
    for name, most in WIDER_IN_0_2.items():
        value, (low, high) = guidance.get(name), FIELDS[name].range
        if isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high or abs(value) > most:
            continue
        guidance[name] = high if value > high else low
        if value > high:
            message = Sentence(
                "{name} is {value:g} in the preset; at most {limit:g} can be rendered, which is used instead.",
                name=name,
                value=value,
                limit=high,
            )
        else:
            message = Sentence(
                "{name} is {value:g} in the preset; at least {limit:g} can be rendered, which is used instead.",
                name=name,
                value=value,
                limit=low,
            )
        sentences.append(message)
    return sentences


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key appears twice")
    return dict(pairs)


def parse_preset(text: str, name: str = "preset") -> Preset:
    """The preset that a text says.

    Raises:
        StudioError: no JSON, an unknown or wrong key (it is named), or a newer version.
    """
    again = "Choose a preset that this studio saved, or correct the key."
    unreadable = StudioError("“{name}” is not a preset that can be read.", again, name=name)
    try:
        if len(text) > FILE_LIMIT:
            raise StudioError("“{name}” is longer than {limit} KiB.", again, name=name, limit=FILE_LIMIT // 2**10)
        text.encode("utf-8")
        keys = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise unreadable from error
    if not isinstance(keys, dict) or keys.get("schema") != "self-npo-preset":
        raise StudioError("“{name}” is not a preset: it lacks schema = self-npo-preset.", again, name=name)
    version = keys.get("version")
    if isinstance(version, int) and version > VERSION:
        raise StudioError(
            "“{name}” has preset version {version}; this studio reads up to version {newest}.",
            "Update the studio.",
            name=name,
            version=version,
            newest=VERSION,
        )
    limited = _within_range(keys)
    try:
        preset = Preset.model_validate(keys)
        preset._limited = tuple(limited)
        return preset
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "preset"
        raise StudioError(
            "“{name}”: {key}: {reason}.", again, name=name, key=key[:120], reason=first["msg"][:120]
        ) from error
    except RecursionError as error:
        raise unreadable from error


def read_preset(path: Path) -> Preset:
    """The preset of a JSON file, or of a picture or video: ours, or one with readable A1111 or ComfyUI parameters.

    Raises:
        StudioError: the file cannot be read, or says nothing this studio knows.
    """
    if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4"):
        from core.generation.media import read_settings

        return preset_of(known_values(read_settings(path)), name=path.stem)
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError(
                "“{name}” is longer than {limit} KiB.",
                "Choose a preset file.",
                name=path.name,
                limit=FILE_LIMIT // 2**10,
            )
        return parse_preset(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(
            "“{name}” is not a preset that can be read.", "Choose a JSON file or a picture.", name=path.name
        ) from error


def known_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a picture that Compare has a field for."""
    return completed({key: value for key, value in settings.items() if key in FIELDS})
