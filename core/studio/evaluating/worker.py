"""The process that does an evaluation: `python -m core.studio.evaluating.worker FOLDER [--search ID] [--cpu]`.

With `--search` it does what is left of that search, whose round the folder is. Under a launcher each process takes its own share of the chunks. SIGTERM and SIGINT stop it after the chunk it is at, as
the folder's request does; a second one ends it at once. What is done is kept in every case.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType

from core.errors import StudioError
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.search import run_search
from core.studio.evaluating.share import work_through
from core.studio.workspace import Workspace


def main(arguments: list[str] | None = None) -> int:
    """Works on the evaluation of the folder until it is done, stopped or failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--search", default="")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if signals:
            raise SystemExit(128 + number)
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    folder = options.folder.resolve()
    shard = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    workspace = Workspace(folder.parents[1])

    def asked_to_end() -> bool:
        return bool(signals)

    try:
        if options.search:
            events = run_search(workspace, options.search, cpu=options.cpu, cancelled=asked_to_end)
        else:
            events = work_through(workspace, Evaluation(folder), shard=shard, cpu=options.cpu, cancelled=asked_to_end)
        for _ in events:
            pass
    except StudioError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    with suppress(AttributeError, OSError):  # the page goes first on the CPU; not on Windows
        os.nice(5)
    sys.exit(main())
