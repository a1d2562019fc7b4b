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

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model

from core.errors import Sentence, StudioError
from core.families import CARDS
from core.generation import limits
from core.generation.settings import FIELDS, Setting, Settings, completed
from core.studio.library.entries import entries, hash_of
from core.studio.workspace import Workspace

VERSION = 1
FILE_LIMIT = 2**20
_PATH_LIKE = re.compile(r"(^[/\\~])|(^[A-Za-z]:[/\\])|(\.\.)|(://)")

Text = Annotated[str, Field(max_length=limits.PROMPT)]
Line = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(max_length=limits.NAME)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Base(_Part):
    """The base model a preset was made for."""

    name: Name | None = Field(None, description="Name in the library: a bundled miniature, or a folder's name.")
    family: Line | None = Field(None, description="sd15, sdxl, cogvideox or sd3.")
    repo_id: Line | None = Field(
        None, description="Where it can be had on the Hugging Face Hub; never fetched unasked."
    )
    revision: Line | None = Field(None, description="Commit of that repository.")
    sha256: Sha | None = Field(None, description="Of its weights: finds the model under another name.")


class OffsetRef(_Part):
    """A positive or negative offset."""

    name: Name | None = Field(None, description="Name in the library; empty text means none.")
    repo_id: Line | None = Field(None, description="Where it can be had on the Hub; never fetched unasked.")
    sha256: Sha | None = Field(None, description="Of the file: finds the offset under another name.")
    rank: int | None = Field(None, ge=1, le=4096, description="Rank, for the reader.")
    training: dict[str, Line] | None = Field(None, description="How it was trained: recipe, steps, seed.")


def places() -> dict[str, tuple[str, str]]:
    """Setting of Compare to its (part, key) in a preset, for those with a key of their own."""
    return {
        name: (part, key) for name, about in FIELDS.items() for part, _, key in [about.preset.partition(".")] if key
    }


def _key(about: Setting) -> Any:
    if about.kind is bool:
        return (bool | None, Field(None, description=about.help))
    if about.options:
        return (Literal[tuple(about.options)] | None, Field(None, description=about.help))
    if about.kind is str:
        return (str | None, Field(None, max_length=about.longest, description=about.help))
    low, high = (about.kind(bound) for bound in about.range)
    return (about.kind | None, Field(None, ge=low, le=high, description=about.help))


def _part(name: str, meaning: str, part: str) -> Any:
    """A part of a preset whose keys are settings of Compare."""
    keys: dict[str, Any] = {key: _key(FIELDS[name]) for name, (where, key) in places().items() if where == part}
    return create_model(name, __base__=_Part, __doc__=meaning, **keys)


