"""A search as a job: its rounds are evaluations, worked through by one process that outlives the page. No torch.

The evaluation of the round that is at work is what one watches, stops and resumes; `newest_round` leads from any round to it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from core.studio.evaluating.folder import Evaluation, evaluations_of
from core.studio.evaluating.job import start
from core.studio.evaluating.search import Search, first_round, read_search, rounds_of, searches_of
from core.studio.workspace import Workspace

STAMP = 4
"""Parts that a round's evaluation adds to the search's id: its number, and the date, time and sign of every evaluation."""


@dataclass(frozen=True)
class Standing:
    """Where a search is.

    Args:
        id: what `read_search` takes.
        round, rounds: of the evaluation that was asked about, from 1; the last one confirms.
        newest: id of the newest round's evaluation.
        ended: whether the search has its result.
    """

    id: str
    round: int
    rounds: int
    newest: str
    ended: bool


def standing_of(workspace: Workspace, evaluation_id: str) -> Standing | None:
    """The search that an evaluation is a round of; None for one that is no search's.

    Raises:
        StudioError: the search is damaged.
    """
    search_id = "-".join(evaluation_id.split("-")[:-STAMP])
    if not search_id or not (searches_of(workspace) / f"{search_id}.json").is_file():
        return None
    state = read_search(workspace, search_id)
    if evaluation_id not in state["rounds"]:
        return None
    return Standing(
        search_id,
        state["rounds"].index(evaluation_id) + 1,
        len(rounds_of(Search.from_dict(state["search"]))),
        state["rounds"][-1],
        state["result"] is not None,
    )


def start_search(workspace: Workspace, search_id: str, *, cpu: bool = False) -> Evaluation:
    """Starts or resumes a search in a process of its own; the evaluation of the round that it is at.

    Raises:
        StudioError: there is no such search, or no process could be made.
    """
    state = read_search(workspace, search_id)
    evaluation = (
        Evaluation(evaluations_of(workspace) / state["rounds"][-1])
        if state["rounds"]
        else first_round(workspace, search_id)
    )
    worker = ["-m", "core.studio.evaluating.worker", str(evaluation.folder), "--search", search_id]
    return start(evaluation, command=[sys.executable, *worker, *(["--cpu"] if cpu else [])])


def resume(workspace: Workspace, evaluation: Evaluation, *, cpu: bool = False) -> Evaluation:
    """Goes on with an evaluation: with the whole search, where it is a round of one that has no result yet.

    Raises:
        StudioError: as `start`.
    """
    search = standing_of(workspace, evaluation.id)
    if search is None or search.ended:
        return start(evaluation, cpu=cpu)
    return start_search(workspace, search.id, cpu=cpu)
