"""What a preset would set on this machine: models and offsets are found by name or hash, never by a path or address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Sentence
from core.families import CARDS
from core.generation import limits
from core.generation.settings import completed
from core.studio.library.entries import entries, hash_of
from core.studio.presets.preset import Preset, places, safe_name
from core.studio.workspace import Workspace


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
        name = safe_name(ref.name) if ref.name else Sentence("without a name")
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
