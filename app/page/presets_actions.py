"""What Presets does: choose, save, rename, delete, share. Plain functions of plain values."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.html import fault, left_out
from app.page.proposal_actions import accepted, describe
from app.page.text import CHINESE, label, sentence
from app.page.wiring import Changes
from core.errors import StudioError
from core.files import write_text
from core.studio.library import hub
from core.studio.presets.files import (
    delete_preset,
    find_preset,
    list_presets,
    rename_preset,
    restore_preset,
    save_preset,
)
from core.studio.presets.preset import Preset, preset_of
from core.studio.presets.proposal import Proposal, propose, propose_file
from core.studio.presets.reading import parse_preset
from core.studio.presets.sharing import card_of, to_link
from core.studio.workspace import Workspace, slug

OWN_MARK = " ✎"


def names(workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None) -> list[tuple[Any, str]]:
    """The presets as a list to choose from: name in the page's language and key."""
    return [
        (
            label(preset.name) if preset.name in CHINESE else preset.name + ("" if preset.built_in else OWN_MARK),
            preset.key,
        )
        for preset in list_presets(workspace, on_fault)
    ]


def listed(workspace: Workspace) -> Changes:
    """The list as it is now."""
    faults: list[StudioError] = []
    return {"presets": gr.update(choices=names(workspace, faults.append)), "presets_left": left_out(faults)}


def _shown(proposal: Proposal, current: Mapping[str, Any], line: str, *, own: bool) -> Changes:
    usable = gr.update(interactive=True)
    mine = gr.update(interactive=own)
    return {
        "preset_status": line,
        "preset": describe(proposal, current),
        "held": gr.update(value=False, visible=bool(proposal.held)),
        "current": proposal,
        "export": gr.update(value=str(file_of(proposal.preset)), interactive=True),
        "apply": usable,
        "link_button": usable,
        "push": usable,
        "rename": mine,
        "delete": mine,
    }


def choose(workspace: Workspace, key: str | None, current: Mapping[str, Any]) -> Changes:
    """A preset of the list."""
    try:
        stored = find_preset(workspace, key or "")
        return _shown(propose_file(workspace, stored.path), current, "", own=not stored.built_in)
    except StudioError as error:
        return {"preset_status": fault(error)}


def drop(workspace: Workspace, path: str | None, current: Mapping[str, Any]) -> Changes:
    """A preset, picture or video that was dropped."""
    if not path:
        return {}
    try:
        line = sentence("This preset is not saved yet: apply it, or save it.")
        return _shown(propose_file(workspace, Path(path)), current, line, own=False)
    except StudioError as error:
        return {"preset_status": fault(error)}


def apply(proposal: Proposal | None, with_held: bool) -> tuple[dict[str, Any], str]:
    """The values to set, and a sentence."""
    if proposal is None:
        return {}, sentence("Choose a preset first.")
    return accepted(proposal, with_held)


def save(workspace: Workspace, name: str, about: str, author: str, replace: bool, values: Mapping[str, Any]) -> Changes:
    """Keeps what Compare is set to. A random seed is not kept."""
    saved_values = {key: value for key, value in values.items() if not (key == "seed" and value == -1)}
    try:
        preset = preset_of(saved_values, name=name.strip(), description=about, author=author, workspace=workspace)
        path = save_preset(workspace, preset, replace=replace)
    except StudioError as error:
        return {"preset_status": fault(error)}
    changes = _shown(propose(workspace, preset), values, sentence("Saved."), own=True)
    return {**changes, "presets": gr.update(choices=names(workspace), value=path.stem)}


def rename(workspace: Workspace, key: str | None, name: str) -> Changes:
    """Gives the chosen preset another name."""
    try:
        path = rename_preset(workspace, key or "", name)
    except StudioError as error:
        return {"preset_status": fault(error)}
    return {"preset_status": sentence("Renamed."), "presets": gr.update(choices=names(workspace), value=path.stem)}


def delete(workspace: Workspace, key: str | None) -> Changes:
    """Puts the chosen preset away."""
    try:
        gone = delete_preset(workspace, key or "")
    except StudioError as error:
        return {"preset_status": fault(error)}
    nothing = gr.update(interactive=False)
    return {
        "preset_status": sentence("Deleted."),
        "presets": gr.update(choices=names(workspace), value=None),
        "preset_away": str(gone),
        "preset_undo": gr.update(interactive=True),
        "rename": nothing,
        "delete": nothing,
    }


def undo(workspace: Workspace, gone: str) -> Changes:
    """Brings back what was deleted last."""
    try:
        restore_preset(workspace, Path(gone))
    except StudioError as error:
        return {"preset_status": fault(error)}
    return {
        "preset_status": sentence("Restored."),
        "presets": gr.update(choices=names(workspace)),
        "preset_undo": gr.update(interactive=False),
    }


def link(proposal: Proposal | None) -> Changes:
    """The code of the preset's link."""
    if proposal is None:
        return {}
    try:
        return {"preset_status": "", "code": to_link(proposal.preset), "link": gr.update(visible=True)}
    except StudioError as error:
        return {"preset_status": fault(error)}


def pull(workspace: Workspace, repository: str, current: Mapping[str, Any]) -> Changes:
    """A preset of the Hub."""
    try:
        text, commit = hub.pull_preset(hub.check_repo_id((repository or "").strip()))
        proposal = propose(workspace, parse_preset(text, repository))
    except StudioError as error:
        return {"preset_status": fault(error)}
    line = sentence("Pulled at commit {commit}; not saved yet.", commit=commit[:12])
    return _shown(proposal, current, line, own=False)


def push(repository: str, proposal: Proposal | None) -> Changes:
    """The shown preset to the Hub."""
    if proposal is None:
        return {}
    try:
        preset = proposal.preset
        commit = hub.push_preset(hub.check_repo_id((repository or "").strip()), preset.to_json(), card_of(preset))
    except StudioError as error:
        return {"preset_status": fault(error)}
    return {"preset_status": sentence("Pushed: commit {commit}.", commit=commit[:12])}


@cache
def _downloads() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="self-npo-presets-")


def file_of(preset: Preset) -> Path:
    """The preset as a file to download; the same preset is the same file, and all are gone when the studio ends."""
    folder = Path(_downloads().name) / hashlib.sha256(preset.to_json().encode()).hexdigest()[:16]
    path = folder / f"{slug(preset.name or 'preset')}.json"
    if not path.exists():
        write_text(path, preset.to_json())
    return path
