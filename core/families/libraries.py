"""The libraries that take seconds to import, imported by one thread at a time, and what they print kept to what matters."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
REMINDERS = ("requires torchvision", "Token indices sequence length", "part of your input was truncated")
_importing = threading.Lock()


def load_libraries() -> None:
    """Imports transformers, diffusers and peft, or waits for the thread that does.

    Transformers and diffusers put another object in their place while they are imported: a second thread that imports
    from them in that moment is left with the first, which is empty ("cannot import name 'AutoModel'").
    """
    with _importing:
        _imported()


@functools.cache
def _imported() -> None:
    import diffusers.utils.logging
    import peft  # noqa: F401
    import transformers.utils.logging

    # what they print while they load and encode is nothing a person can act on (bars, a word of torchvision, which nothing
    # here needs) or is reported by the studio itself (a prompt's end); their other warnings stay
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.get_logger()  # gives the library's root logger its handler
        for handler in logging.getLogger(library.__name__).handlers:
            handler.addFilter(lambda record: not any(words in record.getMessage() for words in REMINDERS))


def with_libraries(work: Callable[P, R]) -> Callable[P, R]:
    """The function, run when the libraries are there."""

    @functools.wraps(work)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> R:
        load_libraries()
        return work(*args, **kwargs)

    return loaded
