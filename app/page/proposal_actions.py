"""Settings from elsewhere (a preset, a link, a picture): shown before they are applied, and applied on request."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.fields import LABELS
from app.page.html import fault, sentences
from app.page.text import sentence, translate, word
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.presets.preset import Preset
from core.studio.presets.proposal import Proposal, propose, propose_file
from core.studio.presets.resolving import differences
from core.studio.presets.sharing import from_link
from core.studio.workspace import Workspace

WORDS = {"none": "none", "True": "yes", "False": "no"}


def describe(proposal: Proposal, current: Mapping[str, Any]) -> str:
    """A proposal as a person reads it: what it is, what is missing, what it would change here, what speaks for it."""
    preset = proposal.preset
    parts = [f"<h3>{escape(translate(preset.name) if preset.name else sentence('without a name'))}</h3>"]
    if by := " · ".join(escape(text) for text in (preset.author, preset.license) if text):
        parts.append(f"<p class='scale-note'>{by}</p>")
    if preset.description:
        parts.append(f"<p>{escape(translate(preset.description))}</p>")
    parts += [f'<p class="warning">{sentences(text)}</p>' for text in (*proposal.missing, *proposal.ignored)]
    changes = differences(current, proposal.values)
    if changes:
        parts.append(_table(changes, sentence("would change")))
    elif not proposal.held:
        parts.append(f"<p>{sentence('Compare already has these settings.')}</p>")
    if proposal.held:
        parts.append(f"<p>{sentence('Chosen for the missing model, and not applied unless you ask for it:')}</p>")
        parts.append(_table(differences(current, proposal.held), sentence("would change")))
    parts += [_evidence(preset)]
    return "".join(parts)


def _table(changes: list[tuple[str, str, str]], title: str) -> str:
    rows = "".join(
        f"<tr><td>{escape(word(LABELS[key]))}</td><td>{_shown(key, now)}</td><td><b>{_shown(key, then)}</b></td></tr>"
        for key, now, then in changes
    )
    head = "".join(f"<th>{text}</th>" for text in (title, sentence("now"), sentence("then")))
    return f"<table class='changes'><tr>{head}</tr>{rows}</table>" if rows else ""


def _evidence(preset: Preset) -> str:
    lines = []
    for part in preset.evidence or []:
        source = f" <i>{escape(part.source)}</i>" if part.source else ""
        if part.scorer and part.prompts:
            source += f" ({escape(sentence('{scorer}, {count} prompts', scorer=part.scorer, count=part.prompts))})"
        lines.append(f"<p><b>{word(part.kind)}</b>: {escape(translate(part.text))}{source}</p>")
    return "".join(lines)


def _shown(key: str, value: str) -> str:
    text = "auto" if (key, value) == ("scheduler", "none") else WORDS.get(value)
    return word(text) if text else escape(value[:80])


def shown(proposal: Proposal, current: Mapping[str, Any]) -> Changes:
    """The dialog, open."""
    return {
        "proposal": gr.update(visible=True),
        "proposal_text": describe(proposal, current),
        "proposal_held": gr.update(value=False, visible=bool(proposal.held)),
        "proposed": proposal,
    }


def hidden() -> Changes:
    """The dialog, closed."""
    return {"proposal": gr.update(visible=False), "proposed": None}


def from_file(workspace: Workspace, path: str | None, current: Mapping[str, Any]) -> Changes:
    """A picture, a video or a preset's file that was dropped."""
    if not path:
        return {}
    try:
        return {"dropped": None, **shown(propose_file(workspace, Path(path)), current)}
    except StudioError as error:
        return {"dropped": None, "status": fault(error)}


def from_address(workspace: Workspace, link: str, current: Mapping[str, Any]) -> Changes:
    """The preset of the page's address; nothing where it has none. Nothing starts: the person presses Render."""
    if not link:
        return {}
    try:
        return shown(propose(workspace, from_link(link)), current)
    except StudioError as error:
        return {"status": fault(error)}


def accepted(proposal: Proposal | None, with_held: bool) -> tuple[dict[str, Any], str]:
    """The values to set, and a sentence."""
    if proposal is None:
        return {}, ""
    values = proposal.wanted(with_held=with_held)
    if not values:
        return {}, sentence("Nothing was changed: these settings were all chosen for the missing model.")
    return values, sentence("Applied. Press Render to see it.") + " " + sentences(*proposal.missing)
