"""An evaluation as the page shows it while it runs: where it stands, and its figures with intervals that shrink."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.page.html import duration, facts, fault, progress
from app.page.text import sentence, translate, word
from core.errors import StudioError
from core.studio.evaluating.live import LiveRow
from core.studio.evaluating.search_job import Standing
from core.studio.evaluating.settings import NPO
from core.studio.evaluating.state import EvaluationState


def standing(state: EvaluationState) -> str:
    """Its status in the page's language."""
    return sentence(state.status)


def status_line(state: EvaluationState, search: Standing | None = None) -> str:
    """State of the evaluation: progress, time left, verdict; or what went wrong."""
    text = sentence(
        "{run}: {status}, {pairs} of {planned} pairs",
        run=state.id,
        status=standing(state),
        pairs=state.pairs,
        planned=state.planned,
    )
    if search is not None:
        confirming = search.round == search.rounds
        round_line = (
            sentence("The search confirms its winner on other prompts.")
            if confirming
            else sentence("Round {round} of {rounds} of a search.", round=search.round, rounds=search.rounds)
        )
        text = f"{round_line} {text}"
    parts = [progress(text, state.done / max(1, state.total))]
    if state.seconds_left is not None:
        parts.append(facts([(sentence("left"), duration(state.seconds_left))]))
    elif state.status == "running" and not state.done:
        parts.append(facts([(sentence("now"), sentence("loading, and measuring guidance step by step"))]))
    if state.message:
        parts.append(fault(StudioError(state.message, state.remedy)))
    if state.verdict:
        word_first, dash, rest = state.verdict.partition(" – ")
        parts.append(f'<p class="verdict"><b>{escape(translate(word_first))}</b>{escape(dash + rest)}</p>')
    return "".join(parts)


def figure(rows: Sequence[LiveRow]) -> str:
    """One scorer's columns: the mean, and NPO minus it as a bar that shrinks while pairs come in."""
    if not rows:
        return ""
    reach = max([abs(x) for row in rows for x in (row.low, row.high) if x is not None] or [0.0]) or 1.0
    own = next((row for row in rows if row.column == NPO), None)
    head = "".join(
        f'<th scope="col">{escape(word(name))}</th>'
        for name in ("column", "mean", "NPO minus it, with its 95 % interval", "NPO wins")
    )
    body = "".join(_row(row, reach) for row in rows)
    count = sentence("{pairs} pairs; the same prompts and seeds in every column.", pairs=own.pairs if own else 0)
    return (
        f'<div class="forest"><table><caption>{escape(count)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: LiveRow, reach: float) -> str:
    name = escape(translate(row.column))
    if row.difference is None or row.low is None or row.high is None or row.wins is None:
        return f'<tr class="own"><th scope="row">{name}</th><td>{row.mean:.3f}</td><td></td><td></td></tr>'

    def across(value: float) -> float:
        return 100 + 96 * value / reach

    clear = "up" if row.low > 0 else "down" if row.high < 0 else "unclear"
    label = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
    bar = (
        f'<svg viewBox="0 0 200 16" class="{clear}" aria-hidden="true"><line class="zero" x1="100" x2="100" y1="0" y2="16"/>'
        f'<line class="span" x1="{across(row.low):.1f}" x2="{across(row.high):.1f}" y1="8" y2="8"/>'
        f'<circle cx="{across(row.difference):.1f}" cy="8" r="3.5"/></svg>'
    )
    return (
        f'<tr><th scope="row">{name}</th><td>{row.mean:.3f}</td><td>{bar}<span>{label}</span></td>'
        f"<td>{row.wins:.0%}</td></tr>"
    )
