"""The page as a whole: the tabs and how they send to each other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import (
    compare,
    evaluate,
    examples,
    grid,
    guidance,
    library,
    presets,
    proposal,
    runs,
    settings,
    train,
    views,
)
from app.page.compare_actions import last_pairs_or_opening, shown_pairs, values_of
from app.page.evaluate_actions import evaluate_run
from app.page.fields import filled, stored_values
from app.page.html import fault
from app.page.runs_actions import duplicate
from app.page.search_actions import evaluated_values
from app.page.text import label
from app.page.train_actions import base_of
from app.page.wiring import QUEUED, QUICK, Changes, CompareTab, Tab, by_component
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.settings import opening_values
from core.studio.studying.study import list_studies

TAGLINE = "Teach a diffusion model what to steer away from, and see the difference."
MARK = (
    '<svg viewBox="0 0 22 22" aria-hidden="true"><rect width="22" height="22" rx="6" fill="#0f766e"/>'
    '<path d="M6 16.5 10.2 12" stroke="#fda29b" stroke-width="2" stroke-linecap="round" stroke-dasharray="1.6 2.6"/>'
    '<path d="M10.2 12 15.4 6.4M11.2 6.2h4.4v4.4" stroke="#fff" stroke-width="2" stroke-linecap="round" '
    'stroke-linejoin="round" fill="none"/></svg>'
)
"""Away from the negative prediction: the drawing of Compare, small."""
IN_A_SPACE = (
    "This Space renders with the bundled models. For training, your own models and your own offsets run python launch.py "
    "on your machine, or duplicate this Space, keep it private and set SELF_NPO_PRIVATE=1."
)


def build(engine: Engine, opening: dict[str, Any], *, space: bool = False, afar: bool = False) -> gr.Blocks:
    """The page over an engine.

    Args:
        opening: the values that Compare opens with.
        space: strangers share this server: no training, no library, nothing kept for all.
        afar: the page can be opened from another machine; no path of this one is in it.
    """
    with gr.Blocks(title="Self-NPO Studio", delete_cache=(3_600, 3_600), analytics_enabled=False) as page:
        with gr.Row(elem_id="brand"):
            gr.HTML(f"<h1>{MARK}Self-NPO <b>Studio</b></h1>", padding=False)
            gr.HTML(label(TAGLINE), padding=False, elem_classes="tagline")
        if space:
            gr.HTML(label(IN_A_SPACE), elem_classes="scale-note", padding=False, elem_id="space")
            for study in list_studies(engine.workspace)[:1]:
                link = f"/vote/{study.settings.code}"
                gr.Button(label("Take part in the blind study"), link=link, link_target="_blank", size="sm")
        tabs: dict[str, Tab] = {}
        shown: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="tabs") as selected:
            with gr.Tab(label("Compare"), id="compare"):
                form = compare.build(engine, opening, persistent=not space)
            with gr.Tab(label("Grid"), id="grid"):
                tabs["grid"] = grid.build(engine, form)
            if not space:
                with gr.Tab(label("Train"), id="train") as shown["train"]:
                    tabs["train"] = train.build(engine)
                with gr.Tab(label("Evaluate"), id="evaluate") as shown["evaluate"]:
                    tabs["evaluate"] = evaluate.build(engine)
                with gr.Tab(label("Library"), id="library") as shown["library"]:
                    tabs["library"] = library.build(engine)
            with gr.Tab(label("Presets"), id="presets") as shown["presets"]:
                tabs["presets"] = presets.build(engine, form, persistent=not space)
            if not space:
                with gr.Tab(label("Runs"), id="runs") as shown["runs"]:
                    tabs["runs"] = runs.build(engine)
                with gr.Tab(label("Settings"), id="settings") as shown["settings"]:
                    tabs["settings"] = settings.build(engine, paths=not afar)
        enlarged = gr.HTML("", padding=False, elem_id="enlarged")
        for name, tab in shown.items():
            if opens := tabs[name].opening:
                how = QUEUED if name == "settings" else QUICK
                tabs[name].on(tab.select, opens.action, opens.inputs, opens.changes, **how)
        page.load(views.viewer, None, enlarged, **QUICK)
        _open_compare(page, form, engine, opening, persistent=not space)
        _to_compare(form, tabs, selected, engine)
        if not space:
            _between_runs(page, form, tabs, selected, engine)
    return page


def _open_compare(
    page: gr.Blocks, form: CompareTab, engine: Engine, opening: dict[str, Any], *, persistent: bool
) -> None:
    """What the browser kept, the last pictures, the drawing, the cost, and what the page's address asks for."""
    names = list(form.fields.controls)
    first = str(opening_values(engine.workspace, opening)["base"])

    def restore(stored: str) -> Changes:
        pairs = last_pairs_or_opening(engine.workspace, persistent=persistent)
        changes = {**shown_pairs(pairs), "remembered": "", "examples": examples.line(engine, first)}
        if opening:
            return changes  # the form has what --preset asked for
        restored = dict(zip(names, form.fields.restore(engine, stored), strict=True))
        if base := stored_values(engine, stored).get("base"):
            changes |= {"former": base, "examples": examples.line(engine, base)}
        return {**restored, **changes}

    parts = form.parts
    outputs = [
        *names,
        "former",
        "examples",
        "remembered",
        "records",
        "sides",
        "chosen",
        "facts",
        "slide",
        "flicker",
        "reuse",
    ]
    page.load(
        by_component(parts, restore),
        parts["remembered"],
        [parts[name] for name in (*outputs, "share")],
        js=compare.RECALL,
        **QUICK,
    ).then(
        None, [parts[name] for name in guidance.DRAWN], [parts[name] for name in guidance.SHOWN], js=guidance.DRAW
    ).then(*proposal.opened(form, engine), **QUICK).then(*_estimated(form, engine), **QUICK)


