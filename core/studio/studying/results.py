"""What a study has shown so far: rates by question and pair of columns, agreement, strengths; and the votes as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from itertools import combinations
from typing import Any

from core.errors import StudioError
from core.studio.pairs import Preference
from core.studio.studying.ballot import ANSWERS, CastVote
from core.studio.studying.study import QUESTIONS, Study

FEWEST = 20
"""Pairs below which a result supports no claim: intervals of fewer are too narrow."""


def results_of(study: Study, *, draws: int = 2000) -> dict[str, Any]:
    """The figures of a study as JSON values.

    Args:
        draws: of each bootstrap.

    Returns:
        `voters`, `votes`, `items`; for each question in `questions` its `pairs` of columns (how often `first` was better,
        how often neither, how often `second`; `rate` of `first` with its interval, a draw as one half; `clear` where the
        interval excludes one half over at least 20 prompts), `agreement`, and `strengths` where there are more than two columns.

    Raises:
        StudioError: the study cannot be read.
    """
    settings, votes = study.settings, study.ballot.votes()
    return {
        "id": study.id,
        "title": settings.title,
        "columns": list(settings.columns),
        "open": settings.open,
        "items": len(study.ballot.items()),
        "voters": len({vote.voter for vote in votes}),
        "votes": len(votes),
        "questions": {
            name: _question(settings.columns, [vote for vote in votes if vote.question == name], draws)
            for name in settings.questions
        },
    }


def _question(columns: tuple[str, ...], cast: list[CastVote], draws: int) -> dict[str, Any]:
    from core.evaluation.votes import agreement, rate, strengths

    votes = [_as_vote(columns, vote) for vote in cast]
    pairs = []
    for first, second in combinations(columns, 2):
        own = [vote for vote in votes if (vote.first, vote.second) == (first, second)]
        if not own:
            continue
        interval = rate(own, draws=draws)
        items = len({vote.item for vote in own})
        pairs.append(
            {
                "first": first,
                "second": second,
                "better": sum(vote.score == 1 for vote in own),
                "draw": sum(vote.score == 0.5 for vote in own),
                "worse": sum(vote.score == 0 for vote in own),
                "items": items,
                "rate": asdict(interval),
                "clear": items >= FEWEST and not interval.low <= 0.5 <= interval.high,
            }
        )
    agreed = agreement(votes)
    figures: dict[str, Any] = {
        "pairs": pairs,
        "agreement": None if agreed is None else {"alpha": agreed[0], "equal": agreed[1], "pairs": agreed[2]},
    }
    if len(columns) > 2 and votes:
        figures["strengths"] = {column: asdict(one) for column, one in strengths(votes, columns).items()}
    return figures


def _as_vote(columns: tuple[str, ...], cast: CastVote) -> Any:
    from core.evaluation.votes import Vote

    first, second = sorted((cast.left, cast.right), key=columns.index)
    better = {"left": cast.left, "right": cast.right}.get(cast.answer)
    score = 0.5 if better is None else float(better == first)
    return Vote(cast.voter, str(cast.item), first, second, score)


def revealed(study: Study, voter: str) -> dict[str, Any]:
    """What one voter preferred, with the names of the columns: shown when all is answered, if the study reveals it.

    Raises:
        StudioError: the voter has not finished, or the study keeps it to itself.
    """
    settings, ballot = study.settings, study.ballot
    total = ballot.total(voter)
    if ballot.next_position(voter, settings.questions) is not None:
        raise StudioError("Some pairs are not answered yet.", "Answer all of them first.")
    if not settings.reveal:
        raise StudioError("This study does not tell which pictures were which.", "Ask who made it.")
    decisive = settings.questions[-1]
    preferred = dict.fromkeys(settings.columns, 0)
    draws, pairs = 0, []
    for position in range(total):
        row = ballot.showing(voter, position)
        if row is None:
            continue
        shown, answers = row
        answer = answers[decisive]
        draws += answer == "draw"
        if answer != "draw":
            preferred[shown.left if answer == "left" else shown.right] += 1
        names = {"left": shown.left, "right": shown.right, "left_name": shown.left_name, "right_name": shown.right_name}
        pairs.append({**names, "answer": answer})
    return {"question": decisive, "preferred": preferred, "draws": draws, "pairs": pairs}


FIELDS = ("ticket", "voter", "item", "prompt", "source", "left", "right", "question", "answer", "at")


def to_csv(study: Study) -> str:
    """All votes, one a line; a text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for vote in study.ballot.votes():
        row = asdict(vote)
        writer.writerow([_plain(row[name]) for name in FIELDS])
    return out.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "'") else value


def _unquoted(text: str) -> str:
    return text[1:] if text[:1] == "'" else text


def from_csv(study: Study, text: str) -> int:
    """Takes over the votes of a CSV file that `to_csv` wrote from a copy of the study; how many were new.

    Raises:
        StudioError: another header, a row that cannot be read (named by line), or a pair that the study does not have.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        if missing := [name for name in FIELDS if name not in (reader.fieldnames or [])]:
            raise StudioError(
                "The file has no column “{missing}”; it has {present}.",
                "Choose a file that the study exported.",
                missing=missing[0],
                present=", ".join(map(str, reader.fieldnames or []))[:200],
            )
        votes = [_read(row, reader.line_num) for row in reader]
    except csv.Error as error:
        raise _bad_row(reader.line_num) from error
    return study.ballot.add(votes)


def _bad_row(line: int) -> StudioError:
    return StudioError("Line {line} of the file is not a vote.", "Correct it, or export the votes again.", line=line)


def _read(row: dict[str, str | None], line: int) -> CastVote:
    values = {name: _unquoted(row.get(name) or "") for name in FIELDS}
    try:
        item, at = int(values["item"]), float(values["at"])
    except ValueError as error:
        raise _bad_row(line) from error
    texts = {name: values[name] for name in FIELDS if name not in ("item", "at")}
    named = all(0 < len(values[name]) <= 200 for name in ("ticket", "voter"))
    if not named or values["answer"] not in ANSWERS or values["question"] not in QUESTIONS or not 0 <= at < 1e11:
        raise _bad_row(line)
    return CastVote(item=item, at=at, **texts)


def preferences(study: Study) -> list[Preference]:
    """Pairs of pictures of which one was preferred over all by more voters than the other.

    Raises:
        StudioError: the study cannot be read.
    """
    settings, ballot = study.settings, study.ballot
    decisive, files, prompts = settings.questions[-1], ballot.files(), ballot.items()
    balance: dict[tuple[int, str, str], int] = {}
    for vote in ballot.votes():
        if vote.question != decisive or vote.answer == "draw":
            continue
        first, second = sorted((vote.left, vote.right), key=settings.columns.index)
        won = (vote.left if vote.answer == "left" else vote.right) == first
        key = (vote.item, first, second)
        balance[key] = balance.get(key, 0) + (1 if won else -1)
    pairs = []
    for (item, first, second), lead in balance.items():
        winner, loser = (first, second) if lead > 0 else (second, first)
        if lead:
            paths = [study.picture(files[item, column]) for column in (winner, loser)]
            pairs.append(Preference(prompts[item], *paths))
    return pairs
