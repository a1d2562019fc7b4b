"""Presets: settings of a comparison as data a person keeps and shares. Nothing in one is ever run or fetched by itself.

A preset says as much as it wants to: applying it touches only the keys it has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import StudioError
from core.studio.comparing.values import DEFAULTS
from core.studio.library.entries import entries, hash_of
from core.studio.workspace import Workspace

VERSION = 1
FILE_LIMIT = 2**20
_PATH_LIKE = re.compile(r"(^[/\\~])|(^[A-Za-z]:[/\\])|(\.\.)|(://)")

Text = Annotated[str, Field(max_length=4000)]
Line = Annotated[str, Field(max_length=200)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Base(_Part):
    """The base model a preset was made for."""

    name: Line | None = Field(None, description="Name in the library: a bundled miniature, or a folder's name.")
    family: Line | None = Field(None, description="sd15, sdxl, cogvideox or sd3.")
    repo_id: Line | None = Field(
        None, description="Where it can be had on the Hugging Face Hub; never fetched unasked."
    )
    revision: Line | None = Field(None, description="Commit of that repository.")
    sha256: Sha | None = Field(None, description="Of its weights: finds the model under another name.")


class OffsetRef(_Part):
    """A positive or negative offset."""

    name: Line | None = Field(None, description="Name in the library; empty text means none.")
    repo_id: Line | None = Field(None, description="Where it can be had on the Hub; never fetched unasked.")
    sha256: Sha | None = Field(None, description="Of the file: finds the offset under another name.")
    rank: int | None = Field(None, ge=1, le=4096, description="Rank, for the reader.")
    training: dict[str, Line] | None = Field(None, description="How it was trained: recipe, steps, seed.")


class Guidance(_Part):
    """The strengths of guidance."""

    omega: float | None = Field(None, ge=0, le=30, description="CFG strength; the CFG scale of other programs minus 1.")
    alpha: float | None = Field(None, ge=0, le=1, description="Share of the positive offset in the negative weights.")
    beta: float | None = Field(None, ge=-10, le=10, description="Share of the negative offset in the negative weights.")
    beta_split: float | None = Field(None, ge=0, le=1, description="beta holds from pure noise (1) down to this level.")
    beta_late: float | None = Field(None, ge=-10, le=10, description="beta is multiplied by this below the split.")
    dynamic: bool | None = Field(None, description="CogVideoX: guidance grows along the way.")


class Sampler(_Part):
    """How images are sampled. 0 for a size or number means the model's own."""

    scheduler: Line | None = Field(None, description="dpmsolver++, ddim, euler, unipc; CogVideoX: ddim, dpm.")
    steps: int | None = Field(None, ge=1, le=200, description="Sampling steps.")
    height: int | None = Field(None, ge=0, le=8192, description="Pixels.")
    width: int | None = Field(None, ge=0, le=8192, description="Pixels.")
    frames: int | None = Field(None, ge=0, le=1000, description="Frames of a video.")
    fps: int | None = Field(None, ge=0, le=120, description="Frames a second.")


class Evidence(_Part):
    """What speaks for the preset."""

    kind: Literal["measured", "from the paper, not measured here", "impression"] = Field(description="How it is known.")
    text: Text = Field(description="What was found, in a sentence.")
    source: Line | None = Field(None, description="Paper, or the command that measured it.")
    scorer: Line | None = Field(None, description="What judged the images.")
    prompts: int | None = Field(None, ge=1, description="How many prompts.")
    metrics: dict[str, float] | None = Field(None, description="Figures by name.")


