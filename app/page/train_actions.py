"""What Train does: settings to a plan, to a run; watching it, pausing, stopping, resuming. Plain functions of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from app.page.curves import Shown, loss_chart, loss_points, preview_board, shown_of, status_line
from app.page.html import duration, facts, fault
from app.page.text import label, sentence
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.settings import comparison_of
from core.studio.library.choose import find_base, list_bases
from core.studio.runs.forecast import Plan
from core.studio.runs.forecast import plan as plan_of
from core.studio.runs.journal import following
from core.studio.runs.memory import PROFILES, profile
from core.studio.runs.process import begin_run, enqueue, reap, start_run
from core.studio.runs.run import create_run, get_run, list_runs
from core.studio.workspace import Workspace
from core.training.config import FIELDS, TrainConfig
from core.training.recipes import RECIPE_HELP, RECIPES

FRONT = ("steps", "batch_size", "rank", "learning_rate", "start", "rollout_guidance", "seed")
HIDDEN = ("base", "family", "recipe", "preview_prompts")
CONTROLS = (*FRONT, *(name for name in FIELDS if name not in FRONT and name not in HIDDEN))
WATCHED = ("run_status", "curve", "previews", "timer", "seen", "pause", "resume", "stop_run", "use", "note")

__all__ = ["PROFILES", "RECIPE_HELP"]


def base_of(workspace: Workspace, run_id: str) -> str:
    """The base that a run was trained on, by its name in the library; empty where it is not there any more."""
    try:
        name = get_run(workspace, run_id).config.base
    except StudioError:
        return ""
    return name if name in {choice.name for choice in list_bases(workspace)} else ""


def recipe_values(name: str) -> dict[str, Any]:
    """All settings of a recipe as plain values, also where it still needs a folder of images."""
    return {**{f.name: f.default for f in FIELDS.values()}, **RECIPES.get(name, {}), "recipe": name}


def config_of(base: str | None, recipe: str, values: Mapping[str, Any]) -> TrainConfig:
    """The settings of the form.

    Raises:
        StudioError: an empty field, or a value out of its range.
    """
    for name, value in values.items():
        if value is None:
            raise StudioError("{name} is empty.", FIELDS[name].help, name=name)
    return TrainConfig.from_dict({**values, "base": base or "", "recipe": recipe})


def forecast(engine: Engine, base: str | None, recipe: str, values: Mapping[str, Any]) -> Changes:
    """What the training will cost, shown before it starts."""
    try:
        config = config_of(base, recipe, values)
        cost = plan_of(engine.workspace, config)
    except StudioError as error:
        return {"plan": fault(error), "start_run": gr.update(interactive=False), "queue": gr.update(interactive=False)}
    ready = gr.update(interactive=True)
    return {"plan": facts(_cost(engine, config, cost)), "start_run": ready, "queue": ready}


def _cost(engine: Engine, config: TrainConfig, cost: Plan) -> list[tuple[str, str]]:
    if cost.seconds is not None and cost.memory is not None and cost.disk is not None:
        return [
            (sentence("about"), duration(cost.seconds)),
            (sentence("memory"), f"{cost.memory / 2**30:.2f} GiB"),
            (sentence("disk"), f"{cost.disk / 2**20:.0f} MiB"),
            (sentence("measured in"), cost.like),
        ]
    pairs = []
    pace = seconds_of_row_forward(engine, config.base)
    if pace is None:
        pairs.append((sentence("time"), sentence("known after the first rendering or run on this base")))
    else:
        seconds = pace * cost.row_forwards  # a backward is counted in them
        pairs.append((sentence("about"), sentence("{time}, from the speed of rendering", time=duration(seconds))))
    if cost.memory is not None:
        memory = sentence("{memory:.1f} GiB plus the GPU's own, computed", memory=cost.memory / 2**30)
        pairs.append((sentence("memory"), memory))
    return pairs


def seconds_of_row_forward(engine: Engine, base: str) -> float | None:
    """Seconds that this machine takes for a row-forward of the base, from what it has rendered; None where it has not."""
    try:
        cost = engine.estimate(comparison_of({"base": base}))
    except StudioError:
        return None
    return None if cost.seconds is None else cost.seconds / cost.row_forwards


def choose_recipe(name: str) -> Changes:
    """A recipe fills the form."""
    values = recipe_values(name)
    changes = {control: values[control] for control in CONTROLS}
    return {**changes, "profile": "", "meaning": label(RECIPE_HELP.get(name, "")), "former_rank": values["rank"]}


def choose_profile(workspace: Workspace, base: str | None, name: str) -> Changes:
    """A memory profile changes what makes the training fit."""
    if not name:
        return {}
    try:
        changes = profile(find_base(workspace, base or ""), name)
    except StudioError as error:
        return {"meaning": fault(error)}
    if not changes:
        return {"meaning": label("This base is small: the recipe's own settings fit every GPU.")}
    return {key: value for key, value in changes.items() if key in CONTROLS}


def rank_changed(rank: float | None, alpha: float | None, former: float | None) -> Changes:
    """`lora_alpha` moves with the rank, so that the LoRA's strength stays, unless it was set apart."""
    moves = rank is not None and alpha is not None and alpha == former
    return {"former_rank": rank, **({"lora_alpha": rank} if moves else {})}


