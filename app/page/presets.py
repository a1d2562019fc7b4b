"""Presets: choose, see what would change, apply; save, rename, delete; share as file, link or Hub repository."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.compare import CompareTab
from app.page.fields import LABELS
from app.page.html import fault, sentences
from app.page.text import label, sentence, word
from app.page.wiring import QUEUED, QUICK
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.library import hub
from core.studio.presets.files import (
    delete_preset,
    find_preset,
    list_presets,
    rename_preset,
    restore_preset,
    save_preset,
)
from core.studio.presets.preset import Preset, differences, parse_preset, preset_of, read_preset, resolve
from core.studio.presets.sharing import card_of, to_link
from core.studio.workspace import slug

WORDS = {"none": "none", "True": "yes", "False": "no"}
LINK = "(code) => code ? location.origin + location.pathname + '?preset=' + code : ''"


def describe(preset: Preset, changes: list[tuple[str, str, str]], missing: tuple[str, ...]) -> str:
    """A preset as a person reads it: what it is, what it would change here, what speaks for it."""
    parts = [f"<h3>{escape(preset.name or 'Preset')}</h3>"]
    if by := " · ".join(escape(text) for text in (preset.author, preset.license) if text):
        parts.append(f"<p class='scale-note'>{by}</p>")
    if preset.description:
        parts.append(f"<p>{escape(preset.description)}</p>")
    parts += [f'<p class="fault">{sentences(text)}</p>' for text in missing]
    if changes:
        rows = "".join(
            f"<tr><td>{escape(word(LABELS[key]))}</td><td>{_shown(key, now)}</td><td><b>{_shown(key, then)}</b></td></tr>"
            for key, now, then in changes
        )
        head = "".join(f"<th>{sentence(text)}</th>" for text in ("would change", "now", "then"))
        parts.append(f"<table class='changes'><tr>{head}</tr>{rows}</table>")
    else:
        parts.append(f"<p>{sentence('Compare is set like this already.')}</p>")
    for told in preset.evidence or []:
        source = f" <i>{escape(told.source)}</i>" if told.source else ""
        parts.append(f"<p><b>{word(told.kind)}</b>: {escape(told.text)}{source}</p>")
    return "".join(parts)


def build(engine: Engine, compare: CompareTab, *, persistent: bool = True) -> dict[str, Any]:
    """The tab; what other tabs may touch.

    Args:
        persistent: presets can be saved here; off where strangers share the workspace.
    """
    workspace = engine.workspace

    def names() -> list[tuple[str, str]]:
        return [(kept.name + ("" if kept.built_in else " ✎"), kept.key) for kept in list_presets(workspace)]

    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            listed = gr.Radio(
                names(), label=label("Presets: your own ✎, then the built-in ones"), elem_id="presets-list"
            )
            dropped = gr.File(
                label=label("Drop a preset here: a JSON file, a picture or a video"),
                file_types=[".json", ".png", ".jpg", ".jpeg", ".webp", ".mp4"],
                type="filepath",
                height=90,
                elem_classes="drop-file",
            )
            with gr.Accordion(label("From the Hugging Face Hub"), open=False, visible=persistent):
                repo = gr.Textbox("", label=label("Repository"), placeholder="owner/name")
                with gr.Row():
                    pull = gr.Button(label("Pull"), size="sm")
                    push = gr.Button(label("Push the chosen one"), size="sm")
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML("", elem_classes="status", padding=False)
            with gr.Row():
                apply = gr.Button(label("Apply to Compare"), variant="primary", min_width=140)
                link_button = gr.Button(label("Make a link"), min_width=110)
                export = gr.DownloadButton(label("Download"), min_width=110)
            link = gr.Textbox(
                "",
                label=label("Link: opens this preset in any studio at this address"),
                visible=False,
                buttons=["copy"],
                elem_id="preset-link",
            )
            shown = gr.HTML(label("Choose a preset, or save what Compare is set to."), elem_id="preset")
            with gr.Group(visible=persistent):
                name = gr.Textbox("", label=label("Name"))
                about = gr.Textbox("", label=label("What it is good for"), lines=2)
                with gr.Row():
                    author = gr.Textbox("", label=label("Author"), min_width=120)
                    replace = gr.Checkbox(False, label=label("Replace one of that name"), min_width=150)
            with gr.Row(visible=persistent):
                save = gr.Button(label("Save what Compare is set to"), variant="primary", min_width=200, size="sm")
                rename = gr.Button(label("Rename the chosen one"), min_width=130, size="sm")
                delete = gr.Button(label("Delete the chosen one"), min_width=130, size="sm")
                undo = gr.Button(label("Undo delete"), visible=False, min_width=110, size="sm")
    current, away, code = gr.State(""), gr.State(""), gr.Textbox("", visible="hidden")
    fields = compare.fields

    def view(preset: Preset, given: tuple[Any, ...]) -> str:
        found = resolve(workspace, preset)
        return describe(preset, differences(fields.read(given), found.values), found.missing)

    def choose(stem: str | None, *given: Any) -> tuple[Any, ...]:
        try:
            preset = read_preset(find_preset(workspace, stem or "").path)
            return "", view(preset, given), preset.to_json(), _file_of(preset)
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.skip()

    def drop(path: str | None, *given: Any) -> tuple[Any, ...]:
        if not path:
            return (gr.skip(),) * 4
        try:
            preset = read_preset(Path(path))
            return (
                label("This preset is not saved yet: apply it, or save it."),
                view(preset, given),
                preset.to_json(),
                _file_of(preset),
            )
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.skip()

    def use(text: str, *given: Any) -> list[Any]:
        try:
            found = resolve(workspace, parse_preset(text)) if text else None
        except StudioError as error:
            return [fault(error), gr.skip(), gr.skip(), *fields.fill(engine, {})]
        if found is None:
            return [label("Choose a preset first."), gr.skip(), gr.skip(), *[gr.skip()] * len(fields.controls)]
        said = sentence("Applied. Press Render to see it.") + " " + sentences(*found.missing)
        filled = fields.fill(engine, found.values, fields.read(given)["base"])
        return [said, said, gr.Tabs(selected="compare"), *filled]

    def keep(title: str, text: str, who: str, over: bool, *given: Any) -> tuple[Any, ...]:
        try:
            preset = preset_of(
                fields.read(given), name=title.strip(), description=text, author=who, workspace=workspace
            )
            path = save_preset(workspace, preset, replace=over)
        except StudioError as error:
            return (fault(error), *[gr.skip()] * 4)
        listed_now = gr.Radio(choices=names(), value=path.stem)
        return label("Saved."), view(preset, given), preset.to_json(), _file_of(preset), listed_now

    def give_name(stem: str | None, title: str) -> tuple[Any, Any]:
        try:
            path = rename_preset(workspace, stem or "", title)
        except StudioError as error:
            return fault(error), gr.skip()
        return label("Renamed."), gr.Radio(choices=names(), value=path.stem)

    def remove(stem: str | None) -> tuple[Any, ...]:
        try:
            gone = delete_preset(workspace, stem or "")
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.skip()
        return label("Deleted."), gr.Radio(choices=names(), value=None), str(gone), gr.Button(visible=True)

    def bring_back(gone: str) -> tuple[Any, ...]:
        try:
            restore_preset(workspace, Path(gone))
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip()
        return label("It is back."), gr.Radio(choices=names()), gr.Button(visible=False)

    def make_link(text: str) -> tuple[Any, Any]:
        try:
            return "", to_link(parse_preset(text))
        except StudioError as error:
            return fault(error), ""

    def fetch(repo_id: str, *given: Any) -> tuple[Any, ...]:
        try:
            text, commit = hub.pull_preset(hub.check_repo_id((repo_id or "").strip()))
            preset = parse_preset(text, repo_id)
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.skip()
        said = sentence("Pulled at commit {commit}; not saved yet.", commit=commit[:12])
        return said, view(preset, given), preset.to_json(), _file_of(preset)

    def publish(repo_id: str, text: str) -> Any:
        try:
            preset = parse_preset(text)
            commit = hub.push_preset(hub.check_repo_id((repo_id or "").strip()), preset.to_json(), card_of(preset))
        except StudioError as error:
            return fault(error)
        return sentence("Pushed: commit {commit}.", commit=commit[:12])

    seen = [status, shown, current, export]
    listed.input(choose, [listed, *fields.all()], seen, **QUICK)
    dropped.upload(drop, [dropped, *fields.all()], seen, **QUICK)
    link_button.click(make_link, current, [status, code], **QUICK).then(
        None, code, link, js=LINK, api_visibility="private"
    ).then(lambda: gr.Textbox(visible=True), None, link, **QUICK)
    if persistent:
        save.click(keep, [name, about, author, replace, *fields.all()], [*seen, listed], **QUICK)
        rename.click(give_name, [listed, name], [status, listed], **QUICK)
        delete.click(remove, listed, [status, listed, away, undo], **QUICK)
        undo.click(bring_back, away, [status, listed, undo], **QUICK)
        pull.click(fetch, [repo, *fields.all()], seen, **QUEUED)
        push.click(publish, [repo, current], status, **QUEUED)
    return {"apply": apply, "use": use, "current": current, "status": status, "listed": listed, "names": names}


@cache
def _downloads() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="self-npo-presets-")


def _file_of(preset: Preset) -> Any:
    """The preset as a file to download; the same preset is the same file, and all are gone when the studio ends."""
    folder = Path(_downloads().name) / hashlib.sha256(preset.to_json().encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    path = folder / f"{slug(preset.name or 'preset')}.json"
    if not path.exists():
        path.write_text(preset.to_json(), encoding="utf-8")
    return gr.DownloadButton(value=str(path))


def _shown(key: str, value: str) -> str:
    shown = "auto" if (key, value) == ("scheduler", "none") else WORDS.get(value)
    return word(shown) if shown else escape(value[:80])


CSS = """
#presets-list .wrap { flex-direction: column; }
.changes { border-collapse: collapse; font-size: .9rem; width: 100%; } .changes td, .changes th { border: 1px solid #8884; padding: 3px 8px; text-align: left; overflow-wrap: anywhere; }
#preset h3 { margin: 2px 0; } #preset p { margin: 6px 0; } #preset .fault { border-left: 4px solid #d97706; padding-left: 10px; }
"""
