"""Renderings that wait for the one at hand: added while it runs, put in another order, taken out again. One list a session."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr

from app.page import compare_actions
from app.page.html import fault
from app.page.text import sentence, word
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing.engine import Engine

MOST = 16
"""Renderings that wait in one list."""


@dataclass(frozen=True)
class Job:
    """A rendering as the form had it.

    Args:
        values: of the form; `betas`, `picture`: more columns and the input picture, as the tab has them.
        key: tells it from the others of its list.
    """

    values: Mapping[str, Any]
    betas: str = ""
    picture: Any = None
    key: int = 0

    @property
    def line(self) -> str:
        """What it is, in a line."""
        seeds = sentence("{count} pairs from seed {seed}", count=self.values["images"], seed=self.values["seed"])
        return f"{compare_actions.note_of({**self.values, 'model': self.values['base']})} · {seeds}"


@dataclass
class WaitingList:
    """What waits, in order. It takes jobs only while something is rendered, so that none is forgotten."""

    jobs: list[Job] = field(default_factory=list)
    busy: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _keys: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def begin(self) -> None:
        """A rendering has begun: jobs may be added."""
        with self._lock:
            self.busy = True

    def end(self) -> None:
        """Nobody will take what is left, such as when the page was closed."""
        with self._lock:
            self.busy, self.jobs = False, []

    def add(self, job: Job) -> None:
        """Puts a job at the end.

        Raises:
            StudioError: nothing is rendered, or the list is full.
        """
        with self._lock:
            if not self.busy:
                raise StudioError("Nothing is being rendered, so nothing has to wait.", "Press Render.")
            if len(self.jobs) >= MOST:
                raise StudioError("{most} renderings wait already.", "Remove one, or wait a little.", most=MOST)
            self.jobs.append(Job(job.values, job.betas, job.picture, next(self._keys)))

    def take(self) -> Job | None:
        """The next job; None, and no more may be added, where there is none."""
        with self._lock:
            self.busy = bool(self.jobs)
            return self.jobs.pop(0) if self.jobs else None

    def change(self, key: int, what: str) -> None:
        """Moves a job "up" or "down" by one place, or removes it; one that is being rendered already is left alone."""
        with self._lock:
            at = next((n for n, job in enumerate(self.jobs) if job.key == key), None)
            if at is None:
                return
            job = self.jobs.pop(at)
            if what in ("up", "down"):
                self.jobs.insert(max(0, at - 1) if what == "up" else at + 1, job)


class WaitingLists:
    """A list for each session."""

    def __init__(self) -> None:
        self._lists: dict[str, WaitingList] = {}

    def of(self, request: gr.Request) -> WaitingList:
        """The list of the session that asks."""
        return self._lists.setdefault(str(request.session_hash), WaitingList())


def listing(waiting: WaitingList) -> str:
    """The list with a row for each job and its three buttons; nothing where none waits."""
    buttons = "".join(
        f'<button type="button" data-do="{do}" aria-label="{escape(word(name))}" title="{escape(word(name))}">{sign}</button>'
        for do, sign, name in (("up", "↑", "Move up"), ("down", "↓", "Move down"), ("remove", "✕", "Remove"))
    )
    rows = "".join(f'<li data-key="{job.key}"><span>{escape(job.line)}</span>{buttons}</li>' for job in waiting.jobs)
    return f"<p>{escape(word('Rendered next'))}</p><ol>{rows}</ol>" if rows else ""


def shown(waiting: WaitingList) -> Changes:
    """The list as it is now."""
    return {"waiting": listing(waiting)}


def enqueue(waiting: WaitingList, job: Job) -> Changes:
    """Adds what the form says, checked now: a fault is reported at once, not when its turn comes."""
    try:
        compare_actions.comparison_from(job.values, job.betas, job.picture)
        waiting.add(job)
    except StudioError as error:
        return {"status": fault(error)}
    return shown(waiting)


def change(waiting: WaitingList, key: object, what: object) -> Changes:
    """Moves or removes a job, as its buttons ask."""
    if isinstance(key, int):
        waiting.change(key, str(what))
    return shown(waiting)


def render_all(
    engine: Engine,
    first: Job,
    mode: str,
    waiting: WaitingList,
    cancelled: Callable[[], bool],
    clear: Callable[[], None],
) -> Iterator[Changes]:
    """Renders a job, then those that wait. Stop ends the one at hand; the others go on.

    Args:
        mode: what becomes of the seed after the first one.
        clear: takes back a stop, before each.
    """
    job: Job | None = first
    waiting.begin()
    try:
        while job is not None:
            clear()
            changes: Changes = {}
            for changes in compare_actions.render(engine, job.values, job.betas, mode, job.picture, cancelled):
                yield changes
            mode = "fixed"  # the form has moved on
            job = waiting.take()
            yield {**changes, **shown(waiting)}  # whoever asks through the API reads the last answer alone
    finally:
        waiting.end()


ASK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) trigger('select', { index: +button.closest('[data-key]').dataset.key, value: button.dataset.do });
});
"""
"""Of the component that shows the list: which button of which row was pressed."""
