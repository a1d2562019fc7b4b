"""The search for a good (ω, α, β, split): successive halving over prompts, chosen on one part of them, confirmed on another.

Every candidate is rendered on a few prompts, the better half of them on twice as many new ones, and so on until one is left;
plain CFG at every ω has its own halving, so that the winner is compared with CFG at its best. Then winner
and best CFG are rendered with the controls on prompts that neither was chosen on. Each round is a separate evaluation,
journaled and resumable; which they are is kept in `searches/<id>.json`. No torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_json, write_json
from core.generation.axes import parse_axis
from core.studio.evaluating.estimate import pace_of
from core.studio.evaluating.events import EvaluationEvent
from core.studio.evaluating.folder import Evaluation, counted, create_evaluation, evaluations_of
from core.studio.evaluating.job import allow
from core.studio.evaluating.settings import NPO, EvaluationSettings, cfg_name, row_forwards
from core.studio.evaluating.share import work_through
from core.studio.workspace import Workspace, slug

AXES = ("omega", "alpha", "beta", "beta_split")
CANDIDATES = 64
"""At most."""
FEWEST = 40
"""Prompts at least: twenty of them confirm."""


@dataclass(frozen=True)
class Round:
    """One round of the search.

    Args:
        first, count: its prompts.
        candidates, plain: how many settings, and how many ω of plain CFG, take part.
        row_forwards: its cost.
    """

    first: int
    count: int
    candidates: int
    plain: int
    row_forwards: int


@dataclass(frozen=True)
class Search:
    """A search as a person sets it up.

    Args:
        settings: what is rendered and scored: base, offsets, prompts, count, scorers, steps, seed; half of the prompts
            confirm. Its own guidance is the first candidate.
        omega, alpha, beta, beta_split: the values tried, written "1,2,4" or "0:2:0.5"; empty for the setting's own alone.
    """

    settings: EvaluationSettings
    omega: str = ""
    alpha: str = ""
    beta: str = ""
    beta_split: str = ""

    def candidates(self) -> list[dict[str, float]]:
        """Every combination, the setting's own first.

        Raises:
            StudioError: values that a setting cannot have, or too many combinations.
        """
        own = {name: float(getattr(self.settings, name)) for name in AXES}
        values = [parse_axis(name, text)[1] if (text := getattr(self, name)) else (own[name],) for name in AXES]
        combined = [dict(zip(AXES, map(float, one), strict=True)) for one in itertools.product(*values)]
        every = [own, *(one for one in combined if one != own)]
        if len(every) > CANDIDATES:
            raise StudioError(
                "The search has {count} candidates, more than {most}.",
                "Try fewer values.",
                count=len(every),
                most=CANDIDATES,
            )
        for one in every:
            self.settings.with_changes(one)
        return every

    def plain(self) -> list[float]:
        """ω of the plain columns: those of the settings and of the candidates."""
        return sorted({*self.settings.cfg, *(one["omega"] for one in self.candidates())})

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {"settings": self.settings.to_dict(), **{name: getattr(self, name) for name in AXES}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Search:
        """What `to_dict` wrote.

        Raises:
            StudioError: as `EvaluationSettings.from_dict`.
        """
        texts = {name: str(values.get(name, "")) for name in AXES}
        return cls(EvaluationSettings.from_dict(values["settings"]), **texts)


def rounds_of(search: Search) -> list[Round]:
    """The rounds and, last, the confirmation, with their cost, before anything is rendered.

    Raises:
        StudioError: too few prompts for a search.
    """
    settings, candidates, plain = search.settings, search.candidates(), search.plain()
    if settings.count < FEWEST:
        raise StudioError(
            "{count} prompts are too few for a search.", "Use at least {fewest}.", count=settings.count, fewest=FEWEST
        )
    halvings = max(1, math.ceil(math.log2(max(len(candidates), len(plain), 2))))
    choosing = settings.count // 2
    unit = max(1, choosing // (2**halvings - 1))
    rounds, first = [], settings.first
    for number in range(halvings):
        last = number == halvings - 1
        count = settings.first + choosing - first if last else min(unit * 2**number, settings.first + choosing - first)
        if count < 1:
            break
        tried = candidates[: _left(len(candidates), number)]
        beside = plain[-_left(len(plain), number) :]
        cost = row_forwards(_round_settings(search, tried, beside, first, count))
        rounds.append(Round(first, count, len(tried), len(beside), cost))
        first += count
    confirming = _confirming(search, candidates[0], plain[-1])
    rounds.append(Round(confirming.first, confirming.count, 1, 1, row_forwards(confirming)))
    return rounds


def _left(count: int, halvings: int) -> int:
    for _ in range(halvings):
        count = -(-count // 2)
    return count


def _round_settings(
    search: Search, candidates: Sequence[Mapping[str, float]], plain: Sequence[float], first: int, count: int
) -> EvaluationSettings:
    """One round as an evaluation: the first candidate is its setting, the others are its columns."""
    guidance: dict[str, Any] = dict(candidates[0])
    others = tuple({"name": _name(one), **one} for one in candidates[1:])
    return dataclasses.replace(
        search.settings,
        **guidance,
        columns=others,
        sweep_x="",
        sweep_y="",
        cfg=tuple(plain),
        first=first,
        count=count,
        seed=search.settings.seed + (first - search.settings.first) * search.settings.seeds,
        choosing=0.0,
        controls=False,
        effective=False,
        probe=0,
        keep=0,
    )


def _confirming(search: Search, winner: Mapping[str, float], omega: float) -> EvaluationSettings:
    """The last evaluation: the winner beside the best CFG, on prompts that neither was chosen on."""
    settings = search.settings
    done = settings.count // 2
    guidance: dict[str, Any] = dict(winner)
    return dataclasses.replace(
        settings,
        **guidance,
        columns=(),
        sweep_x="",
        sweep_y="",
        cfg=(omega,),
        first=settings.first + done,
        count=settings.count - done,
        seed=settings.seed + done * settings.seeds,
        choosing=0.0,
    )


def _name(one: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {one[name]:g}" for name in AXES)


def searches_of(workspace: Workspace) -> Path:
    """Where the workspace keeps its searches."""
    return workspace.root / "searches"


def _path(workspace: Workspace, search_id: str) -> Path:
    return searches_of(workspace) / f"{slug(search_id)}.json"


def create_search(workspace: Workspace, search: Search, name: str = "") -> str:
    """A new search; its id. Nothing is rendered yet.

    Raises:
        StudioError: as `rounds_of`, or prompts that cannot be read.
    """
    search = dataclasses.replace(search, settings=counted(search.settings))
    rounds_of(search)
    search_id = slug(f"{name or 'search'}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
    write_json(_path(workspace, search_id), {"search": search.to_dict(), "rounds": [], "result": None})
    return search_id


def read_search(workspace: Workspace, search_id: str) -> dict[str, Any]:
    """What is known of a search: its settings, its rounds so far, its result.

    Raises:
        StudioError: there is none, or it is damaged.
    """
    path = _path(workspace, search_id)
    if not path.is_file():
        raise StudioError("There is no search “{name}”.", "Start it anew.", name=search_id[:60])
    return read_json(path, dict)


def run_search(
    workspace: Workspace,
    search_id: str,
    *,
    cpu: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[EvaluationEvent]:
    """Does what is left of a search, round by round; the events of each round's evaluation.

    The result is in `read_search` afterwards: the winner, the best ω of plain CFG, the id of the evaluation that confirms,
    row-forwards and seconds.

    Raises:
        StudioError: as `run_evaluation`; what is done stays, and running it again continues.
    """
    state = read_search(workspace, search_id)
    search = Search.from_dict(state["search"])
    planned = rounds_of(search)
    candidates, plain = search.candidates(), search.plain()
    sums: dict[Any, float] = {}
    for number, one in enumerate(planned[:-1]):
        settings = _round_settings(search, candidates, plain, one.first, one.count)
        evaluation = _evaluation(workspace, search_id, state, number, settings)
        yield from _worked(workspace, evaluation, cpu, cancelled)
        if evaluation.done() < evaluation.chunks:
            return
        _add(evaluation, candidates, plain, sums)
        candidates = sorted(candidates, key=lambda c: -sums[_name(c)])[: _left(len(candidates), 1)]
        plain = sorted(plain, key=lambda omega: -sums[omega])[: _left(len(plain), 1)]
    confirming = _evaluation(
        workspace, search_id, state, len(planned) - 1, _confirming(search, candidates[0], plain[0])
    )
    yield from _worked(workspace, confirming, cpu, cancelled)
    if confirming.done() >= confirming.chunks:
        state["result"] = _result(workspace, state, candidates[0], plain[0], confirming)
        write_json(_path(workspace, search_id), state)


def first_round(workspace: Workspace, search_id: str) -> Evaluation:
    """The evaluation of the first round, made where it is not there yet; nothing is rendered.

    Raises:
        StudioError: as `read_search`, or the disk refuses.
    """
    state = read_search(workspace, search_id)
    search = Search.from_dict(state["search"])
    one = rounds_of(search)[0]
    settings = _round_settings(search, search.candidates(), search.plain(), one.first, one.count)
    return _evaluation(workspace, search_id, state, 0, settings)


def _evaluation(
    workspace: Workspace, search_id: str, state: dict[str, Any], number: int, settings: EvaluationSettings
) -> Evaluation:
    """The evaluation of a round, made where it is not there yet."""
    if number < len(state["rounds"]):
        return Evaluation(evaluations_of(workspace) / state["rounds"][number])
    evaluation = create_evaluation(workspace, settings, f"{search_id}-{number + 1}")
    state["rounds"].append(evaluation.id)
    write_json(_path(workspace, search_id), state)
    return evaluation


def _worked(
    workspace: Workspace, evaluation: Evaluation, cpu: bool, cancelled: Callable[[], bool]
) -> Iterator[EvaluationEvent]:
    if evaluation.done() < evaluation.chunks or not (evaluation.folder / "report.json").is_file():
        allow(evaluation)
        yield from work_through(workspace, evaluation, cpu=cpu, cancelled=cancelled)


def _add(
    evaluation: Evaluation, candidates: Sequence[Mapping[str, float]], plain: Sequence[float], sums: dict[Any, float]
) -> None:
    """Adds the scores of a round, by the scorer that decides, to what each setting has so far."""
    decisive = evaluation.settings.scorers[0]
    names: dict[Any, str] = {_name(one): NPO if one is candidates[0] else _name(one) for one in candidates}
    names |= {omega: cfg_name(omega) for omega in plain}
    for number in range(evaluation.chunks):
        chunk = evaluation.chunk(number)
        if chunk is None or decisive in chunk["failed"]:
            raise StudioError(
                "The scorer {name} failed in a round of the search.", "Run the search again.", name=decisive
            )
        for key, column in names.items():
            sums[key] = sums.get(key, 0.0) + math.fsum(chunk["columns"][column][decisive])


def _result(
    workspace: Workspace, state: Mapping[str, Any], winner: Mapping[str, float], omega: float, confirming: Evaluation
) -> dict[str, Any]:
    rounds = [Evaluation(evaluations_of(workspace) / name) for name in state["rounds"]]
    report = read_json(confirming.folder / "report.json", dict, limit=2**26)
    seconds = [(pace_of(one) or 0.0) * row_forwards(one.settings) for one in rounds]
    return {
        "winner": dict(winner),
        "best_cfg": omega,
        "confirmed_by": confirming.id,
        "verdict": report["verdict"]["sentence"],
        "row_forwards": sum(row_forwards(one.settings) for one in rounds),
        "seconds": round(sum(seconds), 1),
    }
