"""Library: models and offsets there are; folders, the Hub, and what can be done to a weights file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.html import facts, fault, progress
from app.page.text import label, sentence, translate, word
from app.page.wiring import QUEUED, QUICK
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.library import entries as library
from core.studio.library import hub, weights
from core.studio.library.choose import BUNDLED, list_bases

COLUMNS = ("name", "kind", "family", "MB", "from")
KINDS = {
    "model": "model",
    "offset": "offset",
    "weights": "whole weights",
    "control": "control network",
    "pickle": "pickle",
}


def build(engine: Engine) -> dict[str, Any]:
    """The tab; what other tabs may touch."""
    workspace = engine.workspace

    def listed(hashed: bool = False) -> dict[str, Any]:
        """Rows and headers of the table; hashes only where they are asked for, since they take their time."""
        rows = [
            [e.name, translate(KINDS[e.kind]), e.family or "?", round(e.size / 1e6, 1), translate(e.source)]
            + ([library.hash_of(workspace, e.path)[:10]] if hashed else [])
            for e in library.entries(workspace)
        ]
        return {"value": rows, "headers": [word(name) for name in (*COLUMNS, *(["sha256"] if hashed else []))]}

    def table_now(hashed: bool = False) -> Any:
        return gr.Dataframe(**listed(hashed))

    def offsets() -> Any:
        here = [e.name for e in library.entries(workspace) if e.kind != "model"]
        return gr.Dropdown(choices=here)

    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML("", elem_classes="status", padding=False)
            table = gr.Dataframe(**listed(), interactive=False, wrap=True, elem_id="library", buttons=["copy"])
            with gr.Row():
                again = gr.Button(label("Look again"), size="sm")
                hashes = gr.Button(label("Compute hashes"), size="sm")
        with gr.Column(scale=4, min_width=320):
            dropped = gr.File(
                label=label(
                    "Drop a LoRA, weights, or a .ckpt here: it is checked, converted and copied to your offsets"
                ),
                file_types=[".safetensors", ".ckpt", ".pt", ".pth", ".bin"],
                type="filepath",
                height=90,
                elem_classes="drop-file",
            )
            with gr.Accordion(label("Folders to look in"), open=False):
                gr.HTML(
                    label("Nothing outside the workspace and these folders is ever looked at."),
                    elem_classes="scale-note",
                    padding=False,
                )
                folder = gr.Textbox("", label=label("Folder"), placeholder="/path/to/models")
                with gr.Row():
                    add = gr.Button(label("Add"), size="sm")
                    remove = gr.Button(label("Remove"), size="sm")
            with gr.Accordion(label("From the Hugging Face Hub"), open=False):
                repo = gr.Textbox("", label=label("Repository"), placeholder="owner/name")
                revision = gr.Textbox("", label=label("Revision (empty: the newest; it is pinned by commit)"))
                fetch = gr.Button(label("Fetch, safetensors alone"), size="sm")
            with gr.Accordion(label("A weights file"), open=True):
                chosen = gr.Dropdown(
                    [e.name for e in library.entries(workspace) if e.kind != "model"], label=label("File"), value=None
                )
                base = gr.Dropdown(
                    [c.name for c in list_bases(workspace)], value=BUNDLED, label=label("Base it belongs to")
                )
                with gr.Row():
                    info = gr.Button(label("What is it?"), size="sm", min_width=100)
                    kohya = gr.Button(label("Write as kohya"), size="sm", min_width=110)
                with gr.Row(elem_classes="beside"):
                    rank = gr.Number(32, label=label("Rank"), precision=0, minimum=1, min_width=90)
                    extract = gr.Button(label("Extract a low-rank offset"), size="sm", min_width=150)
                with gr.Row(elem_classes="beside"):
                    scale = gr.Number(-0.3, label=label("Scale"), min_width=90)
                    merge = gr.Button(label("Merge into the base"), size="sm", min_width=150)
                gr.HTML(
                    label(
                        "A low-rank form of whole weights is an approximation; its error is told. Whole weights can be "
                        "used as an offset as they are: exact, at twice the memory."
                    ),
                    elem_classes="scale-note",
                    padding=False,
                )

    def act(work: Any) -> Any:
        try:
            found = work()
        except StudioError as error:
            return fault(error)
        short = {key: value for key, value in found.items() if key not in ("captured_by_layer", "settings")}
        files = ("saved", "without_norms_and_biases")
        short = {key: (Path(value).name if key in files else value) for key, value in short.items()}
        return facts(
            [(translate(str(key).replace("_", " ")), translate(str(value))[:160]) for key, value in short.items()]
        )

    def bring(path: str | None) -> tuple[Any, Any, Any]:
        if not path:
            return gr.skip(), gr.skip(), gr.skip()
        return act(lambda: weights.import_offset(workspace, Path(path))), table_now(), offsets()

    def change(where: str, added: bool) -> tuple[Any, Any, Any]:
        try:
            if added:
                library.add_folder(workspace, Path((where or "").strip() or "?"))
            else:
                library.remove_folder(workspace, (where or "").strip())
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip()
        return facts([(sentence("folder"), f.name) for f in library.folders(workspace)]), table_now(), offsets()

    def get(repo_id: str, wanted: str) -> Iterator[tuple[Any, Any]]:
        try:
            for step in hub.fetch_model(workspace, (repo_id or "").strip(), (wanted or "").strip() or None):
                text = (
                    sentence("{done:.0f} of {total:.0f} MB", done=step.done / 1e6, total=step.total / 1e6)
                    + f" {step.file}"
                )
                yield progress(text, step.done / max(1, step.total)), gr.skip()
            yield facts([(sentence("fetched"), step.folder.name if step.folder else "")]), table_now()
        except StudioError as error:
            yield fault(error), gr.skip()

    again.click(lambda: (table_now(), offsets()), None, [table, chosen], **QUICK)
    hashes.click(lambda: table_now(True), None, table, **QUEUED)
    dropped.upload(bring, dropped, [status, table, chosen], **QUEUED)
    add.click(lambda where: change(where, True), folder, [status, table, chosen], **QUICK)
    remove.click(lambda where: change(where, False), folder, [status, table, chosen], **QUICK)
    fetch.click(get, [repo, revision], [status, table], **QUEUED)
    info.click(lambda name: act(lambda: weights.offset_info(workspace, name or "")), chosen, status, **QUEUED)
    kohya.click(
        lambda name, where: act(lambda: weights.convert_offset(workspace, name or "", to="kohya", base=where)),
        [chosen, base],
        status,
        **QUEUED,
    )
    extract.click(
        lambda name, where, r: act(lambda: weights.extract(workspace, name or "", base=where, rank=int(r or 0))),
        [chosen, base, rank],
        status,
        **QUEUED,
    )
    merge.click(
        lambda name, where, s: act(lambda: weights.merge(workspace, name or "", scale=float(s or 0), base=where)),
        [chosen, base, scale],
        status,
        **QUEUED,
    )

    def refresh() -> tuple[Any, Any]:
        return table_now(), offsets()

    return {"refresh": refresh, "parts": [table, chosen]}
