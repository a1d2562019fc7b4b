"""The one error a person can see. Standard library only."""

from __future__ import annotations


class StudioError(Exception):
    """Something a person must know, with what they can do about it.

    Args:
        message: what is wrong and where, without absolute paths and without secrets.
        remedy: how to mend it, as a sentence; may be empty when the message says it all.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()