Guidance = _part("Guidance", "The strengths of guidance.", "guidance")
Sampler = _part("Sampler", "How images are sampled. 0 for a size or number means the model's own.", "sampler")


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
    guidance: Guidance | None = None  # type: ignore[valid-type]
    sampler: Sampler | None = None  # type: ignore[valid-type]
    prompts: list[Text] | None = Field(None, max_length=100, description="The first one fills the prompt.")
    negative_prompt: Text | None = Field(None, description="What to steer away from, in words.")
    seeds: list[Annotated[int, Field(ge=limits.SEED[0], le=limits.SEED[1])]] | None = Field(
        None, max_length=limits.IMAGES, description="The first one and their number fill the form."
    )
    evidence: list[Evidence] | None = Field(None, max_length=20)
    _limited: tuple[Sentence, ...] = PrivateAttr(())
    """What was written outside today's range and is read as its end, in sentences."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True, populate_by_name=True)

    def to_json(self) -> str:
        """The preset as a person reads and shares it."""
        keys = self.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(keys, indent=2, ensure_ascii=False) + "\n"


def schema_json() -> str:
    """JSON Schema of a preset, as kept in `presets/schema.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Preset.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"


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


def _safe_name(name: str) -> str:
    """A name to share: of a path only its last part."""
    return Path(name).name if _PATH_LIKE.search(name) else name


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Some of Compare's values, each in its own type; None is left out.

    Raises:
        StudioError: a wrong value; nothing was built from it.
    """
    settings = Settings.from_values({"images": 1, **{key: value for key, value in values.items() if value is not None}})
    return {key: getattr(settings, key) for key, value in values.items() if value is not None}


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
    values = checked(values)
    keys: dict[str, Any] = {"schema": "self-npo-preset", "version": VERSION, "created": time.strftime("%Y-%m-%d")}
    keys |= {key: text for key, text in (("name", name), ("description", description), ("author", author)) if text}
    for setting, (part, key) in places().items():
        if setting in values:
            keys.setdefault(part, {})[key] = values[setting]
    known = {entry.name: entry for entry in entries(workspace)} if workspace else {}
    for key in ("base", "positive", "negative"):
        if key in values:
            chosen = values[key]
            keys[key] = {"name": _safe_name(chosen)}
            if chosen in known and workspace:
                keys[key]["sha256"] = hash_of(workspace, known[chosen].path)
                if key == "base":
                    keys[key]["family"] = known[chosen].family
    if values.get("prompt"):
        keys["prompts"] = [values["prompt"]]
    if "negative_prompt" in values:
        keys["negative_prompt"] = values["negative_prompt"]
    if "seed" in values:
        keys["seeds"] = [values["seed"] + n for n in range(values.get("images", 1))]
    if evidence:
        keys["evidence"] = [part.model_dump(exclude_none=True) for part in evidence]
    try:
        return Preset.model_validate(keys)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudioError(
            "{where}: {reason}.", "Correct the value and try again.", where=where, reason=first["msg"][:120]
        ) from error


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
    missing: list[str] = list(preset._limited)
    for setting, (part, key) in places().items():
        holder = getattr(preset, part)
        if holder is not None and (value := getattr(holder, key)) is not None:
            values[setting] = value
    values = completed(values)
    if values.get("scheduler") and not any(values["scheduler"] in card.samplers for card in CARDS.values()):
        missing.append(Sentence("There is no scheduler “{name}” here.", name=values.pop("scheduler")[:40]))
    if preset.prompts:
        values["prompt"] = preset.prompts[0]
    if preset.negative_prompt is not None:
        values["negative_prompt"] = preset.negative_prompt
    if preset.seeds:
        values |= {"seed": preset.seeds[0], "images": min(limits.PAIRS[1], len(preset.seeds))}
    wanted = {"base": "model", "positive": "offset", "negative": "offset"}
    named = [key for key in wanted if getattr(preset, key) is not None]
    known = entries(workspace) if named else []
    for key in named:
        ref = getattr(preset, key)
        if ref.name == "" and not ref.sha256:
            values[key] = ""
            continue
        kinds = ("model",) if wanted[key] == "model" else ("offset", "weights")
        candidates = [entry for entry in known if entry.kind in kinds]
        match = next((entry.name for entry in candidates if entry.name == ref.name), None)
        if match is None and ref.sha256:
            match = next((entry.name for entry in candidates if hash_of(workspace, entry.path) == ref.sha256), None)
        if match is not None:
            values[key] = match
            continue
        what = {"base": "base model", "positive": "positive offset", "negative": "negative offset"}[key]
        where = "The {what} “{name}” is not on this machine."
        if ref.repo_id:
            where = "The {what} “{name}” is not on this machine; it is on the Hub in {repository}."
        name = _safe_name(ref.name) if ref.name else Sentence("without a name")
        missing.append(Sentence(where, what=Sentence(what), name=name, repository=ref.repo_id))
    return Resolved(values, tuple(missing))


def differences(current: Mapping[str, Any], values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, now, then) of what applying these values would change."""

    def shown(value: Any) -> str:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return text if text else "none"

    def same(one: Any, other: Any) -> bool:
        return (one or "none") == (other or "none") if isinstance(other, str) else one == other

    return [(k, shown(current.get(k, "")), shown(v)) for k, v in values.items() if not same(current.get(k), v)]
