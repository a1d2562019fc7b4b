"""The database of a study: what each voter is shown, in which order and on which side, and what they answered.

SQLite in WAL mode: several voters write at once, in several processes, and a vote that was acknowledged survives a crash.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from core.errors import Damaged, DiskFull, StudioError

ANSWERS = ("left", "draw", "right")
MOST_VOTERS = 10_000
_CHANCE = secrets.SystemRandom()

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, prompt TEXT NOT NULL, source TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (item INTEGER NOT NULL, "column" TEXT NOT NULL, file TEXT NOT NULL UNIQUE,
    PRIMARY KEY (item, "column"));
CREATE TABLE IF NOT EXISTS voters (id TEXT PRIMARY KEY, began REAL NOT NULL);
CREATE TABLE IF NOT EXISTS showings (ticket TEXT PRIMARY KEY, voter TEXT NOT NULL, position INTEGER NOT NULL,
    item INTEGER NOT NULL, "left" TEXT NOT NULL, "right" TEXT NOT NULL,
    left_name TEXT NOT NULL UNIQUE, right_name TEXT NOT NULL UNIQUE, UNIQUE (voter, position));
CREATE TABLE IF NOT EXISTS votes (ticket TEXT NOT NULL, question TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('left', 'draw', 'right')), at REAL NOT NULL, PRIMARY KEY (ticket, question));
"""


@dataclass(frozen=True)
class Showing:
    """A pair as one voter sees it: `left_name` and `right_name` are random, and new for every voter."""

    ticket: str
    position: int
    item: int
    prompt: str
    left: str
    right: str
    left_name: str
    right_name: str


@dataclass(frozen=True)
class CastVote:
    """One answer, with all that is known of it; `at` in seconds since 1970."""

    ticket: str
    voter: str
    item: int
    prompt: str
    source: str
    left: str
    right: str
    question: str
    answer: str
    at: float


