"""`python launch.py torture kills|files|starts|parsers|http|sessions|soak --seed N --count N`: the attacks of the tests, as many as one likes.

Ends with a line of tries, failures and seconds; exit code 1 where anything failed. Ctrl-C ends it with what it has come to. Nothing outside a temporary folder is
touched.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.torture.tally import Tally

COUNTS = {
    "kills": 100,
    "files": 100_000,
    "starts": 50,
    "parsers": 2000,
    "http": 500,
    "sessions": 200,
    "soak": 2000,
}


def _attack(what: str, options: argparse.Namespace) -> Callable[[Path], Tally]:
    if what == "kills":
        from tests.torture.kills import kills

        return lambda root: kills(root, count=options.count, seed=options.seed, only=options.only)
    if what == "http":
        from tests.torture.requests_corpus import attack_http

        return lambda root: attack_http(root, count=options.count, seed=options.seed)
    if what == "sessions":
        from tests.torture.sessions import attack_sessions

        return lambda root: attack_sessions(root, count=options.count, seed=options.seed)
    if what == "soak":
        from tests.torture.soak import soak

        return lambda root: soak(root, count=options.count, seed=options.seed)
    if what == "files":
        from tests.torture.files import fail_every_operation

        return lambda root: fail_every_operation(root, targets=options.only, count=options.count, seed=options.seed)
    if what == "starts":
        from tests.torture.starts import race

        return lambda root: race(root, rounds=options.count, seed=options.seed)
    from tests.torture.parsers import fuzz

    return lambda root: fuzz(
        root, parsers=options.only, count=options.count, seconds=options.seconds, seed=options.seed
    )


def main(arguments: list[str]) -> int:
    """Attacks, and tells what came of it."""
    parser = argparse.ArgumentParser(prog="launch.py torture", description=__doc__)
    parser.add_argument("what", choices=sorted(COUNTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--count", type=int, default=None, help=f"kills, tries, rounds, requests, inputs a parser: {COUNTS}"
    )
    parser.add_argument("--seconds", type=float, default=0.0, help="parsers: so long for each, instead of a count")
    parser.add_argument(
        "--only", nargs="*", default=None, help="files, parsers, kills (lora, full, server): these alone"
    )
    options = parser.parse_args(arguments)
    options.count = options.count or COUNTS[options.what]
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            tally = _attack(options.what, options)(Path(folder) / "root")
        except KeyboardInterrupt:
            if Tally.newest is None:
                raise
            tally = Tally.newest
            # the interrupt itself may look like a fault of what was being read: safetensors turns it into a ValueError
            tally.facts.append("interrupted: the last failure may be of that")
    for failure in tally.failures[:50]:
        print(failure, file=sys.stderr)
    print(tally.line())
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
