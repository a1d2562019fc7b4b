"""A blind study is a folder: what is asked, the pictures without a trace of where they are from, and the votes.

    studies/<id>/study.json          title, columns, questions; written once, but for whether it is open
                 votes.sqlite        items, pictures, voters, what each was shown, and the votes (SQLite in WAL mode)
                 pictures/<32 random digits>.webp   re-encoded, without metadata

Such a folder can be copied to another machine, or into a Space, and voted on there.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from core.errors import Damaged, StudioError
from core.files import cannot_write, read_json, write_json
from core.studio.studying.ballot import Ballot
from core.studio.workspace import Workspace, slug

QUESTIONS = {
    "colour": "Colour and lighting",
    "detail": "Detail",
    "composition": "Composition",
    "alignment": "Match to the text",
    "overall": "Overall",
}
"""The four questions of the papers' user studies, and one for the whole; name to what a voter reads."""

MOST_COLUMNS, MOST_ITEMS = 8, 5_000


@dataclass(frozen=True)
class Item:
    """One prompt and seed, drawn under every column.

    Args:
        prompt: what the pictures were asked to show.
        pictures: column to file.
        source: where it is from, for the results: never shown to voters before they have finished.
    """

    prompt: str
    pictures: Mapping[str, Path]
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """What a study asks.

    Args:
        title: what voters read at the top; it must not give away what is compared.
        columns: names of the settings compared, 2 to 8.
        questions: names from `QUESTIONS`, in the order in which they are asked.
        pairs: how many pairs a voter sees; 0 for all.
        shared: how many of them are the same for every voter, so that their agreement can be measured.
        reveal: tell voters at the end which pictures were which.
        open: votes are taken.
        code: the secret part of the link that voters get.
        key: the secret with which the votes of a study in a Space are fetched.

    Raises:
        StudioError: a value outside its range.
    """

    title: str
    columns: tuple[str, ...]
    questions: tuple[str, ...] = tuple(QUESTIONS)
    pairs: int = 0
    shared: int = 10
    reveal: bool = False
    open: bool = True
    code: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if not 2 <= len(self.columns) <= MOST_COLUMNS or len(set(self.columns)) != len(self.columns):
            raise StudioError("A study compares 2 to {most} different columns.", "Choose them.", most=MOST_COLUMNS)
        unknown = [name for name in self.questions if name not in QUESTIONS]
        if unknown or not self.questions or len(set(self.questions)) != len(self.questions):
            raise StudioError(
                "A study asks each of its questions once: {names}.", "Choose among them.", names=", ".join(QUESTIONS)
            )
        for name, value in (("pairs", self.pairs), ("shared", self.shared)):
            if isinstance(value, bool) or not 0 <= value <= 100_000:
                raise StudioError("{name} is outside 0 to 100000.", "Choose a whole number in this range.", name=name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StudySettings:
        """The settings that JSON kept.

        Raises:
            Damaged: a value is missing or of another kind.
        """
        kinds = {"title": str, "columns": list, "questions": list, "pairs": int, "shared": int, "reveal": bool}
        kinds |= {"open": bool, "code": str, "key": str}
        lists = [item for name in ("columns", "questions") for item in values.get(name, [])]
        if any(not isinstance(values.get(name), kind) for name, kind in kinds.items()) or not all(
            isinstance(item, str) for item in lists
        ):
            raise Damaged("The settings of the study are damaged.", "Replace the folder by an undamaged copy.")
        made: dict[str, Any] = {
            name: tuple(values[name]) if kind is list else values[name] for name, kind in kinds.items()
        }
        return cls(**made)


class Study:
    """One study folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    @property
    def settings(self) -> StudySettings:
        """What it asks.

        Raises:
            StudioError: the folder is not a study, or its settings are damaged.
        """
        return StudySettings.from_dict(read_json(self.folder / "study.json", dict))

    @property
    def ballot(self) -> Ballot:
        """Its items, voters and votes."""
        return Ballot(self.folder / "votes.sqlite")

    def picture(self, file: str) -> Path:
        """The path of one of its pictures."""
        return self.folder / "pictures" / file

    def set_open(self, open: bool) -> None:
        """Begins or stops taking votes.

        Raises:
            StudioError: the folder cannot be read or written.
        """
        _write(self.folder, dataclasses.replace(self.settings, open=open))


def studies_of(workspace: Workspace) -> Path:
    """The folder of all studies."""
    return workspace.root / "studies"


def list_studies(workspace: Workspace) -> list[Study]:
    """All studies of the workspace, by name."""
    return [Study(path.parent) for path in sorted(studies_of(workspace).glob("*/study.json"))]


def get_study(workspace: Workspace, study_id: str) -> Study:
    """The study of that id.

    Raises:
        StudioError: there is none.
    """
    folder = studies_of(workspace) / slug(study_id)
    if not study_id or not (folder / "study.json").is_file():
        raise StudioError(
            "There is no study “{name}”.", "See `evaluate study list` for those there are.", name=study_id[:60]
        )
    return Study(folder)


def study_of_code(workspace: Workspace, code: str) -> Study | None:
    """The study whose link has this code; None where there is none."""
    for study in list_studies(workspace):
        try:
            own = study.settings.code
        except StudioError:
            continue  # a damaged study has no link
        if secrets.compare_digest(own.encode(), code.encode()):
            return study
    return None


def create_study(workspace: Workspace, settings: StudySettings, items: Sequence[Item]) -> Study:
    """A new study of these items; its pictures are copied, re-encoded.

    Raises:
        StudioError: no item, too many, a picture that is missing or damaged, pictures of one prompt with different sizes,
            or a full disk. Nothing is left then.
    """
    if not items or len(items) > MOST_ITEMS:
        raise StudioError("A study has 1 to {most} prompts.", "Choose other pictures.", most=MOST_ITEMS)
    code, key = secrets.token_urlsafe(16), secrets.token_urlsafe(24)
    settings = dataclasses.replace(settings, code=code, key=key)
    folder = studies_of(workspace) / slug(f"{settings.title[:40] or 'study'}-{secrets.token_hex(3)}")
    try:
        kept = [_encoded(folder, settings, number, item) for number, item in enumerate(items)]
        Ballot(folder / "votes.sqlite").fill(
            [(item.prompt, item.source, files) for item, files in zip(items, kept, strict=True)]
        )
        _write(folder, settings)  # last: it makes the folder a study
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Study(folder)


def adopt(workspace: Workspace, source: Path, key: str = "") -> Study:
    """The study in a folder outside of the workspace, copied into it unless it is there: how a Space brings its own.

    Args:
        key: the secret with which the votes are fetched, in place of the one in the folder; empty for none.

    Raises:
        StudioError: the folder is not a study, or the disk refuses.
    """
    settings = dataclasses.replace(Study(source).settings, key=key)
    there = study_of_code(workspace, settings.code)
    folder = studies_of(workspace) / slug(f"{settings.title[:40] or 'study'}-{settings.code[:6]}")
    try:
        if there is None:
            shutil.rmtree(folder, ignore_errors=True)  # a copy that was cut off
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("study.json"))
    except OSError as error:
        raise cannot_write(source.name, error) from error
    _write(there.folder if there else folder, settings)
    return there or Study(folder)


def _write(folder: Path, settings: StudySettings) -> None:
    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(settings).items()
    }
    write_json(folder / "study.json", json.loads(json.dumps(values)))


def _encoded(folder: Path, settings: StudySettings, number: int, item: Item) -> dict[str, str]:
    """Column to the random name of its copy: lossless, in one format, without metadata."""
    from core.studio.studying.pictures import copy_without_metadata

    missing = [column for column in settings.columns if column not in item.pictures]
    if missing:
        raise StudioError(
            "Prompt {number} has no picture under “{column}”.",
            "Every column needs a picture of every prompt.",
            number=number + 1,
            column=missing[0][:60],
        )
    names = {column: f"{secrets.token_hex(16)}.webp" for column in settings.columns}
    sizes = {copy_without_metadata(item.pictures[column], folder / "pictures" / name) for column, name in names.items()}
    if len(sizes) > 1:
        raise StudioError(
            "The pictures of prompt {number} have different sizes, which would tell them apart.",
            "Render all columns at one size.",
            number=number + 1,
        )
    return names


def comparisons(columns: Sequence[str], items: int) -> int:
    """How many different pairs there are to vote on."""
    return items * len(list(combinations(columns, 2)))
