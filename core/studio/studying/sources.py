"""Pictures that a study can be made of: folders of numbered pictures, one folder a column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import StudioError
from core.files import cannot_read, read_text
from core.studio.studying.study import Item

KINDS = (".png", ".jpg", ".jpeg", ".webp")


def items_of_folders(folders: Sequence[Path]) -> tuple[tuple[str, ...], list[Item]]:
    """The columns and items of folders whose pictures have the same names; the prompt is next to a picture as `.txt`.

    This is how `gallery` and the comparison scripts of other programs lay pictures out.

    Raises:
        StudioError: fewer than two folders, two of one name, no picture, or a picture that another folder lacks, named.
    """
    columns = tuple(folder.name for folder in folders)
    if len(set(columns)) < max(2, len(columns)):
        raise StudioError("A study needs two folders or more, of different names.", "Name one for each column.")
    files: dict[str, dict[str, Path]] = {}
    for column, folder in zip(columns, folders, strict=True):
        try:
            found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in KINDS]
        except OSError as error:
            raise cannot_read(folder.name, error) from error
        for path in found:
            files.setdefault(path.stem, {})[column] = path
    if not files:
        raise StudioError("There is no picture in “{name}”.", "Choose another folder.", name=columns[0])
    for stem, own in files.items():
        for column in columns:
            if column not in own:
                raise StudioError(
                    "“{column}” has no picture “{name}”, which the other folders have.",
                    "Render it, or remove the others.",
                    column=column,
                    name=stem,
                )
    return columns, [Item(_prompt(next(iter(own.values()))), own, stem) for stem, own in sorted(files.items())]


def _prompt(picture: Path) -> str:
    beside = picture.with_suffix(".txt")
    return read_text(beside).strip() if beside.is_file() else ""
