"""The part of Evaluate that searches a good setting, and keeps what an evaluation found."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import search_actions as actions
from app.page.evaluate_actions import CONTROLS
from app.page.search_actions import TRIED
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, Tab
from core.studio.comparing.engine import Engine

LABELS = {
    "omega": "ω to try",
    "beta": "β to try",
    "alpha": "α to try",
    "beta_split": "NPO up to this part of the steps, to try",
}
WHAT_FOR = (
    "Every combination is drawn on a few prompts, the better half on twice as many, and so on; the last one is held against the "
    "best CFG on prompts that nothing was chosen on."
)
FORM = ("evaluate_base", *(f"evaluate_{name}" for name in CONTROLS), *(f"search_{axis}" for axis in TRIED))


def place(parts: dict[str, Any]) -> None:
    """Values to try, the button and its cost."""
    with gr.Accordion(label("Search for a good setting"), open=False):
        gr.HTML(label(WHAT_FOR), elem_classes="scale-note", padding=False)
        with gr.Row():
            for axis, proposed in TRIED.items():
                parts[f"search_{axis}"] = gr.Textbox(proposed, label=label(LABELS[axis]), min_width=140)
        parts["start_search"] = gr.Button(label("Start search"), min_width=160)
        parts["search_plan"] = gr.HTML(elem_classes="status", padding=False)


def wire(tab: Tab, engine: Engine) -> None:
    """What happens in it; the tab has the form of an evaluation."""
    parts = tab.parts

    def split(given: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        count = len(CONTROLS)
        return dict(zip(CONTROLS, given[:count], strict=True)), dict(zip(TRIED, given[count:], strict=True))

    def forecast(base: str | None, *given: Any) -> Changes:
        return actions.forecast(engine, base, *split(given))

    def begin(base: str | None, *given: Any) -> Changes:
        return actions.begin(engine, base, *split(given))

    changed = [parts[name].change for name in FORM]
    tab.on(changed, forecast, FORM, ["search_plan", "start_search"], trigger_mode="always_last", **QUICK)
    begun = ["evaluation_id", "evaluations", "evaluation_timer", "evaluation_seen", "evaluation_status", "report"]
    one_at_a_time: dict[str, Any] = {**QUEUED, "concurrency_id": "start", "concurrency_limit": 1}
    tab.on(parts["start_search"].click, begin, FORM, begun, **one_at_a_time)
    tab.on(
        parts["keep_evaluated"].click,
        lambda evaluation: actions.keep(engine.workspace, evaluation),
        ["evaluation_id"],
        ["kept"],
        **QUICK,
    )
