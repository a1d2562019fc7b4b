"""The options --attention and --compile; what they do is `core.studio.attention`."""

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


def add_compile(parser: argparse.ArgumentParser) -> None:
    """`--compile` of a command that renders."""
    parser.add_argument(
        "--compile",
        dest="compiled",
        action="store_true",
        help="compile the model's repeated blocks (torch.compile): the first picture of a size takes longer, the next less",
    )
