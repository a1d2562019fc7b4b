"""The one error a person can see, and the sentences that errors and events are made of. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Sentence(str):
    """A sentence for a person that knows what it was made of, so that it can be translated.

    It is an ordinary string. `template` is the English with {name} for what is filled in, as `str.format` reads it, and
    `values` are what was filled in: figures, text that came from outside, or sentences of their own. Without values the
    template is the text as it is, braces included.
    """

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, /, **values: object) -> Sentence:
        if isinstance(template, Sentence) and not values:
            return template
        return cls.restored(template.format(**values) if values else template, template, values)

    @classmethod
    def restored(cls, text: str, template: str, values: Mapping[str, object]) -> Sentence:
        """A sentence whose text is known already: nothing is formatted, so the template may come from a file."""
        made = super().__new__(cls, text)
        made.template, made.values = str(template), dict(values)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Sentence.restored, (str.__str__(self), self.template, self.values)


class StudioError(Exception):
    """Something a person must know, with what they can do about it.

    Args:
        message: what is wrong and where, without absolute paths and without secrets.
        remedy: how to correct it, as a sentence; may be empty when the message says it all.
        values: what is filled into both, as in `StudioError("There is no run “{id}”.", "See `runs`.", id=name)`.
            Message and remedy are then templates of `str.format`; without values they are used as they are.
    """

    def __init__(self, message: str, remedy: str = "", /, **values: object) -> None:
        self.message = Sentence(message, **values)
        self.remedy = Sentence(remedy, **values)
        super().__init__(self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Damaged(StudioError):
    """A file that could be read does not hold what it should; a fault of the disk is never this."""


class DiskFull(StudioError):
    """The disk has no room; what was there before is unchanged, and a training pauses instead of failing."""
