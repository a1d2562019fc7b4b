"""Settings from elsewhere, before they are applied: what fits this machine, what is missing, what is not understood."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import Sentence
from core.generation.foreign_metadata import ForeignPicture, inversions_of
from core.generation.media import foreign_picture, read_settings
from core.generation.settings import FIELDS
from core.studio.library.choose import list_bases, list_inversions, list_offsets
from core.studio.presets.preset import Preset
from core.studio.presets.reading import read_preset
from core.studio.presets.resolving import resolve
from core.studio.workspace import Workspace

OF_THE_MODEL = tuple(
    name for name, about in FIELDS.items() if name != "base" and about.group not in ("top", "seeds", "input")
)
"""Settings that were chosen for a model: they mean little for another one."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif")


@dataclass(frozen=True)
class Proposal:
    """Settings from a preset, a link or a picture, looked up on this machine; nothing is applied yet.

    Args:
        preset: what was read.
        values: what would be set.
        held: what was chosen for a model that is not here; set only where a person asks for it.
        missing: what it names that is not on this machine, in sentences.
        ignored: what it says that this studio has no setting for, in sentences.
    """

    preset: Preset
    values: dict[str, Any]
    held: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def wanted(self, *, with_held: bool) -> dict[str, Any]:
        """The values to set."""
        return {**self.values, **(self.held if with_held else {})}


def propose(workspace: Workspace, preset: Preset, foreign: ForeignPicture = ForeignPicture()) -> Proposal:  # noqa: B008
    """A preset, looked up on this machine.

    Args:
        foreign: what the picture it was read from names besides.
    """
    resolved = resolve(workspace, preset)
    values, missing = dict(resolved.values), list(resolved.missing)
    base_missing = preset.base is not None and bool(preset.base.name) and "base" not in values
    if foreign.model:
        stem = Path(foreign.model).stem
        same = next(
            (c.name for c in list_bases(workspace) if stem.lower() in (c.name.lower(), c.path.stem.lower())), ""
        )
        if same:
            values["base"] = same
        else:
            base_missing = True
            missing.append(Sentence("The base model “{name}” is not on this machine.", name=stem[:80]))
    known = {choice.name.lower() for choice in list_offsets(workspace)} if foreign.adapters else set()
    for name in foreign.adapters:
        available = Path(name).stem.lower() in known
        where = Sentence("it can be chosen as the positive offset η" if available else "it is not on this machine")
        missing.append(
            Sentence("The LoRA “{name}” is not applied from a prompt; {where}.", name=Path(name).stem[:80], where=where)
        )
    here = {name.lower() for name in list_inversions(workspace)} if foreign.inversions else set()
    missing += [
        Sentence(
            "The textual inversion “{name}” is not in the embeddings folder: its name is read as words.", name=name[:80]
        )
        for name in foreign.inversions
        if name.lower() not in here
    ]
    ignored = tuple(
        Sentence("“{name}” has no equivalent setting in this studio.", name=text[:80]) for text in foreign.left_out
    )
    held_back = {key: values.pop(key) for key in OF_THE_MODEL if key in values} if base_missing else {}
    return Proposal(preset, values, held_back, tuple(missing), ignored)


def propose_file(workspace: Workspace, path: Path) -> Proposal:
    """A preset's file, or a picture or video with settings in it.

    Raises:
        StudioError: it cannot be read, or carries no settings.
    """
    preset = read_preset(path)
    if path.suffix.lower() not in _PICTURES:
        return propose(workspace, preset)
    foreign = foreign_picture(path)
    if foreign.values:
        return propose(workspace, preset, foreign)
    settings = read_settings(path)
    own = ForeignPicture(
        model=str(settings.get("model", "")), inversions=tuple(inversions_of(settings.get("textual_inversions")))
    )
    proposal = propose(workspace, preset, own)
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", str(settings.get("size", "")))
    if size and "height" not in settings and "frames" not in settings and "grid" not in settings:
        (proposal.held or proposal.values).update(width=int(size[1]), height=int(size[2]))
    return proposal
