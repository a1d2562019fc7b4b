"""Evaluate: does the offset help? Scores over many prompts beside tuned CFG and controls; figures come while it runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import evaluate_actions as actions
from app.page import search, study, study_actions
from app.page.evaluate_actions import CONTROLS, FRONT, HELP, LABELS, MORE, REPORTED
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, Opening, Tab
from core.studio.comparing.engine import Engine
from core.studio.evaluating.scorers import default_scorers
from core.studio.evaluating.settings import EvaluationSettings
from core.studio.library.choose import OPENING, find_base, list_bases, list_offsets, start_values

CSS = Path(__file__).with_name("evaluate.css").read_text(encoding="utf-8")
REMEMBER = "(id) => { if (id) localStorage.setItem('self-npo-evaluation', id); }"
RECALL = "() => localStorage.getItem('self-npo-evaluation') || ''"
"""The browser keeps the evaluation it last watched, and shows it again after a reload."""

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(EvaluationSettings)}
WHAT_FOR = (
    "Every prompt is drawn under several settings from the same seed and scored: the offset, CFG at the same ω and at others, "
    "and controls. It ends in one sentence and a report."
)
FORM = ("evaluate_base", *(f"evaluate_{name}" for name in CONTROLS))
FOLLOWING = ("evaluate_base", "evaluate_negative", "evaluate_positive", "evaluate_scorers")
"""What a choice of another base, or of a run, fills in."""
CHANGED = ("evaluations", *actions.WATCHED, "live_scorer", *REPORTED)


def _control(name: str, engine: Engine, family: str) -> Any:
    title, info = label(LABELS[name]), label(HELP[name]) if name in HELP else None
    value = DEFAULTS[name]
    if name in ("negative", "positive"):
        names = ["none", *(choice.name for choice in list_offsets(engine.workspace, family))]
        own = start_values(find_base(engine.workspace, OPENING)).get(name)
        chosen = own if own in names else "none"
        return gr.Dropdown([(label(n) if n == "none" else n, n) for n in names], value=chosen, label=title)
    if name == "scorers":
        return gr.Dropdown(
            actions.scorer_choices(engine.workspace),
            value=list(default_scorers(engine.workspace, OPENING)),
            multiselect=True,
            label=title,
        )
    if name == "cfg":
        return gr.Textbox(", ".join(f"{omega:g}" for omega in value), label=title, info=info, min_width=180)
    if isinstance(value, bool):
        return gr.Checkbox(value, label=title, info=info, min_width=180)
    if isinstance(value, int):
        return gr.Number(value, label=title, info=info, precision=0, minimum=0, min_width=110)
    if isinstance(value, float):
        return gr.Number(value, label=title, info=info, step=0.1, min_width=110)
    return gr.Textbox(value, label=title, info=info, min_width=180)


def _settings(parts: dict[str, Any], engine: Engine) -> None:
    bases = [choice.name for choice in list_bases(engine.workspace)]
    gr.HTML(label(WHAT_FOR), elem_classes="scale-note", padding=False)
    parts["evaluate_base"] = gr.Dropdown(bases, value=bases[0] if bases else None, label=label("Base model"))
    parts["evaluate_negative"] = _control("negative", engine, "sd15")
    with gr.Row():
        for name in FRONT[1:]:
            parts[f"evaluate_{name}"] = _control(name, engine, "sd15")
    with gr.Row(elem_classes="tight"):
        parts["start_evaluation"] = gr.Button(label("Start evaluation"), variant="primary", scale=3, min_width=160)
    parts["evaluation_plan"] = gr.HTML(elem_classes="status", padding=False)
    parts["evaluate_scorers"] = _control("scorers", engine, "sd15")
    with gr.Accordion(label("Advanced: prompts, columns and controls"), open=False), gr.Row():
        for name in MORE:
            parts[f"evaluate_{name}"] = _control(name, engine, "sd15")
    search.place(parts)


def _watching(parts: dict[str, Any], engine: Engine) -> None:
    parts["evaluations"] = gr.Dropdown([], value=None, label=label("Evaluations, newest first"))
    parts["evaluation_status"] = gr.HTML(
        label("No evaluation yet: Start makes one."), elem_classes="status tall", padding=False
    )
    with gr.Row(elem_classes="tight"):
        parts["stop_evaluation"] = gr.Button(label("Stop and keep"), size="sm", min_width=100, interactive=False)
        parts["go_on"] = gr.Button(label("Resume"), size="sm", min_width=80, interactive=False)
        parts["report_html"] = gr.DownloadButton(label("Report (HTML)"), size="sm", min_width=110, interactive=False)
        parts["report_json"] = gr.DownloadButton(label("Report (JSON)"), size="sm", min_width=110, interactive=False)
    with gr.Row(elem_classes="tight"):
        parts["use_evaluated"] = gr.Button(label("Use in Compare"), size="sm", min_width=110, interactive=False)
        parts["keep_evaluated"] = gr.Button(
            label("Save as preset with this evidence"), size="sm", min_width=110, interactive=False
        )
    parts["kept"] = gr.HTML("", padding=False, elem_classes="status")
    parts["live_scorer"] = gr.Radio([], show_label=False, visible=False, container=False)
    parts["live"] = gr.HTML("", padding=False)
    parts["report"] = gr.HTML("", padding=False)


def build(engine: Engine) -> Tab:
    """The tab."""
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            _settings(parts, engine)
        with gr.Column(scale=6, min_width=320):
            _watching(parts, engine)
    study.place(parts)
    parts |= {
        "evaluation_id": gr.Textbox("", visible="hidden"),
        "evaluation_stored": gr.Textbox("", visible="hidden"),
        "evaluation_timer": gr.Timer(1.0, active=False),
        "evaluation_seen": gr.State(()),
    }
    opened = ("evaluation_plan", "start_evaluation", "evaluations", "studies", *FOLLOWING[1:3])
    tab = Tab(parts, Opening(_opened(engine), FORM, opened))
    _wire(tab, engine)
    search.wire(tab, engine)
    study.wire(tab, engine)
    return tab


def forecast(engine: Engine) -> Any:
    """The action that tells the cost."""

    def act(base: str | None, *given: Any) -> Changes:
        return actions.forecast(engine, base, dict(zip(CONTROLS, given, strict=True)))

    return act


def _opened(engine: Engine) -> Any:
    """The action whenever the tab is shown: its lists as they are now, and the cost."""

    def act(base: str | None, *given: Any) -> Changes:
        return {
            **actions.forecast(engine, base, dict(zip(CONTROLS, given, strict=True))),
            **actions.lists(engine, base),
            "studies": gr.update(choices=study_actions.choices(engine.workspace)),
        }

    return act


def attach(engine: Engine) -> Any:
    """The action that shows an evaluation when the page is opened."""

    def act(stored: str, request: gr.Request) -> Changes:
        return actions.attach(engine.workspace, stored, str(dict(request.query_params).get("evaluation", "")))

    return act


ATTACHED = ("evaluation_id", "evaluations", "evaluation_timer", "evaluation_seen")


def _wire(tab: Tab, engine: Engine) -> None:
    parts, workspace = tab.parts, engine.workspace

    def begin(base: str | None, *given: Any) -> Changes:
        return actions.begin(engine, base, dict(zip(CONTROLS, given, strict=True)))

    planned = ("evaluation_plan", "start_evaluation")
    tab.on([parts[name].change for name in FORM], forecast(engine), FORM, planned, trigger_mode="always_last", **QUICK)
    tab.on(
        parts["evaluate_base"].input,
        lambda base: actions.choose_base(engine, base),
        ["evaluate_base"],
        [*FOLLOWING[1:], "evaluation_plan"],
        **QUICK,
    )
    one_at_a_time: dict[str, Any] = {**QUEUED, "concurrency_id": "start", "concurrency_limit": 1}
    begun = [*ATTACHED, "evaluation_status", "report"]
    tab.on(parts["start_evaluation"].click, begin, FORM, begun, **one_at_a_time)
    tab.on(parts["evaluation_id"].change, None, ["evaluation_id"], js=REMEMBER, api_visibility="private")
    watched = ("evaluation_id", "live_scorer", "evaluation_seen")
    look = [parts["evaluation_timer"].tick, parts["live_scorer"].input]
    tab.on(look, lambda *asked: actions.watch(workspace, *asked), watched, CHANGED, **QUICK)
    chosen = ["evaluation_id", "evaluation_timer", "evaluation_seen", "report"]
    tab.on(parts["evaluations"].input, actions.choose, ["evaluations"], chosen, **QUICK)
    tab.on(
        parts["stop_evaluation"].click,
        lambda evaluation: actions.ask_to_stop(workspace, evaluation),
        ["evaluation_id"],
        ["evaluation_status", "stop_evaluation", "evaluation_timer"],
        **QUICK,
    )
    tab.on(
        parts["go_on"].click,
        lambda evaluation: actions.resume(engine, evaluation),
        ["evaluation_id"],
        ["go_on", "evaluation_timer", "evaluation_status"],
        **one_at_a_time,
    )
