"""What several commands read from their arguments."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from core.errors import StudioError


def parse_pairs(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts as values: JSON where it is JSON, else text."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, mark, raw = pair.partition("=")
        if not mark:
            raise StudioError("“{pair}” is not of the form KEY=VALUE.", "For example: steps=200.", pair=pair[:60])
        try:
            values[key] = json.loads(raw)
        except ValueError:
            values[key] = {"True": True, "False": False}.get(raw, raw)
    return values


def add_rendering(command: argparse.ArgumentParser) -> None:
    """The prompt, `--preset` and `--set` of a command that renders."""
    command.add_argument("prompt", nargs="?", default=None)
    command.add_argument("--preset", metavar="FILE", type=Path, help="settings of a JSON file or a picture")
    command.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="any setting; see compare --settings"
    )


def rendering_values(options: argparse.Namespace, workspace: Any) -> dict[str, Any]:
    """The settings that a command is to render with: its base's own, then the preset's, then those written out.

    Raises:
        StudioError: an unknown or wrong setting, or a base that is not here.
    """
    from core.generation.settings import Settings, cut_texts
    from core.studio.library.choose import OPENING, find_base, start_values
    from core.studio.presets.proposal import propose_file

    values: dict[str, Any] = {} if options.preset else {"base": OPENING}
    if options.preset:
        proposal = propose_file(workspace, options.preset)
        values = proposal.wanted(with_held=True)
        for sentence in (*proposal.missing, *proposal.ignored):
            print(sentence, file=sys.stderr)
        for evidence in proposal.preset.evidence or []:
            print(f"{evidence.kind}: {evidence.text}", file=sys.stderr)
    values |= parse_pairs(options.set)
    if options.prompt is not None:
        values["prompt"] = options.prompt
    values, notes = cut_texts(values)
    for sentence in notes:
        print(sentence, file=sys.stderr)
    base = find_base(workspace, Settings.from_values(values).base)
    return Settings.from_values({**start_values(base), **values}).values()
