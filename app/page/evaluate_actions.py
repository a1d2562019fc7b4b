"""What Evaluate does: settings to a cost, to an evaluation; watching it, stopping, resuming. Plain functions of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from app.page.downloads import to_download
from app.page.evaluation_view import figure, standing, status_line
from app.page.html import duration, facts, fault
from app.page.text import sentence, translate, word
from app.page.train_actions import base_of, seconds_of_row_forward
from app.page.wiring import Changes
from core.errors import StudioError
from core.files import read_text
from core.studio.comparing.engine import Engine
from core.studio.evaluating import search_job
from core.studio.evaluating.estimate import estimate_of
from core.studio.evaluating.folder import Evaluation, create_evaluation, get_evaluation
from core.studio.evaluating.job import start, stop
from core.studio.evaluating.scorers import ALL, default_scorers, missing
from core.studio.evaluating.search_job import standing_of
from core.studio.evaluating.settings import EvaluationSettings
from core.studio.evaluating.state import EvaluationState, list_states, state_of
from core.studio.library.choose import family_of_base, find_base, list_offsets, start_values
from core.studio.workspace import Workspace

FRONT = ("negative", "omega", "beta", "count")
MORE = ("positive", "alpha", "prompts", "cfg", "seeds", "seed", "steps", "batch", "keep", "controls", "effective")
CONTROLS = (*FRONT, "scorers", *MORE)
LABELS = {
    "negative": "Negative offset δ",
    "positive": "Positive offset η",
    "omega": "Strength ω",
    "alpha": "Shared positive offset α",
    "beta": "Steer away β",
    "count": "Prompts",
    "scorers": "Scorers; the first decides",
    "prompts": "File of prompts",
    "cfg": "Plain CFG at ω",
    "seeds": "Seeds for each prompt",
    "seed": "First seed",
    "steps": "Steps",
    "batch": "Prompts at once",
    "keep": "Pairs whose pictures are kept",
    "controls": "Controls: a random offset, and β reversed",
    "effective": "CFG at the effective scale, too",
}
HELP = {
    "prompts": "Empty: those that come with the miniature. Otherwise a path on the studio's machine: text, or PartiPrompts, HPDv2, "
    "Pick-a-Pic, DrawBench, GenEval or VBench in their own formats.",
    "cfg": "The offset has to beat CFG at its best: these values of ω are tried, separated by commas.",
    "controls": "A gain that these have too is not the offset's.",
    "effective": "CFG at an ω that goes as far as the offset does; measured on the way.",
    "keep": "The blind study and the report show these.",
}
BETWEEN = "between"
"""The standing of a search whose next round is about to begin."""
WATCHED = (
    "evaluation_id",
    "evaluation_status",
    "live",
    "evaluation_timer",
    "evaluation_seen",
    "stop_evaluation",
    "go_on",
)
GOING_ON = ("running", "stopping", BETWEEN)
FILES, USES = ("report_html", "report_json"), ("use_evaluated", "keep_evaluated")
REPORTED = ("report", *FILES, *USES, "kept")


def settings_of(base: str | None, values: Mapping[str, Any]) -> EvaluationSettings:
    """The settings of the form.

    Raises:
        StudioError: an empty field, or a value out of its range.
    """
    checked: dict[str, Any] = {"base": base or ""}
    for name, value in values.items():
        if value is None:
            raise StudioError("{name} is empty.", "Fill it in.", name=LABELS[name])
        checked[name] = "" if name in ("negative", "positive") and value == "none" else value
    return EvaluationSettings.from_dict(checked)


def forecast(engine: Engine, base: str | None, values: Mapping[str, Any]) -> Changes:
    """What the evaluation will cost, shown before it starts."""
    try:
        settings = settings_of(base, values)
        cost = estimate_of(engine.workspace, settings, seconds_of_row_forward(engine, settings.base))
        lacking = missing(engine.workspace, settings.scorers or default_scorers(engine.workspace, settings.base))
    except StudioError as error:
        return {"evaluation_plan": fault(error), "start_evaluation": gr.update(interactive=False)}
    time = sentence("known after the first rendering or run on this base")
    if cost.seconds is not None:
        time = duration(cost.seconds)
    pairs = [
        (sentence("about"), time),
        (sentence("pictures"), str(settings.count * settings.seeds * cost.columns)),
        (sentence("columns"), str(cost.columns)),
        (sentence("disk"), f"{cost.disk / 2**20:.0f} MiB"),
    ]
    if lacking:
        card, file = lacking[0]
        missing_line = sentence(
            "{title} is not here: {size:.2f} GB from {source}, licence {licence}; `evaluate scorers fetch {name}`",
            title=card.title,
            size=card.size / 1e9,
            source=file.source,
            licence=card.licence,
            name=card.name,
        )
        pairs.append((sentence("missing"), missing_line))
    return {"evaluation_plan": facts(pairs), "start_evaluation": gr.update(interactive=not lacking)}


def scorer_choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Each scorer by its title, with what is missing of it, and its name."""
    lines = []
    for name, card in ALL.items():
        absent = missing(workspace, [name])
        size = sum(file.size for _, file in absent) / 1e9
        lines.append((f"{card.title} · {size:.2f} GB" if absent else card.title, name))
    return lines


