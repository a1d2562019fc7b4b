"""What the search of Evaluate does: values to try to its cost, to a job; and what an evaluation found, kept and used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.evidence import save_with_evidence
from app.page.evaluate_actions import begun, settings_of
from app.page.html import duration, facts, fault
from app.page.text import sentence
from app.page.train_actions import seconds_of_row_forward
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.evaluating.evidence import setting_with_evidence
from core.studio.evaluating.folder import get_evaluation
from core.studio.evaluating.search import Search, create_search, rounds_of
from core.studio.evaluating.search_job import start_search
from core.studio.workspace import Workspace

TRIED = {"omega": "1, 2, 4, 6", "beta": "0.25, 0.5, 1, 2", "alpha": "", "beta_split": ""}
"""The axes of a search, and what the page proposes to try."""


def search_of(base: str | None, values: Mapping[str, Any], tried: Mapping[str, Any]) -> Search:
    """The search of the form.

    Raises:
        StudioError: a value that cannot be, or too many combinations.
    """
    return Search(settings_of(base, values), **{axis: str(tried[axis] or "") for axis in TRIED})


def forecast(engine: Engine, base: str | None, values: Mapping[str, Any], tried: Mapping[str, Any]) -> Changes:
    """What the search will cost, told before it starts."""
    try:
        search = search_of(base, values, tried)
        rounds = rounds_of(search)
    except StudioError as error:
        return {"search_plan": fault(error), "start_search": gr.update(interactive=False)}
    pace = seconds_of_row_forward(engine, search.settings.base)
    time = sentence("known after the first rendering or run on this base")
    if pace is not None:
        time = duration(pace * sum(one.row_forwards for one in rounds))
    pairs = [
        (sentence("about"), time),
        (sentence("settings"), str(len(search.candidates()))),
        (sentence("rounds"), str(len(rounds))),
    ]
    return {"search_plan": facts(pairs), "start_search": gr.update(interactive=True)}


def begin(engine: Engine, base: str | None, values: Mapping[str, Any], tried: Mapping[str, Any]) -> Changes:
    """Starts a search in a process of its own, and watches the evaluations of its rounds."""
    try:
        search_id = create_search(engine.workspace, search_of(base, values, tried))
        evaluation = start_search(engine.workspace, search_id, cpu=engine.cpu)
    except StudioError as error:
        return {"evaluation_status": fault(error)}
    return begun(engine.workspace, evaluation)


def evaluated_values(workspace: Workspace, evaluation_id: str) -> dict[str, Any]:
    """Compare's settings that an evaluation was of: of a sweep its best cell, of a search its winner.

    Raises:
        StudioError: there is no report yet.
    """
    return setting_with_evidence(get_evaluation(workspace, evaluation_id))[0]


def keep(workspace: Workspace, evaluation_id: str) -> Changes:
    """Saves them as a preset with this evidence."""
    try:
        saved = save_with_evidence(workspace, get_evaluation(workspace, evaluation_id))
    except StudioError as error:
        return {"kept": fault(error)}
    return {"kept": sentence("Saved with its evidence as the preset “{name}”.", name=saved.path.stem)}
