"""Train: choose a recipe, start, watch; pause, stop and resume. The run is a separate process; the page reads its journal."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import methods
from app.page import train_actions as actions
from app.page.curves import Shown
from app.page.text import label
from app.page.train_actions import CONTROLS, FRONT, PROFILES, RECIPE_HELP, WATCHED
from app.page.views import blank
from app.page.wiring import QUEUED, QUICK, Changes, Opening, Tab
from core.studio.comparing.engine import Engine
from core.studio.library.choose import list_bases
from core.training.config import FIELDS

REMEMBER = "(run) => { if (run) localStorage.setItem('self-npo-run', run); }"
RECALL = "() => localStorage.getItem('self-npo-run') || ''"
"""The browser keeps the run it last watched, and shows it again after a reload."""


def _control(name: str, value: Any) -> Any:
    field = FIELDS[name]
    title, info = label(name.replace("_", " ")), label(field.help)
    if field.one_of:
        return gr.Dropdown(list(field.one_of), value=value, label=title, info=info, min_width=150)
    if field.kind == "bool":
        return gr.Checkbox(value, label=title, info=info, min_width=150)
    if field.kind in ("int", "float"):
        whole = 0 if field.kind == "int" else None
        return gr.Number(value, label=title, info=info, precision=whole, min_width=150)
    return gr.Textbox(value, label=title, info=info, min_width=150)


def _settings(parts: dict[str, Any], engine: Engine) -> None:
    bases = [choice.name for choice in list_bases(engine.workspace)]
    values = actions.recipe_values("studio")
    methods.place(parts)
    parts["train_base"] = gr.Dropdown(bases, value=bases[0] if bases else None, label=label("Base model"))
    with gr.Row():
        parts["recipe"] = gr.Dropdown(list(RECIPE_HELP), value="studio", label=label("Recipe"), min_width=150)
        parts["profile"] = gr.Dropdown(
            [(label("the recipe's own"), ""), *((label(title), key) for key, title in PROFILES.items())],
            value="",
            label=label("Memory profile"),
            min_width=150,
        )
    parts["meaning"] = gr.HTML(label(RECIPE_HELP["studio"]), elem_classes="scale-note", padding=False)
    with gr.Row(elem_classes="tight"):
        parts["start_run"] = gr.Button(label("Start training"), variant="primary", scale=3, min_width=160)
        parts["queue"] = gr.Button(label("Add to the queue"), scale=2, min_width=170)
    parts["plan"] = gr.HTML(elem_classes="status", padding=False)
    with gr.Group(), gr.Row(elem_classes="even"):
        for name in FRONT:
            parts[name] = _control(name, values[name])
    with (
        gr.Accordion(label("Advanced: every other setting, with its meaning"), open=False),
        gr.Row(elem_classes="even"),
    ):
        for name in CONTROLS:
            if name not in FRONT:
                parts[name] = _control(name, values[name])
    parts["former_rank"] = gr.State(values["rank"])


def _watching(parts: dict[str, Any]) -> None:
    parts["run_status"] = gr.HTML(label("No run chosen yet."), elem_classes="status tall", padding=False)
    parts["note"] = gr.HTML("", elem_classes="status", padding=False)
    with gr.Row(elem_classes="tight actions"):
        parts["pause"] = gr.Button(label("Pause"), size="sm", min_width=80, interactive=False)
        parts["resume"] = gr.Button(label("Resume"), size="sm", min_width=80, interactive=False)
        parts["stop_run"] = gr.Button(label("Stop and keep"), size="sm", min_width=100, interactive=False)
        parts["use"] = gr.Button(
            label("Use in Compare"), size="sm", variant="primary", min_width=120, interactive=False
        )
    parts["curve"] = gr.HTML("", padding=False, elem_classes="chart-box")
    gr.HTML(
        label("Same seeds, without and with the offset so far"),
        elem_classes="scale-note",
        padding=False,
    )
    parts["previews"] = gr.HTML(blank(4, 4), padding=False, elem_id="train-previews")
    parts["run_id"] = gr.Textbox("", visible="hidden")


def build(engine: Engine) -> Tab:
    """The tab."""
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_classes="side"):
            _settings(parts, engine)
        with gr.Column(scale=6, min_width=320):
            _watching(parts)
    parts |= {
        "timer": gr.Timer(1.0, active=False),
        "watched_before": gr.Textbox("", visible="hidden"),
        "seen": gr.State(Shown()),
    }
    tab = Tab(parts, Opening(forecast(engine), FORM, PLANNED))
    _wire(tab, engine)
    methods.wire(tab, engine)
    return tab


FORM = ("train_base", "recipe", *CONTROLS)
PLANNED = ("plan", "start_run", "queue")


def forecast(engine: Engine) -> Any:
    """The action that tells the cost."""

    def act(base: str | None, recipe: str, *inputs: Any) -> Changes:
        return actions.forecast(engine, base, recipe, dict(zip(CONTROLS, inputs, strict=True)))

    return act


def attach(engine: Engine) -> Any:
    """The action that shows a run when the page is opened."""

    def act(stored_run: str, request: gr.Request) -> Changes:
        return actions.attach(engine.workspace, stored_run, str(dict(request.query_params).get("run", "")))

    return act


def _wire(tab: Tab, engine: Engine) -> None:
    parts, workspace = tab.parts, engine.workspace
    cost = forecast(engine)

    def start(base: str | None, recipe: str, *inputs: Any) -> Changes:
        return actions.start(engine, base, recipe, dict(zip(CONTROLS, inputs, strict=True)))

    def queue(base: str | None, recipe: str, *inputs: Any) -> Changes:
        return actions.enqueue_run(engine, base, recipe, dict(zip(CONTROLS, inputs, strict=True)))

    filled = [*CONTROLS, "profile", "meaning", "former_rank"]
    tab.on(parts["recipe"].input, actions.choose_recipe, ["recipe"], filled, **QUICK)
    tab.on(
        parts["profile"].input,
        lambda base, name: actions.choose_profile(workspace, base, name),
        ["train_base", "profile"],
        ["meaning", *CONTROLS],
        **QUICK,
    )
    tab.on(
        parts["rank"].input,
        actions.rank_changed,
        ["rank", "lora_alpha", "former_rank"],
        ["lora_alpha", "former_rank"],
        **QUICK,
    )
    tab.on([parts[name].change for name in FORM], cost, FORM, PLANNED, trigger_mode="always_last", **QUICK)
    begun = ["run_id", "timer", "note", "run_status"]
    one_at_a_time: dict[str, Any] = {**QUEUED, "concurrency_id": "start", "concurrency_limit": 1}
    tab.on(parts["start_run"].click, start, FORM, begun, **one_at_a_time)
    tab.on(parts["queue"].click, queue, FORM, begun, **one_at_a_time)
    tab.on(parts["run_id"].change, None, ["run_id"], js=REMEMBER, api_visibility="private")
    tab.on(
        parts["timer"].tick, lambda run, seen: actions.watch(workspace, run, seen), ["run_id", "seen"], WATCHED, **QUICK
    )
    for name, request in (("pause", "pause"), ("stop_run", "stop")):
        act = _asking(engine, request)
        tab.on(parts[name].click, act, ["run_id"], ["run_status", "pause", "stop_run", "timer"], **QUICK)
    tab.on(
        parts["resume"].click,
        lambda run: actions.resume(engine, run),
        ["run_id"],
        ["run_status", "resume", "timer"],
        **QUICK,
    )


def _asking(engine: Engine, request: str) -> Any:
    return lambda run: actions.ask(engine.workspace, run, request)
