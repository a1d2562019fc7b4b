"""How the page's events run, and how an action, a plain function of plain values, is joined to components by their names."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page.fields import Fields

QUEUED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Takes its time (a download, a conversion, hashes of many files): waits in the queue, behind others of its kind."""

QUICK: dict[str, Any] = {**QUEUED, "queue": False}
"""Answers at once: never behind a rendering, a download or another visitor, and about a tenth of a second sooner."""

RENDERING: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_id": "gpu",
    "concurrency_limit": 8,
    "trigger_mode": "once",
}
"""Renders: the engine does one at a time and tells the others that they wait; only beyond these is the queue silent."""

Changes = dict[str, Any]
"""What an action changes: name of a component to its new value, or to `gr.update(...)`. All others stay as they are."""


@dataclass(frozen=True)
class Opening:
    """What a tab does whenever it is shown."""

    action: Callable[..., Any]
    inputs: Sequence[str]
    changes: Sequence[str]


@dataclass(frozen=True)
class Tab:
    """A tab as the rest of the page sees it: its components by name, and what it does whenever it is shown."""

    parts: dict[str, Any]
    opening: Opening | None = None

    def on(
        self,
        triggers: Any,
        action: Callable[..., Any] | None,
        inputs: Sequence[str] = (),
        changes: Sequence[str] = (),
        **how: Any,
    ) -> Any:
        """Joins an action to events.

        Args:
            triggers: an event of a component, such as `parts["go"].click`, or a list of them.
            action: gets the values of `inputs` in order and returns, or yields, its `Changes`.
            inputs, changes: names of components.
            how: `QUICK`, `QUEUED` or `RENDERING`, and other keywords of a Gradio event.
        """
        return gr.on(
            triggers if isinstance(triggers, list) else [triggers],
            None if action is None else by_component(self.parts, action),
            [self.parts[name] for name in inputs],
            [self.parts[name] for name in changes],
            **how,
        )


@dataclass(frozen=True, kw_only=True)
class CompareTab(Tab):
    """Compare, whose form Grid and Presets read and fill."""

    fields: Fields


def by_component(parts: Mapping[str, Any], action: Callable[..., Any]) -> Callable[..., Any]:
    """The action with components instead of names in what it returns, as Gradio takes it."""

    def placed(changes: Changes | None) -> Any:
        # Gradio takes an empty dictionary for a value
        return {parts[name]: value for name, value in changes.items()} if changes else gr.skip()

    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def generator(*values: Any) -> Iterator[Any]:
            for changes in action(*values):
                yield placed(changes)

        return generator

    @functools.wraps(action)
    def function(*values: Any) -> Any:
        return placed(action(*values))

    return function


class Stops:
    """A stop flag for each session."""

    def __init__(self) -> None:
        self._flags: dict[str, threading.Event] = {}

    def of(self, request: gr.Request) -> threading.Event:
        """The flag of the session that asks."""
        return self._flags.setdefault(str(request.session_hash), threading.Event())

    def halt(self, request: gr.Request) -> None:
        """Asks what this session renders to stop."""
        self.of(request).set()
