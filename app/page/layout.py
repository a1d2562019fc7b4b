"""The page as a whole: the tabs and how they send to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.page import compare, grid, library, presets, runs, settings, train
from app.page.text import label
from app.page.wiring import QUEUED, QUICK
from core.studio.comparing.engine import Engine

TAGLINE = "Teach a diffusion model what to steer away from, from the model alone, and see the difference side by side."
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
            gr.HTML("<h1>Self-NPO Studio</h1>", padding=False)
            gr.HTML(label(TAGLINE), padding=False)
        if space:
            gr.HTML(label(IN_A_SPACE), elem_classes="scale-note", padding=False, elem_id="space")
        with gr.Tabs() as tabs:
            with gr.Tab(label("Compare"), id="compare"):
                compare_tab = compare.build(engine, opening, persistent=not space)
            with gr.Tab(label("Grid"), id="grid"):
                grid_tab = grid.build(engine, compare_tab)
            if not space:
                with gr.Tab(label("Train"), id="train"):
                    train_tab = train.build(engine)
                with gr.Tab(label("Library"), id="library") as library_here:
                    library_tab = library.build(engine)
            with gr.Tab(label("Presets"), id="presets") as presets_here:
                presets_tab = presets.build(engine, compare_tab, persistent=not space)
            if not space:
                with gr.Tab(label("Runs"), id="runs") as runs_here:
                    runs_tab = runs.build(engine)
                with gr.Tab(label("Settings"), id="settings") as settings_here:
                    tell = settings.build(engine, paths=not afar)

        fields = compare_tab.fields

        def cell_to(place: str) -> Callable[[dict[str, Any]], list[Any]]:
            def send(told: dict[str, Any]) -> list[Any]:
                values = compare.values_of(told)
                if not values:
                    return [label("Choose a cell first."), *[gr.skip()] * (1 + len(fields.controls))]
                return [gr.skip(), gr.Tabs(selected=place), *fields.fill(engine, values)]

            return send

        for button, place in (("to_compare", "compare"), ("to_presets", "presets")):
            outputs = [grid_tab["status"], tabs, *fields.all()]
            grid_tab[button].click(cell_to(place), grid_tab["chosen"], outputs, **QUICK)
        presets_tab["apply"].click(
            presets_tab["use"],
            [presets_tab["current"], *fields.all()],
            [presets_tab["status"], compare_tab.status, tabs, *fields.all()],
            **QUICK,
        )
        gr.on(
            [page.load, presets_here.select],
            lambda: gr.Radio(choices=presets_tab["names"]()),
            None,
            presets_tab["listed"],
            **QUICK,
        )
        page.load(
            compare_tab.refresh,
            compare_tab.remembered,
            [compare_tab.status, *fields.all(), compare_tab.remembered],
            js=compare.RECALL,
            **QUICK,
        ).then(
            None, [fields.controls[n] for n in ("omega", "alpha", "beta")], compare_tab.drawn, js=compare.diagram.DRAW
        ).then(*compare_tab.forecast, **QUICK)
        if space:
            return page

        def use(run_id: str) -> list[Any]:
            return [
                gr.Tabs(selected="compare"),
                *fields.fill(engine, {"negative": f"run {run_id}", "base": train.base_of(engine, run_id)}),
            ]

        def watch(run_id: str) -> tuple[Any, str, Any]:
            return gr.Tabs(selected="train"), run_id, gr.Timer(active=True)

        for button, run_id in ((train_tab.use, train_tab.run_id), (runs_tab.use, runs_tab.run_id)):
            button.click(use, run_id, [tabs, *fields.all()], **QUICK)
        runs_tab.watch.click(watch, runs_tab.run_id, [tabs, train_tab.run_id, train_tab.timer], **QUICK)
        runs_here.select(runs_tab.refresh, runs_tab.run_id, runs_tab.lists, **QUICK)

        def to_presets(run_id: str) -> list[Any]:
            return [gr.Tabs(selected="presets"), *use(run_id)[1:]]

        runs_tab.preset.click(to_presets, runs_tab.run_id, [tabs, *fields.all()], **QUICK)
        settings_here.select(*tell, **QUEUED)
        library_here.select(library_tab["refresh"], None, library_tab["parts"], **QUICK)
        page.load(
            train_tab.attach,
            train_tab.remembered,
            [train_tab.run_id, train_tab.timer],
            js=train.RECALL,
            **QUICK,
        ).then(*train_tab.forecast, **QUICK)
    return page
