"""What Runs does: all runs of the workspace, looked at, named, noted, compared, put away. Plain functions of plain values."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.curves import loss_chart, loss_points, preview_board, status_line
from app.page.downloads import to_download
from app.page.html import fault, left_out
from app.page.text import sentence, translate, word
from app.page.train_actions import CONTROLS
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.runs.notes import Notes, delete_run, read_notes, restore_run, write_notes
from core.studio.runs.run import Run, Summary, get_run, list_runs
from core.studio.workspace import Workspace

LOOKED_AT = ("runs_status", "runs_curve", "runs_previews", "runs_settings", "download", "title", "notes", "runs_timer")
BUTTONS = ("watch", "runs_use", "evaluate_run", "preset", "duplicate", "delete_run")


def line(workspace: Workspace, run: Summary) -> str:
    """A run as a line to read: its title or id, its state, its base."""
    name = read_notes(Run(workspace.runs / run.id)).title or run.id
    status = sentence(run.status)
    text = sentence("{run} · {status} · step {step}/{steps}", run=name, status=status, step=run.step, steps=run.steps)
    loss = "" if run.loss is None else sentence(", loss {loss:.4g}", loss=run.loss)
    return f"{text}{loss} · {run.base}"


def choices(
    workspace: Workspace, on_fault: Callable[[StudioError], None] = lambda fault: None
) -> list[tuple[str, str]]:
    """Each run as a line to read and its id, newest first; `on_fault` is called for each that is damaged."""
    return [(line(workspace, run), run.id) for run in list_runs(workspace, on_fault)]


def look(workspace: Workspace, run_id: str | None) -> Changes:
    """A run: its state, its curve, its newest previews, its settings and notes."""
    if not run_id:
        empty = {name: gr.update(interactive=False) for name in (*BUTTONS, "save_notes")}
        return {
            "runs_status": sentence("No runs yet: start one in Train."),
            "runs_timer": gr.Timer(active=False),
            **empty,
        }
    try:
        run = get_run(workspace, run_id)
        notes = read_notes(run)
        return {**_standing(run), "title": notes.title, "notes": notes.text, "save_notes": gr.update(interactive=True)}
    except StudioError as error:
        return {"runs_status": fault(error), "runs_timer": gr.Timer(active=False)}


def _standing(run: Run) -> Changes:
    events, _ = run.events()
    offset, running = run.offset, run.status == "running"
    alive = gr.update(interactive=True)
    return {
        "runs_status": status_line(run, events),
        "runs_curve": loss_chart({run.id: loss_points(events)}),
        "runs_previews": preview_board(run, events),
        "runs_settings": json.dumps(run.config.to_dict(), indent=2),
        "download": gr.update(value=to_download(offset) if offset else None, interactive=offset is not None),
        "runs_timer": gr.Timer(active=running),
        "watch": alive,
        "runs_use": gr.update(interactive=offset is not None),
        "evaluate_run": gr.update(interactive=offset is not None),
        "preset": gr.update(interactive=offset is not None),
        "duplicate": alive,
        "delete_run": gr.update(interactive=not running),
    }


def follow(workspace: Workspace, run_id: str | None) -> Changes:
    """The chosen run while it runs, and once more when it has ended: then the download is there."""
    if not run_id:
        return {"runs_timer": gr.Timer(active=False)}
    try:
        return {**_standing(get_run(workspace, run_id)), "runs": gr.update(choices=choices(workspace))}
    except StudioError as error:
        return {"runs_status": fault(error), "runs_timer": gr.Timer(active=False)}


def refresh(workspace: Workspace, run_id: str | None) -> Changes:
    """The lists as they are now, and the run that was chosen, or else the newest."""
    faults: list[StudioError] = []
    lines = choices(workspace, faults.append)
    names = [name for _, name in lines]
    run = run_id if run_id in names else next(iter(names), None)
    return {
        "runs": gr.update(choices=lines, value=run),
        "beside": gr.update(choices=lines),
        "runs_left": left_out(faults),
        **look(workspace, run),
    }


def keep_notes(workspace: Workspace, run_id: str | None, title: str, text: str) -> Changes:
    """Keeps the chosen run's title and notes."""
    try:
        write_notes(get_run(workspace, run_id or ""), Notes(title or "", text or ""))
    except StudioError as error:
        return {"runs_status": fault(error)}
    lines = choices(workspace)
    return {
        "runs": gr.update(choices=lines, value=run_id),
        "beside": gr.update(choices=lines),
        "runs_status": sentence("Saved."),
    }


def delete(workspace: Workspace, run_id: str | None, beside: Sequence[str] | None) -> Changes:
    """Puts the chosen run away; its curve leaves the comparison, too."""
    try:
        gone = delete_run(workspace, run_id or "")
    except StudioError as error:
        return {"runs_status": fault(error)}
    remaining = [name for name in beside or [] if name != run_id]
    changes = {**refresh(workspace, None), **overlay(workspace, remaining)}
    changes["beside"] = gr.update(choices=choices(workspace), value=remaining)
    return {**changes, "runs_away": str(gone), "runs_undo": gr.update(interactive=True)}


def undo(workspace: Workspace, gone: str) -> Changes:
    """Brings back the run that was deleted last."""
    try:
        run = restore_run(workspace, Path(gone))
    except StudioError as error:
        return {"runs_status": fault(error)}
    return {**refresh(workspace, run.id), "runs_away": "", "runs_undo": gr.update(interactive=False)}


def overlay(workspace: Workspace, chosen: Sequence[str] | None) -> Changes:
    """The losses of several runs in one chart, and their settings side by side where they differ."""
    runs: dict[str, Run] = {}
    for run_id in chosen or []:
        try:
            runs[run_id] = get_run(workspace, run_id)
        except StudioError:
            continue  # put away in another window
    curves = {read_notes(run).title or name: loss_points(run.events()[0]) for name, run in runs.items()}
    return {"runs_chart": loss_chart(curves), "runs_table": table(list(runs.values()))}


def table(runs: Sequence[Run]) -> str:
    """Settings that differ between runs, a column for each run."""
    if len(runs) < 2:
        return ""
    configs = [run.config.to_dict() for run in runs]
    rows = [name for name in configs[0] if len({json.dumps(config.get(name)) for config in configs}) > 1]
    head = "".join(f"<th>{escape(read_notes(run).title or run.id)}</th>" for run in runs)
    began = "".join(f"<td>{escape(when(run))}</td>" for run in runs)
    body = "".join(
        f"<tr><td>{escape(translate(name.replace('_', ' ')))}</td>"
        + "".join(f"<td>{escape(str(config.get(name)))[:80]}</td>" for config in configs)
        + "</tr>"
        for name in rows
    )
    caption = escape(word("Settings in which they differ"))
    return (
        f"<table class='changes'><caption>{caption}</caption><tr><th></th>{head}</tr>"
        f"<tr><td>{escape(word('began'))}</td>{began}</tr>{body}</table>"
    )


def when(run: Run) -> str:
    """When a run was made, in the machine's time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime((run.folder / "config.json").stat().st_mtime))


def duplicate(workspace: Workspace, run_id: str | None) -> dict[str, Any]:
    """Train's form as the run had it, to be changed and started anew; empty where there is none."""
    try:
        values = get_run(workspace, run_id or "").config.to_dict()
    except StudioError:
        return {}
    form = {name: values[name] for name in CONTROLS if name in values}
    return {**form, "train_base": values["base"], "recipe": values["recipe"], "former_rank": values["rank"]}