def choose_base(engine: Engine, base: str | None) -> Changes:
    """Another base has other offsets, and other scorers fit it."""
    try:
        path = find_base(engine.workspace, base or "")
        family = family_of_base(path)
    except StudioError as error:
        return {"evaluation_plan": fault(error)}
    offsets = ["none", *(choice.name for choice in list_offsets(engine.workspace, family))]
    own = start_values(path).get("negative")
    return {
        "evaluate_negative": gr.update(choices=offsets, value=own if own in offsets else "none"),
        "evaluate_positive": gr.update(choices=offsets, value="none"),
        "evaluate_scorers": gr.update(value=list(default_scorers(engine.workspace, base or ""))),
    }


def lists(engine: Engine, base: str | None) -> Changes:
    """The lists as they are now; what is chosen stays."""
    try:
        family = family_of_base(find_base(engine.workspace, base or ""))
    except StudioError:
        family = ""
    offsets = ["none", *(choice.name for choice in list_offsets(engine.workspace, family))]
    return {
        "evaluations": gr.update(choices=choices(engine.workspace)),
        "evaluate_negative": gr.update(choices=offsets),
        "evaluate_positive": gr.update(choices=offsets),
    }


def evaluate_run(engine: Engine, run_id: str | None) -> Changes:
    """The form set to a run's offset on the base that it was trained on; empty where there is no run."""
    if not run_id:
        return {}
    base = base_of(engine.workspace, run_id)
    changes = choose_base(engine, base) if base else {}
    offsets = lists(engine, base)["evaluate_negative"]["choices"]
    return {
        **{name: change for name, change in changes.items() if name != "evaluation_plan"},
        **({"evaluate_base": base} if base else {}),
        "evaluate_negative": gr.update(choices=offsets, value=f"run {run_id}"),
    }


def begin(engine: Engine, base: str | None, values: Mapping[str, Any]) -> Changes:
    """Starts an evaluation in a separate process, and watches it."""
    try:
        evaluation = start(create_evaluation(engine.workspace, settings_of(base, values)), cpu=engine.cpu)
    except StudioError as error:
        return {"evaluation_status": fault(error)}
    return begun(engine.workspace, evaluation)


