"""Presets: settings of a comparison as data a person keeps and shares. Nothing in one is ever run or fetched by itself.

A preset says as much as it wants to: applying it touches only the keys it has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model

from core.errors import Sentence, StudioError
from core.generation import limits
from core.generation.settings import FIELDS, Setting, Settings
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


def safe_name(name: str) -> str:
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
            keys[key] = {"name": safe_name(chosen)}
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
