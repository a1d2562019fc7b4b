"""The options --attention, --compile and --save-memory; what they do is `core.studio.attention`."""

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


def add_saving(parser: argparse.ArgumentParser) -> None:
    """`--save-memory` of a command that renders."""
    parser.add_argument(
        "--save-memory",
        dest="saved_by",
        metavar="NAME,NAME",
        help="render with less memory: group-offload, layerwise-casting, int8 (needs torchao), vae-tiling",
    )
