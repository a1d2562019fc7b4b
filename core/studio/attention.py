"""What computes attention in this program and in the processes that it starts, and whether blocks are compiled. Heavy imports
happen inside."""

from __future__ import annotations

import os


def choose_attention(name: str | None) -> None:
    """Lets this program, and the trainings and evaluations that it starts, compute attention in that way.

    Args:
        name: of `core.families.attention.CHOICES`; None leaves what the environment says.

    Raises:
        StudioError: there is no such way, or it is missing on this machine.
    """
    if name is None:
        return
    from core.families.attention import VARIABLE, check

    check(name)
    os.environ[VARIABLE] = name


def choose_compiled(compiled: bool) -> None:
    """Lets this program, and the evaluations that it starts, render with compiled blocks; False leaves what the environment
    says."""
    if compiled:
        from core.families.compiling import VARIABLE

        os.environ[VARIABLE] = "1"


def choose_saving(names: str | None) -> None:
    """Lets this program, and the evaluations that it starts, render with less memory.

    Args:
        names: of `core.families.saving.WAYS`, joined by commas; None leaves what the environment says.

    Raises:
        StudioError: there is no such way.
    """
    if names is None:
        return
    from core.families.saving import VARIABLE, read_names

    read_names(names)
    os.environ[VARIABLE] = names