class Preset(_Part):
    """One preset. Every key but `schema` and `version` may be left out."""

    schema_: Literal["self-npo-preset"] = Field(alias="schema", description="Always self-npo-preset.")
    version: int = Field(ge=1, description="Of this schema; this studio reads 1.")
    name: Line | None = Field(None, description="As shown in the list.")
    author: Line | None = Field(None, description="Who made it.")
    license: Line | None = Field(None, description="Under which terms it may be used.")
    description: Text | None = Field(None, description="What it is good for.")
    created: Line | None = Field(None, description="Date, ISO 8601.")
    base: Base | None = None
    positive: OffsetRef | None = None
    negative: OffsetRef | None = None
    guidance: Guidance | None = None
    sampler: Sampler | None = None
    prompts: list[Text] | None = Field(None, max_length=100, description="The first one fills the prompt.")
    negative_prompt: Text | None = Field(None, description="What to steer away from, in words.")
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] | None = Field(
        None, max_length=64, description="The first one and their number fill the form."
    )
    evidence: list[Evidence] | None = Field(None, max_length=20)

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True, populate_by_name=True)

    def to_json(self) -> str:
        """The preset as a person reads and shares it."""
        told = self.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def schema_json() -> str:
    """JSON Schema of a preset, as kept in `presets/schema.json`."""
    told = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Preset.model_json_schema(by_alias=True)}
    return json.dumps(told, indent=2) + "\n"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key stands twice")
    return dict(pairs)


def parse_preset(text: str, name: str = "preset") -> Preset:
    """The preset that a text says.

    Raises:
        StudioError: no JSON, an unknown or wrong key (it is named), or a newer version.
    """
    again = "Choose a preset that this studio saved, or mend the key."
    try:
        if len(text) > FILE_LIMIT:
            raise StudioError(f"“{name}” is longer than {FILE_LIMIT // 2**10} KiB.", again)
        text.encode("utf-8")
        told = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise StudioError(f"“{name}” is no preset that can be read.", again) from error
    if not isinstance(told, dict) or told.get("schema") != "self-npo-preset":
        raise StudioError(f"“{name}” is no preset: it lacks schema = self-npo-preset.", again)
    version = told.get("version")
    if isinstance(version, int) and version > VERSION:
        raise StudioError(
            f"“{name}” is of preset version {version}; this studio reads version {VERSION}.", "Update the studio."
        )
    try:
        return Preset.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "preset"
        raise StudioError(f"“{name}”: {key[:120]}: {first['msg'][:120]}.", again) from error
    except RecursionError as error:
        raise StudioError(f"“{name}” is no preset that can be read.", again) from error


