"""Settings: what this machine is, whether the program works on it, what is remembered, and where things are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from app.page.text import label
from app.page.wiring import QUEUED
from core.studio import doctor
from core.studio.comparing.engine import Engine

FORGET = "() => { Object.keys(localStorage).filter(k => k.startsWith('self-npo')).forEach(k => localStorage.removeItem(k)); location.reload(); }"
TOGGLE = "() => { document.body.classList.toggle('dark'); }"


def build(engine: Engine, *, paths: bool = True) -> tuple[Callable[[str], str], gr.Code, gr.Code]:
    """The tab; what tells of this machine when the tab is opened, as the arguments of an event.

    Args:
        paths: show where the workspace is; off where the page can be opened from another machine.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            gr.HTML(
                label("For a bug report: no path, name or token is in it."), elem_classes="scale-note", padding=False
            )
            test = gr.Button(label("Self-test, under two minutes"), size="sm")
            report = gr.Code("", label=label("To copy into a bug report"), show_line_numbers=False, lines=18)
        with gr.Column(scale=4, min_width=320):
            gr.HTML(
                label(
                    "The language is the browser's: English or Chinese. Compare's settings are remembered by this browser."
                ),
                elem_classes="scale-note",
                padding=False,
            )
            with gr.Row():
                dark = gr.Button(label("Light or dark"), size="sm")
                forget = gr.Button(label("Forget what this browser remembers"), size="sm")
            if paths:
                gr.HTML(_where(engine), elem_id="where")

    def tell(already: str) -> str:
        """What is there stays: it may be what a self-test found."""
        return already or json.dumps(doctor.facts(engine.workspace, ask_hub=False), indent=2)

    def check() -> Iterator[str]:
        told: dict[str, Any] = doctor.facts(engine.workspace)
        told["self_test"] = {}
        yield json.dumps(told, indent=2)
        for name, right, words in doctor.self_test(cpu=engine.cpu):
            told["self_test"][name] = " ".join(part for part in ("ok" if right else "FAILED", words) if part)
            yield json.dumps(told, indent=2)

    test.click(check, None, report, concurrency_limit=1, **QUEUED)
    dark.click(None, None, None, js=TOGGLE, api_visibility="private")
    forget.click(None, None, None, js=FORGET, api_visibility="private")
    return tell, report, report


def _where(engine: Engine) -> str:
    """Where a person's things are; shown to the person at this machine alone."""
    folders = ("runs", "offsets", "outputs", "models", "presets")
    rows = "".join(
        f"<tr><td>{name}</td><td><code>{escape(str(getattr(engine.workspace, name)))}</code></td></tr>"
        for name in folders
    )
    return f"<table class='changes'>{rows}</table>"