def begun(workspace: Workspace, evaluation: Evaluation) -> Changes:
    """An evaluation that was just started is the one that is watched."""
    return {
        "evaluation_id": evaluation.id,
        "evaluations": gr.update(choices=choices(workspace), value=evaluation.id),
        "evaluation_timer": gr.Timer(active=True),
        "evaluation_status": sentence("Starting {run}…", run=evaluation.id),
        "evaluation_seen": (),
        "report": "",
    }


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Each evaluation as a line to read and its id, newest first."""
    return [
        (
            sentence("{run} · {status} · {done}/{total}", run=s.id, status=standing(s), done=s.pairs, total=s.planned),
            s.id,
        )
        for s in list_states(workspace)
    ]


def attach(workspace: Workspace, stored: str, wanted: str = "") -> Changes:
    """The evaluation to show when the page is opened: the one that runs, else the one asked for, else the newest."""
    states = list_states(workspace)
    known = [state.id for state in states]
    running = [state.id for state in states if state.status in ("running", "stopping")]
    current = next((one for one in (*running, wanted, stored, *known) if one in known), "")
    return {
        "evaluation_id": current,
        "evaluations": gr.update(choices=choices(workspace), value=current or None),
        "evaluation_timer": gr.Timer(active=bool(current)),
        "evaluation_seen": (),
    }


def choose(evaluation_id: str | None) -> Changes:
    """Another evaluation is looked at."""
    if not evaluation_id:
        return {}
    return {
        "evaluation_id": evaluation_id,
        "evaluation_timer": gr.Timer(active=True),
        "evaluation_seen": (),
        **dict.fromkeys(("report",), ""),
    }


def watch(workspace: Workspace, evaluation_id: str, scorer: str | None, seen: Sequence[Any]) -> Changes:
    """What the page shows of the evaluation now; nothing where nothing is new since `seen`."""
    nothing = gr.update(interactive=False)
    if not evaluation_id:
        return {
            "evaluation_status": sentence("No evaluation yet: Start makes one."),
            "evaluation_timer": gr.Timer(active=False),
            "stop_evaluation": nothing,
            "go_on": nothing,
        }
    try:
        search = standing_of(workspace, evaluation_id)
        follows = search is not None and tuple(seen or ())[:2] in {(evaluation_id, now) for now in GOING_ON}
        if search is not None and follows and search.newest != evaluation_id:
            return {"evaluation_id": search.newest, "evaluation_seen": (search.newest, "running")}
        state = state_of(get_evaluation(workspace, evaluation_id))
    except StudioError as error:
        return {"evaluation_status": fault(error), "evaluation_timer": gr.Timer(active=False)}
    last = search is not None and not search.ended and search.newest == state.id
    status = BETWEEN if last and state.status == "finished" else state.status
    now = (state.id, status, state.done, str(state.report), scorer)
    active = status in GOING_ON
    if tuple(seen or ()) == now:
        # a process that has just ended writes its report: one more look
        return {"evaluation_timer": gr.Timer(active=active)}
    names = list(dict.fromkeys(row.scorer for row in state.rows))
    shown = scorer if scorer in names else next(iter(names), None)
    changes: Changes = {
        "evaluations": gr.update(choices=choices(workspace)),
        "evaluation_status": status_line(state, search),
        "live": figure([row for row in state.rows if row.scorer == shown]),
        "live_scorer": gr.update(
            choices=[(translate(ALL[name].title), name) for name in names], value=shown, visible=len(names) > 1
        ),
        "evaluation_seen": (state.id, status, state.done, str(state.report), shown),
        "evaluation_timer": gr.Timer(active=True),
        "stop_evaluation": gr.update(interactive=state.status == "running"),
        "go_on": gr.update(interactive=status in ("stopped", "failed", "interrupted", "new", BETWEEN)),
    }
    return {**changes, **report_of(state)}


def report_of(state: EvaluationState) -> Changes:
    """The report in a frame that runs no script, and both of its files; nothing where it is not written yet."""
    if state.report is None or state.status == "running":
        return {
            "report": "",
            **dict.fromkeys(FILES, gr.update(value=None, interactive=False)),
            **dict.fromkeys(USES, gr.update(interactive=False)),
            "kept": "",
        }
    page = read_text(state.report, limit=2**27)
    title = escape(word("Report"))
    return {
        "report": f'<iframe class="report" sandbox="" title="{title}" srcdoc="{escape(page)}"></iframe>',
        "report_html": gr.update(value=to_download(state.report), interactive=True),
        "report_json": gr.update(value=to_download(state.report.with_suffix(".json")), interactive=True),
        **dict.fromkeys(USES, gr.update(interactive=True)),
    }


def ask_to_stop(workspace: Workspace, evaluation_id: str) -> Changes:
    """Stops after the prompts that are being rendered; what is done is kept."""
    try:
        stop(get_evaluation(workspace, evaluation_id))
    except StudioError as error:
        return {"evaluation_status": fault(error)}
    return {"stop_evaluation": gr.update(interactive=False), "evaluation_timer": gr.Timer(active=True)}


def resume(engine: Engine, evaluation_id: str) -> Changes:
    """Goes on where it was; the figures are those of one go."""
    try:
        search_job.resume(engine.workspace, get_evaluation(engine.workspace, evaluation_id), cpu=engine.cpu)
    except StudioError as error:
        return {"evaluation_status": fault(error)}
    return {
        "go_on": gr.update(interactive=False),
        "evaluation_timer": gr.Timer(active=True),
        "evaluation_status": sentence("Resuming {run}…", run=evaluation_id),
    }
