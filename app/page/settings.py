"""Settings: what this machine is, whether the program works on it, what is remembered, and where things are."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from app.page import settings_actions as actions
from app.page.language import COOKIE
from app.page.text import label
from app.page.wiring import QUEUED, Changes, Opening, Tab
from core.studio.comparing.engine import Engine

FORGET = f"""() => {{
  Object.keys(localStorage).filter(k => k.startsWith('self-npo')).forEach(k => localStorage.removeItem(k));
  document.cookie = '{COOKIE}=;path=/;max-age=0'; location.reload();
}}"""
CHOOSE = f"(language) => {{ document.cookie = '{COOKIE}=' + language + ';path=/;SameSite=Lax;max-age=' + (language ? 31536000 : 0); location.reload(); }}"
CHOSEN = f"() => (document.cookie.match(/(?:^|; ){COOKIE}=(\\w+)/) || ['', ''])[1]"
TOGGLE = "() => { document.body.classList.toggle('dark'); }"


def build(engine: Engine, *, paths: bool = True) -> Tab:
    """The tab.

    Args:
        paths: show where the workspace is; off where the page can be opened from another machine.
    """
    workspace = engine.workspace
    parts: dict[str, gr.Code] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            gr.HTML(
                label("For a bug report: it contains no path, name or token."), elem_classes="scale-note", padding=False
            )
            test = gr.Button(label("Self-test, under two minutes"), size="sm")
            parts["report"] = gr.Code("", label=label("To copy into a bug report"), show_line_numbers=False, lines=18)
        with gr.Column(scale=4, min_width=320):
            gr.HTML(
                label("Compare's settings are remembered by this browser."),
                elem_classes="scale-note",
                padding=False,
            )
            language = gr.Radio(
                [(label("As the browser"), ""), ("English", "en"), ("中文", "zh")],
                value="",
                label=label("Language"),
                elem_id="language",
            )
            with gr.Row(elem_classes="tight actions"):
                dark = gr.Button(label("Light or dark"), size="sm")
                forget = gr.Button(label("Forget what this browser remembers"), size="sm")
            if paths:
                gr.HTML(actions.where(workspace), elem_id="where")

    def tell(already: str) -> Changes:
        return actions.tell(workspace, already)

    def check() -> Iterator[Changes]:
        yield from actions.check(workspace, cpu=engine.cpu)

    tab = Tab(parts, Opening(tell, ("report",), ("report",)))
    tab.on(test.click, check, (), ["report"], concurrency_limit=1, **QUEUED)
    language.input(None, language, js=CHOOSE, api_visibility="private")
    gr.on(None, None, None, language, js=CHOSEN, api_visibility="private", show_progress="hidden", queue=False)
    tab.on(dark.click, None, js=TOGGLE, api_visibility="private")
    tab.on(forget.click, None, js=FORGET, api_visibility="private")
    return tab