def start(engine: Engine, base: str | None, recipe: str, values: Mapping[str, Any]) -> Changes:
    """Starts a training; shows the one that runs, where there is one."""
    try:
        config = config_of(base, recipe, values)
        find_base(engine.workspace, config.base)
        running = _running(engine.workspace)
        if running:
            note = sentence("{run} is already training and is shown here. Stop it to start another.", run=running)
            return {"run_id": running, "timer": gr.Timer(active=True), "note": note}
        run = begin_run(engine.workspace, config, cpu=engine.cpu)
    except StudioError as error:
        return {"note": fault(error)}
    return {
        "run_id": run.id,
        "timer": gr.Timer(active=True),
        "note": "",
        "run_status": sentence("Starting {run}…", run=run.id),
    }


def enqueue_run(engine: Engine, base: str | None, recipe: str, values: Mapping[str, Any]) -> Changes:
    """Starts a training when those before it have ended."""
    try:
        run = create_run(engine.workspace, config_of(base, recipe, values))
        enqueue(engine.workspace, run, cpu=engine.cpu)
    except StudioError as error:
        return {"note": fault(error)}
    shown = _running(engine.workspace) or run.id
    return {"run_id": shown, "timer": gr.Timer(active=True), "note": facts([(sentence("in the queue"), run.id)])}


def _running(workspace: Workspace) -> str:
    return next((summary.id for summary in list_runs(workspace) if summary.status == "running"), "")


def buttons(status: str, requested: str, *, has_offset: bool) -> Changes:
    """Which buttons do something, by what the run does."""
    running = status == "running" and not requested
    return {
        "pause": gr.update(interactive=running),
        "stop_run": gr.update(interactive=running),
        "resume": gr.update(interactive=status in ("paused", "interrupted", "failed", "new")),
        "use": gr.update(interactive=has_offset),
    }


def watch(workspace: Workspace, run_id: str, last: Shown) -> Changes:
    """What the page shows of the run now; only what is new since `last`."""
    if not run_id:
        empty = {"run_status": sentence("No run chosen yet."), "timer": gr.Timer(active=False), "seen": Shown()}
        return {**empty, **buttons("", "", has_offset=False)}
    reap()
    try:
        run = get_run(workspace, run_id)
        events, position = following(run.folder).events()
        now = shown_of(run, events, position, last)
        changes: Changes = {"timer": gr.Timer(active=now.status == "running" or now != last), "seen": now}
        if now != last:
            changes |= {"run_status": status_line(run, events)}
            changes |= buttons(now.status, now.requested, has_offset=run.offset is not None)
        if now.status != "running" and last.status == "running":
            changes["note"] = ""
        if now.drawn != last.drawn:
            changes["curve"] = loss_chart({run.id: loss_points(events)})
        if now.preview != last.preview:
            changes["previews"] = preview_board(run, events)
        return changes
    except StudioError as error:
        return {"run_status": fault(error), "timer": gr.Timer(active=False), "seen": Shown()}


def ask(workspace: Workspace, run_id: str, request: str) -> Changes:
    """Asks the run to "pause" or "stop"; it follows within one step."""
    try:
        run = get_run(workspace, run_id)
        if run.process() is None:
            raise StudioError("The run {run_id} is not running.", "Resume it, or start a new one.", run_id=run_id)
        run.request(request)
    except StudioError as error:
        return {"run_status": fault(error)}
    nothing = gr.update(interactive=False)
    return {"pause": nothing, "stop_run": nothing, "timer": gr.Timer(active=True)}


def resume(engine: Engine, run_id: str) -> Changes:
    """Goes on with a run that was paused or cut off."""
    try:
        start_run(get_run(engine.workspace, run_id), cpu=engine.cpu)
    except StudioError as error:
        return {"run_status": fault(error)}
    return {
        "run_status": sentence("Resuming {run}…", run=run_id),
        "resume": gr.update(interactive=False),
        "timer": gr.Timer(active=True),
    }


def attach(workspace: Workspace, stored_run: str, wanted: str) -> Changes:
    """The run to show when the page is opened: the one that runs, else the one asked for, else the last one watched."""
    known: Sequence[str] = [run.id for run in list_runs(workspace)]
    chosen = wanted or stored_run
    current = _running(workspace) or (chosen if chosen in known else "")
    return {"run_id": current, "timer": gr.Timer(active=bool(current))}