def _estimated(form: CompareTab, engine: Engine) -> tuple[Any, list[Any], list[Any]]:
    action, inputs, changes = compare.opening_estimate(engine, form)
    return (
        by_component(form.parts, action),
        [form.parts[name] for name in inputs],
        [form.parts[name] for name in changes],
    )


def _to_compare(form: CompareTab, tabs: dict[str, Tab], selected: gr.Tabs, engine: Engine) -> None:
    """A cell of the grid, or a preset, fills Compare's form; the page goes there."""
    names = [*form.fields.controls, "former", "status"]
    everything = {**form.parts, **tabs["grid"].parts, "selected": selected}

    def send(place: str) -> Any:
        def act(chosen: dict[str, Any]) -> Changes:
            values = values_of(chosen)
            return {**filled(engine, form.fields, values), "selected": gr.Tabs(selected=place)} if values else {}

        return act

    for button, place in (("to_compare", "compare"), ("to_presets", "presets")):
        outputs = [everything[name] for name in (*names, "grid_status", "selected")]
        act = by_component(everything, send(place))
        tabs["grid"].parts[button].click(act, everything["grid_chosen"], outputs, **QUICK)

    everything = {**form.parts, **tabs["presets"].parts, "selected": selected}

    def apply(current: Any, held: bool, base: str) -> Changes:
        changes = presets.applied(engine, form, current, held, base)
        return {**changes, "selected": gr.Tabs(selected="compare")} if "status" in changes else changes

    tabs["presets"].parts["apply"].click(
        by_component(everything, apply),
        [everything["current"], everything["held"], everything["base"]],
        [everything[name] for name in (*names, "preset_status", "selected")],
        **QUICK,
    )


def _between_runs(page: gr.Blocks, form: CompareTab, tabs: dict[str, Tab], selected: gr.Tabs, engine: Engine) -> None:
    """A run's offset to Compare or Presets, a run to Train to be watched or begun anew."""
    training, listed = tabs["train"], tabs["runs"]
    everything = {**form.parts, **training.parts, **listed.parts, "selected": selected}
    names = [*form.fields.controls, "former"]

    def use(place: str) -> Any:
        def act(run_id: str | None) -> Changes:
            if not run_id:
                return {}
            values = {"negative": f"run {run_id}", "base": base_of(engine.workspace, run_id)}
            return {**filled(engine, form.fields, values), "selected": gr.Tabs(selected=place)}

        return act

    def watch(run_id: str | None) -> Changes:
        if not run_id:
            return {}
        return {"selected": gr.Tabs(selected="train"), "run_id": run_id, "timer": gr.Timer(active=True)}

    def again(run_id: str | None) -> Changes:
        changes = duplicate(engine.workspace, run_id)
        return {**changes, "selected": gr.Tabs(selected="train")} if changes else {}

    def join(button: str, action: Any, source: str, changes: list[str]) -> None:
        outputs = [everything[name] for name in (*changes, "selected")]
        everything[button].click(by_component(everything, action), everything[source], outputs, **QUICK)

    join("use", use("compare"), "run_id", names)
    join("runs_use", use("compare"), "runs", names)
    join("preset", use("presets"), "runs", names)
    join("watch", watch, "runs", ["run_id", "timer"])
    join("duplicate", again, "runs", [*train.FORM, "former_rank"])
    _evaluate_runs(page, form, tabs, selected, engine)
    page.load(
        by_component(training.parts, train.attach(engine)),
        training.parts["watched_before"],
        [training.parts["run_id"], training.parts["timer"]],
        js=train.RECALL,
        **QUICK,
    )


def _evaluate_runs(page: gr.Blocks, form: CompareTab, tabs: dict[str, Tab], selected: gr.Tabs, engine: Engine) -> None:
    """A run to Evaluate, what was evaluated to Compare; and the evaluation that is shown when the page is opened."""
    evaluating = tabs["evaluate"]
    everything = {**tabs["runs"].parts, **evaluating.parts, "selected": selected}

    def fill(run_id: str | None) -> Changes:
        changes = evaluate_run(engine, run_id)
        return {**changes, "selected": gr.Tabs(selected="evaluate")} if changes else {}

    outputs = [everything[name] for name in (*evaluate.FOLLOWING, "selected")]
    everything["evaluate_run"].click(by_component(everything, fill), everything["runs"], outputs, **QUICK)
    everything |= {**form.parts, **evaluating.parts}

    def use(evaluation_id: str) -> Changes:
        try:
            values = evaluated_values(engine.workspace, evaluation_id)
        except StudioError as error:
            return {"kept": fault(error)}
        return {**filled(engine, form.fields, values), "selected": gr.Tabs(selected="compare")}

    outputs = [everything[name] for name in (*form.fields.controls, "former", "kept", "selected")]
    everything["use_evaluated"].click(by_component(everything, use), everything["evaluation_id"], outputs, **QUICK)
    page.load(
        by_component(evaluating.parts, evaluate.attach(engine)),
        evaluating.parts["evaluation_stored"],
        [evaluating.parts[name] for name in evaluate.ATTACHED],
        js=evaluate.RECALL,
        **QUICK,
    )