def read_preset(path: Path) -> Preset:
    """The preset of a JSON file, or of a picture or video: ours, or one with readable A1111 or ComfyUI parameters.

    Raises:
        StudioError: the file cannot be read, or says nothing this studio knows.
    """
    if path.suffix.lower() in (".png", ".mp4"):
        from core.generation.media import read_settings

        return preset_of(known_values(read_settings(path)), name=path.stem)
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise StudioError(f"“{path.name}” is longer than {FILE_LIMIT // 2**10} KiB.", "Choose a preset file.")
        return parse_preset(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError(
            f"“{path.name}” is no preset that can be read.", "Choose a JSON file or a picture."
        ) from error


def known_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a picture that Compare has a field for."""
    return {key: value for key, value in settings.items() if key in DEFAULTS}


_KEYS = {
    "omega": ("guidance", "omega"),
    "alpha": ("guidance", "alpha"),
    "beta": ("guidance", "beta"),
    "beta_split": ("guidance", "beta_split"),
    "beta_late": ("guidance", "beta_late"),
    "dynamic_guidance": ("guidance", "dynamic"),
    "scheduler": ("sampler", "scheduler"),
    "steps": ("sampler", "steps"),
    "height": ("sampler", "height"),
    "width": ("sampler", "width"),
    "frames": ("sampler", "frames"),
    "fps": ("sampler", "fps"),
}
"""Field of Compare to its place in a preset."""


def _safe_name(name: str) -> str:
    """A name to share: of a path only its last part."""
    return Path(name).name if _PATH_LIKE.search(name) else name


def preset_of(
    values: Mapping[str, Any],
    *,
    name: str = "",
    description: str = "",
    author: str = "",
    workspace: Workspace | None = None,
    evidence: list[Evidence] | None = None,
) -> Preset:
    """A preset of some of Compare's values; with a workspace, the hashes of its offsets and base go with it.

    Raises:
        StudioError: a value that a preset cannot hold.
    """
    told: dict[str, Any] = {"schema": "self-npo-preset", "version": VERSION, "created": time.strftime("%Y-%m-%d")}
    told |= {key: text for key, text in (("name", name), ("description", description), ("author", author)) if text}
    for key, (part, field) in _KEYS.items():
        if key in values and values[key] is not None:
            number = values[key]
            wanted = DEFAULTS[key]
            if isinstance(wanted, float) and isinstance(number, int) and not isinstance(number, bool):
                number = float(number)
            told.setdefault(part, {})[field] = number
    known = {entry.name: entry for entry in entries(workspace)} if workspace else {}
    for key in ("base", "positive", "negative"):
        if key in values:
            chosen = str(values[key] or "")
            told[key] = {"name": _safe_name(chosen)}
            if chosen in known and workspace:
                told[key]["sha256"] = hash_of(workspace, known[chosen].path)
                if key == "base":
                    told[key]["family"] = known[chosen].family
    if values.get("prompt"):
        told["prompts"] = [values["prompt"]]
    if "negative_prompt" in values:
        told["negative_prompt"] = values["negative_prompt"]
    if "seed" in values:
        first, count = int(values["seed"]), int(values.get("images", 1))
        told["seeds"] = [first + n for n in range(count)]
    if evidence:
        told["evidence"] = [part.model_dump(exclude_none=True) for part in evidence]
    try:
        return Preset.model_validate(told)
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(str(part) for part in first_error["loc"])
        raise StudioError(f"{key}: {first_error['msg'][:120]}.", "Mend the value and try again.") from error


@dataclass(frozen=True)
class Resolved:
    """A preset on this machine: the values it sets, and what it names that is not here, in sentences."""

    values: dict[str, Any]
    missing: tuple[str, ...]


def resolve(workspace: Workspace, preset: Preset) -> Resolved:
    """What applying the preset would set here. Names are looked up in the library, then hashes; never a path or address.

    Reads hashes of files whose size may match only when a hash is given and the name is not known.
    """
    values: dict[str, Any] = {}
    missing: list[str] = []
    for key, (part, field) in _KEYS.items():
        holder = getattr(preset, part)
        if holder is not None and (value := getattr(holder, field)) is not None:
            values[key] = value
    if preset.prompts:
        values["prompt"] = preset.prompts[0]
    if preset.negative_prompt is not None:
        values["negative_prompt"] = preset.negative_prompt
    if preset.seeds:
        values |= {"seed": preset.seeds[0], "images": min(16, len(preset.seeds))}
    wanted = {"base": "model", "positive": "offset", "negative": "offset"}
    named = [key for key in wanted if getattr(preset, key) is not None]
    known = entries(workspace) if named else []
    for key in named:
        ref = getattr(preset, key)
        if ref.name == "" and not ref.sha256:
            values[key] = ""
            continue
        kinds = ("model",) if wanted[key] == "model" else ("offset", "weights")
        here = [entry for entry in known if entry.kind in kinds]
        found = next((entry.name for entry in here if entry.name == ref.name), None)
        if found is None and ref.sha256:
            found = next((entry.name for entry in here if hash_of(workspace, entry.path) == ref.sha256), None)
        if found is not None:
            values[key] = found
            continue
        what = {"base": "base model", "positive": "positive offset", "negative": "negative offset"}[key]
        where = f"; it can be had from {ref.repo_id} on the Hub" if ref.repo_id else ""
        missing.append(f"The {what} “{_safe_name(ref.name or 'without a name')}” is not on this machine{where}.")
    return Resolved(values, tuple(missing))


def differences(current: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, now, then) of what applying these values would change."""

    def shown(value: Any) -> str:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return text if text else "none"

    def same(one: Any, other: Any) -> bool:
        return (one or "none") == (other or "none") if isinstance(other, str) else one == other

    return [(k, shown(current.get(k, "")), shown(v)) for k, v in values.items() if not same(current.get(k), v)]
