"""Train: choose a recipe, start, watch; pause, stop and resume. The run is a process of its own; the page reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page.curves import Shown, loss_table, preview_pictures, shown_of, status_line
from app.page.html import duration, facts, fault
from app.page.text import label, sentence
from app.page.wiring import QUEUED, QUICK
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.library.choose import find_base, list_bases
from core.studio.runs.forecast import plan as plan_of
from core.studio.runs.journal import following
from core.studio.runs.memory import PROFILES, profile
from core.studio.runs.run import create_run, enqueue, get_run, list_runs, reap, start_run
from core.training.config import FIELDS, TrainConfig
from core.training.recipes import RECIPE_HELP, RECIPES

FRONT = ("steps", "batch_size", "rank", "learning_rate", "start", "rollout_guidance", "seed")
HIDDEN = ("base", "family", "recipe", "preview_prompts")
REMEMBER = "(run) => { if (run) localStorage.setItem('self-npo-run', run); }"
RECALL = "() => localStorage.getItem('self-npo-run') || ''"
"""The browser keeps the run it last watched, and shows it again after a reload."""


@dataclass(frozen=True)
class TrainTab:
    """What other tabs may touch."""

    run_id: gr.Textbox
    timer: gr.Timer
    use: gr.Button
    remembered: gr.Textbox
    attach: Callable[..., tuple[Any, Any]]
    forecast: tuple[Callable[..., str], list[Any], gr.HTML]


def base_of(engine: Engine, run_id: str) -> str:
    """The base that a run was trained on, by its name in the library."""
    try:
        name = get_run(engine.workspace, run_id).config.base
    except StudioError:
        return ""
    known = {choice.name for choice in list_bases(engine.workspace)}
    return name if name in known else ""


def recipe_values(name: str) -> dict[str, Any]:
    """All settings of a recipe as plain values, also where it still needs a folder of images."""
    return {**{f.name: f.default for f in FIELDS.values()}, **RECIPES.get(name, {}), "recipe": name}


def _control(name: str, value: Any) -> Any:
    field = FIELDS[name]
    title, info = label(name.replace("_", " ")), label(field.help)
    if field.one_of:
        return gr.Dropdown(list(field.one_of), value=value, label=title, info=info, min_width=180)
    if field.kind == "bool":
        return gr.Checkbox(value, label=title, info=info, min_width=180)
    if field.kind in ("int", "float"):
        whole = 0 if field.kind == "int" else None
        return gr.Number(value, label=title, info=info, precision=whole, min_width=180)
    return gr.Textbox(value, label=title, info=info, min_width=180)


def build(engine: Engine) -> TrainTab:
    """The tab."""
    bases = [choice.name for choice in list_bases(engine.workspace)]
    start_with = recipe_values("studio")
    controls: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            base = gr.Dropdown(bases, value=bases[0] if bases else None, label=label("Base model"))
            with gr.Row():
                recipe = gr.Dropdown(list(RECIPE_HELP), value="studio", label=label("Recipe"), min_width=150)
                fit = gr.Dropdown(
                    [(label("the recipe's own"), ""), *((label(title), key) for key, title in PROFILES.items())],
                    value="",
                    label=label("Memory profile"),
                    min_width=150,
                )
            meaning = gr.HTML(label(RECIPE_HELP["studio"]), elem_classes="scale-note", padding=False)
            with gr.Row():
                start = gr.Button(label("Start training"), variant="primary", scale=3, min_width=160)
                queue = gr.Button(label("Add to the queue"), scale=2, min_width=170)
            plan = gr.HTML(elem_classes="status", padding=False)
            with gr.Group(), gr.Row(elem_classes="even"):
                for name in FRONT:
                    controls[name] = _control(name, start_with[name])
            with (
                gr.Accordion(label("Advanced: every other setting, with its meaning"), open=False),
                gr.Row(elem_classes="even"),
            ):
                for name in FIELDS:
                    if name not in FRONT and name not in HIDDEN:
                        controls[name] = _control(name, start_with[name])
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML(label("No run chosen yet."), elem_classes="status", padding=False)
            with gr.Row():
                pause = gr.Button(label("Pause"), size="sm", min_width=80)
                resume = gr.Button(label("Resume"), size="sm", min_width=80)
                stop = gr.Button(label("Stop and keep"), size="sm", min_width=100)
                use = gr.Button(label("Use in Compare"), size="sm", variant="primary", min_width=120)
            curve = gr.LinePlot(x="step", y="loss", height=230, x_title="step", y_title="loss", show_label=False)
            previews = gr.Gallery(
                label=label("Same seeds, without and with the growing offset"),
                columns=4,
                height=300,
                object_fit="contain",
                elem_classes="previews",
                interactive=False,
                preview=False,
            )
            run_id = gr.Textbox("", visible="hidden")
    timer = gr.Timer(1.0, active=False)
    remembered = gr.Textbox("", visible="hidden")
    seen = gr.State(Shown())

    def settings(base_name: str | None, recipe_name: str, given: tuple[Any, ...]) -> TrainConfig:
        values = dict(zip(controls, given, strict=True))
        for name, value in values.items():
            if value is None:
                raise StudioError(f"{name} is empty.", FIELDS[name].help)
        return TrainConfig.from_dict({**values, "base": base_name or "", "recipe": recipe_name})

    def show_plan(base_name: str | None, recipe_name: str, *given: Any) -> str:
        try:
            config = settings(base_name, recipe_name, given)
        except StudioError as error:
            return fault(error)
        told = plan_of(engine.workspace, config)
        pairs = [(sentence("row-forwards"), f"{told.row_forwards:,.0f}")]
        if told.seconds is not None and told.memory is not None and told.disk is not None:
            pairs += [
                (sentence("about"), duration(told.seconds)),
                (sentence("memory"), f"{told.memory / 2**30:.2f} GiB"),
                (sentence("disk"), f"{told.disk / 2**20:.0f} MiB"),
                (sentence("measured in"), told.like),
            ]
        else:
            pairs.append((sentence("time"), sentence("known after the first run on this base")))
            if told.memory is not None:
                pairs.append(
                    (
                        sentence("memory"),
                        sentence("{memory:.1f} GiB and the card's own, computed", memory=told.memory / 2**30),
                    )
                )
        return facts(pairs)

    def choose_recipe(name: str) -> tuple[Any, ...]:
        values = recipe_values(name)
        return ("", label(RECIPE_HELP.get(name, "")), *(values[control] for control in controls))

    def choose_profile(base_name: str | None, name: str) -> tuple[Any, ...]:
        changes: dict[str, Any] = {}
        note: Any = gr.skip()
        if name:
            try:
                changes = profile(find_base(engine.workspace, base_name or ""), name)
                if not changes:
                    note = label("This base is small: the recipe's own settings fit every card.")
            except StudioError as error:
                note = fault(error)
        return (note, *(changes.get(control, gr.skip()) for control in controls))

    def begin(base_name: str | None, recipe_name: str, *given: Any) -> tuple[Any, ...]:
        try:
            config = settings(base_name, recipe_name, given)
            find_base(engine.workspace, config.base)
            for summary in list_runs(engine.workspace):
                if summary.status == "running":
                    return summary.id, gr.Timer(active=True), _already(summary.id)
            run = start_run(create_run(engine.workspace, config), cpu=engine.cpu)
        except StudioError as error:
            return gr.skip(), gr.skip(), fault(error)
        return run.id, gr.Timer(active=True), facts([(sentence("started"), run.id)])

    def wait_in_line(base_name: str | None, recipe_name: str, *given: Any) -> tuple[Any, ...]:
        try:
            run = create_run(engine.workspace, settings(base_name, recipe_name, given))
            enqueue(engine.workspace, run, cpu=engine.cpu)
        except StudioError as error:
            return gr.skip(), gr.skip(), fault(error)
        running = [summary.id for summary in list_runs(engine.workspace) if summary.status == "running"]
        return running[0] if running else run.id, gr.Timer(active=True), facts([(sentence("in the queue"), run.id)])

    def tick(current: str, last: Shown) -> tuple[Any, ...]:
        if not current:
            return label("No run chosen yet."), gr.skip(), gr.skip(), gr.Timer(active=False), Shown()
        reap()
        try:
            run = get_run(engine.workspace, current)
            events, position = following(run.folder).events()
            now = shown_of(run, events, position, last)
            timer_now = gr.Timer(active=now.status == "running" or now != last)
            line = gr.skip() if now == last else status_line(run, events)
            curve_now = gr.skip() if now.drawn == last.drawn else loss_table(events)
            pictures = gr.skip() if now.preview == last.preview else preview_pictures(run, events)
            return line, curve_now, pictures, timer_now, now
        except StudioError as error:
            return fault(error), gr.skip(), gr.skip(), gr.Timer(active=False), Shown()

    def ask(wish: str) -> Callable[[str], Any]:
        def act(current: str) -> Any:
            try:
                run = get_run(engine.workspace, current)
                if run.process() is None:
                    raise StudioError(f"The run {current} is not running.", "Resume it, or start a new one.")
                run.wish(wish)
            except StudioError as error:
                return fault(error)
            return gr.skip()

        return act

    def go_on(current: str) -> tuple[Any, Any]:
        try:
            start_run(get_run(engine.workspace, current), cpu=engine.cpu)
        except StudioError as error:
            return fault(error), gr.skip()
        return gr.skip(), gr.Timer(active=True)

    def attach(kept: str, request: gr.Request) -> tuple[Any, Any]:
        wanted = str(dict(request.query_params).get("run", "")) or kept or ""
        running = [run.id for run in list_runs(engine.workspace) if run.status == "running"]
        known = {run.id for run in list_runs(engine.workspace)}
        current = running[0] if running else wanted if wanted in known else ""
        return current, gr.Timer(active=bool(current))

    def usable(current: str) -> Any:
        try:
            if get_run(engine.workspace, current).offset is None:
                raise StudioError("This run has no offset yet.", "Let it finish, or press Stop and keep.")
        except StudioError as error:
            return fault(error)
        return gr.skip()

    given = [base, recipe, *controls.values()]
    forecast = (show_plan, given, plan)
    recipe.input(choose_recipe, recipe, [fit, meaning, *controls.values()], **QUICK).then(*forecast, **QUICK)
    fit.input(choose_profile, [base, fit], [meaning, *controls.values()], **QUICK)
    for control in (base, *controls.values()):
        control.change(*forecast, **QUICK)
    start.click(begin, given, [run_id, timer, plan], concurrency_id="start", concurrency_limit=1, **QUEUED)
    queue.click(wait_in_line, given, [run_id, timer, plan], concurrency_id="start", concurrency_limit=1, **QUEUED)
    run_id.change(None, run_id, None, js=REMEMBER, **QUICK)
    timer.tick(tick, [run_id, seen], [status, curve, previews, timer, seen], **QUICK)
    pause.click(ask("pause"), run_id, status, **QUICK)
    stop.click(ask("stop"), run_id, status, **QUICK)
    resume.click(go_on, run_id, [status, timer], **QUICK)
    use.click(usable, run_id, status, **QUICK)
    return TrainTab(run_id, timer, use, remembered, attach, forecast)


def _already(run_id: str) -> str:
    return facts([(sentence("already training"), sentence("{run}; shown here. Stop it to start another.", run=run_id))])
