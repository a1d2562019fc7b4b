"""The page as a whole: the tabs and how they send to each other."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import compare, runs, train
from core.studio.engine import Engine


def build(engine: Engine, opening: dict[str, Any]) -> gr.Blocks:
    """The page over an engine; `opening` are the values that Compare opens with."""
    with gr.Blocks(title="Self-NPO Studio", delete_cache=(86_400, 86_400), analytics_enabled=False) as page:
        gr.HTML(
            "<h1>Self-NPO Studio</h1><p>Teach a diffusion model what to steer away from, from the model alone, "
            "and see the difference side by side.</p>",
            elem_id="brand",
        )
        with gr.Tabs() as tabs:
            with gr.Tab("Compare", id="compare"):
                compare_tab = compare.build(engine, opening)
            with gr.Tab("Train", id="train"):
                train_tab = train.build(engine)
            with gr.Tab("Runs", id="runs") as runs_here:
                runs_tab = runs.build(engine)

        def use(run_id: str) -> tuple[Any, Any]:
            names = compare.offset_names(engine)
            return gr.Tabs(selected="compare"), gr.Dropdown(choices=names, value=f"run {run_id}")

        def watch(run_id: str) -> tuple[Any, str, Any]:
            return gr.Tabs(selected="train"), run_id, gr.Timer(active=True)

        for button, run_id in ((train_tab.use, train_tab.run_id), (runs_tab.use, runs_tab.run_id)):
            button.click(use, run_id, [tabs, compare_tab.negative], api_visibility="private")
        runs_tab.watch.click(
            watch, runs_tab.run_id, [tabs, train_tab.run_id, train_tab.timer], api_visibility="private"
        )
        runs_here.select(runs_tab.refresh, None, runs_tab.run_id, api_visibility="private")
        page.load(compare_tab.refresh, None, compare_tab.lists, api_visibility="private")
        page.load(
            train_tab.attach,
            train_tab.remembered,
            [train_tab.run_id, train_tab.timer],
            js=train.RECALL,
            api_visibility="private",
        )
    return page
