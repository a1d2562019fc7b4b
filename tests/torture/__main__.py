"""`python launch.py torture kills|files|starts|parsers --seed N --count N`: the attacks of the tests, as many as one likes.

Ends with a line of tries, failures and seconds; exit code 1 where anything failed. Nothing outside a temporary folder is
touched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.torture.tally import Tally

COUNTS = {"kills": 100, "files": 100_000, "starts": 50, "parsers": 2000}


def _attack(what: str, options: argparse.Namespace) -> Callable[[Path], Tally]:
    if what == "kills":
        from tests.torture.kills import kills

        return lambda root: kills(root, count=options.count, seed=options.seed)
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
    parser.add_argument("--count", type=int, default=None, help=f"kills, tries, rounds, inputs a parser: {COUNTS}")
    parser.add_argument("--seconds", type=float, default=0.0, help="parsers: so long for each, instead of a count")
    parser.add_argument("--only", nargs="*", default=None, help="files, parsers: these alone")
    options = parser.parse_args(arguments)
    options.count = options.count or COUNTS[options.what]
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        tally = _attack(options.what, options)(Path(folder) / "root")
    for failure in tally.failures[:50]:
        print(failure, file=sys.stderr)
    print(tally.line())
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
