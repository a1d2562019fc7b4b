"""What Library does: lists models and offsets, brings files in, and says or changes what a weights file is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.html import facts, fault, left_out, progress
from app.page.text import sentence, translate, word
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.library import entries as library
from core.studio.library import hub, weights
from core.studio.workspace import Workspace

COLUMNS = ("name", "kind", "family", "MB", "from")
FILES = ("saved", "without_norms_and_biases")
"""Facts that are files: shown by their names."""
KINDS = {
    "model": "model",
    "offset": "offset",
    "weights": "whole weights",
    "control": "control network",
    "embedding": "textual inversion",
    "pickle": "pickle",
}


def table(
    workspace: Workspace, *, hashed: bool = False, on_fault: Callable[[StudioError], None] = lambda fault: None
) -> dict[str, Any]:
    """Rows and headers of the list; hashes only where they are asked for, since they take their time."""
    rows = [
        [
            entry.name,
            translate(KINDS[entry.kind]),
            entry.family or "?",
            round(entry.size / 1e6, 1),
            translate(entry.source),
        ]
        + ([library.hash_of(workspace, entry.path)[:10]] if hashed else [])
        for entry in library.entries(workspace, on_fault)
    ]
    return {"value": rows, "headers": [word(name) for name in (*COLUMNS, *(["sha256"] if hashed else []))]}


def files(workspace: Workspace) -> list[str]:
    """Names of the weights files, to choose from."""
    return [entry.name for entry in library.entries(workspace) if entry.kind != "model"]


def refresh(workspace: Workspace, *, hashed: bool = False) -> Changes:
    """The lists as they are now."""
    faults: list[StudioError] = []
    return {
        "table": gr.update(**table(workspace, hashed=hashed, on_fault=faults.append)),
        "file": gr.update(choices=files(workspace)),
        "library_left": left_out(faults),
    }


def outcome(work: Callable[[], dict[str, Any]]) -> Changes:
    """What a command on a weights file says: its facts in a row, or its fault."""
    try:
        result = work()
    except StudioError as error:
        return {"library_status": fault(error)}
    short = {key: value for key, value in result.items() if key not in ("captured_by_layer", "settings")}
    short = {key: (Path(value).name if key in FILES else value) for key, value in short.items()}
    texts = {key: value if isinstance(value, str) else str(value) for key, value in short.items()}
    pairs = [(translate(key.replace("_", " ")), translate(text)[:160]) for key, text in texts.items()]
    return {"library_status": facts(pairs)}


def bring(workspace: Workspace, path: str | None) -> Changes:
    """A dropped file is checked, converted and copied to the person's offsets."""
    if not path:
        return {}
    return {**outcome(lambda: weights.import_offset(workspace, Path(path))), **refresh(workspace)}


def change_folder(workspace: Workspace, where: str, *, added: bool) -> Changes:
    """A folder to look in is added or removed."""
    try:
        if added:
            library.add_folder(workspace, Path((where or "").strip() or "?"))
        else:
            library.remove_folder(workspace, (where or "").strip())
    except StudioError as error:
        return {"library_status": fault(error)}
    listed = [(sentence("folder"), folder.name) for folder in library.folders(workspace)]
    return {"library_status": facts(listed), **refresh(workspace)}


def fetch(workspace: Workspace, repository: str, revision: str) -> Iterator[Changes]:
    """A model of the Hub, megabyte by megabyte."""
    try:
        for step in hub.fetch_model(workspace, (repository or "").strip(), (revision or "").strip() or None):
            text = sentence("{done:.0f} of {total:.0f} MB", done=step.done / 1e6, total=step.total / 1e6)
            yield {"library_status": progress(f"{text} {step.file}", step.done / max(1, step.total))}
        name = step.folder.name if step.folder else ""
        yield {"library_status": facts([(sentence("fetched"), name)]), **refresh(workspace)}
    except StudioError as error:
        yield {"library_status": fault(error)}


def tell(workspace: Workspace, name: str | None) -> Changes:
    """What a weights file is."""
    return outcome(lambda: weights.offset_info(workspace, name or ""))


def to_kohya(workspace: Workspace, name: str | None, base: str) -> Changes:
    """The file as other programs read it; some adapters can only be converted with their base."""
    return outcome(lambda: weights.convert_offset(workspace, name or "", to="kohya", base=base))


def extract(workspace: Workspace, name: str | None, base: str, rank: float | None) -> Changes:
    """A low-rank offset of whole weights."""
    return outcome(lambda: weights.extract(workspace, name or "", base=base, rank=int(rank or 0)))


def merge(workspace: Workspace, name: str | None, base: str, scale: float | None) -> Changes:
    """The offset merged into its base."""
    return outcome(lambda: weights.merge(workspace, name or "", scale=float(scale or 0), base=base))
