"""The option --attention: what computes attention in this program and in the processes that it starts."""

from __future__ import annotations

import argparse
import os


def add_attention(parser: argparse.ArgumentParser) -> None:
    """`--attention` of a command that renders or trains."""
    parser.add_argument(
        "--attention",
        dest="attention_by",
        metavar="NAME",
        help="what computes attention: auto (sdpa), sdpa, xformers or plain; `doctor` says what this machine has",
    )


def choose_attention(name: str | None) -> None:
    """Lets this program, and the trainings and evaluations that it starts, compute attention in that way.

    Raises:
        StudioError: there is no such way, or it is missing on this machine.
    """
    if name is None:
        return
    from core.families.attention import VARIABLE, check

    check(name)
    os.environ[VARIABLE] = name
