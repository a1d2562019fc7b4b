"""The option --attention; what it does is `core.studio.attention`."""

from __future__ import annotations

import argparse


def add_attention(parser: argparse.ArgumentParser) -> None:
    """`--attention` of a command that renders or trains."""
    parser.add_argument(
        "--attention",
        dest="attention_by",
        metavar="NAME",
        help="what computes attention: auto (sdpa), sdpa, xformers or plain; `doctor` says what this machine has",
    )