class Ballot:
    """The votes of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self, *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one step of work, which happens whole or not at all.

        Raises:
            DiskFull: there is no room for a vote; those before it are kept.
            Damaged: the file is not the database of a study.
            StudioError: it is busy for more than 20 seconds, or cannot be opened.
        """
        connection: sqlite3.Connection | None = None
        try:
            if not writes and not self.path.is_file():
                raise StudioError("“{name}” does not exist.", "Choose another.", name=self.path.name)
            connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _fault(self.path.name, error) from error
        finally:
            if connection is not None:
                connection.close()

    def fill(self, items: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        """Makes the database: for each item its prompt, its source, and the file of each column."""
        try:
            with sqlite3.connect(self.path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # stays with the file
                connection.executescript(_SCHEMA)
                for number, (prompt, source, files) in enumerate(items):
                    connection.execute("INSERT INTO items VALUES (?, ?, ?)", (number, prompt, source))
                    connection.executemany(
                        "INSERT INTO pictures VALUES (?, ?, ?)",
                        [(number, column, file) for column, file in files.items()],
                    )
            connection.close()
        except sqlite3.Error as error:
            raise _fault(self.path.name, error) from error

    def items(self) -> dict[int, str]:
        """Prompt of each item."""
        with self._open() as connection:
            return dict(connection.execute("SELECT id, prompt FROM items ORDER BY id"))

    def files(self) -> dict[tuple[int, str], str]:
        """File of each item under each column."""
        with self._open() as connection:
            rows = connection.execute('SELECT item, "column", file FROM pictures')
            return {(item, column): file for item, column, file in rows}

    def begin(self, columns: Sequence[str], pairs: int, shared: int) -> str:
        """A new voter, with the pairs that this voter will see in an order and on sides of their own; the voter's secret.

        The pairs are those that every voter sees, then those that were shown to the fewest so far.

        Args:
            pairs: how many; 0 for all.
            shared: how many of them every voter sees.

        Raises:
            StudioError: there are too many voters.
        """
        voter = secrets.token_urlsafe(16)
        with self._open(writes=True) as connection:
            if connection.execute("SELECT COUNT(*) FROM voters").fetchone()[0] >= MOST_VOTERS:
                raise StudioError("This study has all the voters it takes.", "Ask for another study.")
            chosen = self._plan(connection, columns, pairs, shared)
            connection.execute("INSERT INTO voters VALUES (?, ?)", (voter, time.time()))
            for position, (item, *sides) in enumerate(chosen):
                _CHANCE.shuffle(sides)
                names = [secrets.token_hex(16) for _ in sides]
                row = (secrets.token_hex(16), voter, position, item, *sides, *names)
                connection.execute("INSERT INTO showings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return voter

    @staticmethod
    def _plan(
        connection: sqlite3.Connection, columns: Sequence[str], pairs: int, shared: int
    ) -> list[tuple[int, str, str]]:
        items = [row[0] for row in connection.execute("SELECT id FROM items ORDER BY id")]
        # by item within a pair of columns: the first few are spread over all items and all pairs of columns
        pairings = list(combinations(columns, 2))
        every = [(item, *pairings[(item + turn) % len(pairings)]) for turn in range(len(pairings)) for item in items]
        if not pairs or pairs >= len(every):
            chosen = every
        else:
            shown: dict[tuple[int, frozenset[str]], int] = {}
            for item, left, right, count in connection.execute(
                'SELECT item, "left", "right", COUNT(*) FROM showings GROUP BY item, "left", "right"'
            ):
                key = (item, frozenset((left, right)))
                shown[key] = shown.get(key, 0) + count
            common, rest = every[: min(shared, pairs)], every[min(shared, pairs) :]
            _CHANCE.shuffle(rest)
            rest.sort(key=lambda one: shown.get((one[0], frozenset(one[1:])), 0))
            chosen = [*common, *rest[: pairs - len(common)]]
        _CHANCE.shuffle(chosen)
        return chosen

    def total(self, voter: str) -> int:
        """How many pairs the voter sees.

        Raises:
            StudioError: there is no such voter.
        """
        with self._open() as connection:
            if not connection.execute("SELECT 1 FROM voters WHERE id = ?", (voter,)).fetchone():
                raise StudioError("This study does not know you.", "Open its link again.")
            return int(connection.execute("SELECT COUNT(*) FROM showings WHERE voter = ?", (voter,)).fetchone()[0])

    def next_position(self, voter: str, questions: Sequence[str]) -> int | None:
        """The first pair of which the voter has not answered everything; None when all is answered."""
        marks = ", ".join("?" for _ in questions)
        with self._open() as connection:
            row = connection.execute(
                "SELECT MIN(position) FROM showings s WHERE voter = ? AND (SELECT COUNT(*) FROM votes v "
                f"WHERE v.ticket = s.ticket AND v.question IN ({marks})) < ?",
                (voter, *questions, len(questions)),
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def showing(self, voter: str, position: int) -> tuple[Showing, dict[str, str]] | None:
        """A pair of a voter and what was answered of it; None where there is none at that position."""
        with self._open() as connection:
            row = connection.execute(
                'SELECT ticket, position, item, prompt, "left", "right", left_name, right_name FROM showings '
                "JOIN items ON items.id = item WHERE voter = ? AND position = ?",
                (voter, position),
            ).fetchone()
            if row is None:
                return None
            answers = dict(connection.execute("SELECT question, answer FROM votes WHERE ticket = ?", (row[0],)))
        return Showing(*row), answers

    def file_of(self, name: str) -> str | None:
        """The file behind a random name that a voter was given; None for any other."""
        with self._open() as connection:
            row = connection.execute(
                'SELECT file FROM showings s JOIN pictures p ON p.item = s.item AND p."column" = '
                'CASE WHEN left_name = ?1 THEN "left" ELSE "right" END WHERE left_name = ?1 OR right_name = ?1',
                (name,),
            ).fetchone()
        return None if row is None else str(row[0])

    def answer(self, voter: str, ticket: str, question: str, answer: str) -> None:
        """Keeps an answer; a later one to the same question takes its place.

        Raises:
            StudioError: the ticket is not this voter's, or the answer is none of `ANSWERS`.
        """
        with self._open(writes=True) as connection:
            owned = connection.execute("SELECT 1 FROM showings WHERE ticket = ? AND voter = ?", (ticket, voter))
            if answer not in ANSWERS or not owned.fetchone():
                raise StudioError("That is not an answer to this study.", "Open its link again.")
            row = (ticket, question, answer, time.time())
            connection.execute("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?)", row)

    def votes(self, voter: str = "") -> list[CastVote]:
        """All votes in the order of their showings, or those of one voter."""
        with self._open() as connection:
            rows = connection.execute(
                'SELECT s.ticket, s.voter, item, prompt, source, "left", "right", question, answer, at FROM votes v '
                "JOIN showings s ON s.ticket = v.ticket JOIN items i ON i.id = s.item "
                "WHERE ?1 = '' OR s.voter = ?1 ORDER BY s.voter, position, question",
                (voter,),
            ).fetchall()
        return [CastVote(*row) for row in rows]

    def counts(self) -> tuple[int, int]:
        """How many voters have answered something, and how many answers there are."""
        with self._open() as connection:
            row = connection.execute(
                "SELECT COUNT(DISTINCT voter), COUNT(*) FROM votes v JOIN showings s ON s.ticket = v.ticket"
            ).fetchone()
        return int(row[0]), int(row[1])

    def add(self, votes: Sequence[CastVote]) -> int:
        """Takes over votes that were cast elsewhere on a copy of this study; how many were new.

        A vote that is here already, by its ticket and question, stays as it is.

        Raises:
            StudioError: a vote on an item or a column that this study does not have; nothing is taken over then.
        """
        new = 0
        with self._open(writes=True) as connection:
            known = set(connection.execute('SELECT item, "column" FROM pictures'))
            for number, vote in enumerate(votes, 1):
                if {(vote.item, vote.left), (vote.item, vote.right)} - known or vote.left == vote.right:
                    raise StudioError(
                        "Vote {number} is about a pair that this study does not have.",
                        "Import votes of a copy of the same study.",
                        number=number,
                    )
                connection.execute("INSERT OR IGNORE INTO voters VALUES (?, ?)", (vote.voter, vote.at))
                if not connection.execute("SELECT 1 FROM showings WHERE ticket = ?", (vote.ticket,)).fetchone():
                    last = "SELECT COALESCE(MAX(position) + 1, 0) FROM showings WHERE voter = ?"
                    position = connection.execute(last, (vote.voter,)).fetchone()[0]
                    names = (secrets.token_hex(16), secrets.token_hex(16))
                    row = (vote.ticket, vote.voter, position, vote.item, vote.left, vote.right, *names)
                    connection.execute("INSERT INTO showings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                cast = (vote.ticket, vote.question, vote.answer, vote.at)
                new += connection.execute("INSERT OR IGNORE INTO votes VALUES (?, ?, ?, ?)", cast).rowcount
        return new


def _fault(name: str, error: sqlite3.Error) -> StudioError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFull("“{name}” could not be written: the disk is full.", "Free disk space.", name=name)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StudioError("The votes are being written by another program.", "Try again in a moment.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or isinstance(error, sqlite3.IntegrityError):
        return Damaged(
            "The votes in “{name}” are damaged.", "Import them from a CSV file into a copy of the study.", name=name
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StudioError("“{name}” could not be written: its folder is read-only.", "Allow writing there.", name=name)
    return StudioError("“{name}” could not be written: the disk reports a fault.", "Check the disk.", name=name)
