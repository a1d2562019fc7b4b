"""Renders the pairs that the page opens with, as the first bundled miniature's `studio.json` has them.

    python -m assets.build.opening

They lie in `assets/page/opening` as `SEED-without.png` and `SEED-with.png`, with their settings in them, and are shown until
the first rendering takes their place.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Saved
from core.studio.comparing.settings import comparison_of, opening_values
from core.studio.workspace import ASSETS, Workspace

FOLDER = ASSETS / "page" / "opening"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        comparison = comparison_of(opening_values(workspace, {}))
        saved = [event for event in Engine(workspace, cpu=True).compare(comparison) if isinstance(event, Saved)]
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for picture in saved:
            kind = "with" if picture.column else "without"
            shutil.copyfile(picture.picture, FOLDER / f"{picture.seed}-{kind}.png")
    print(f"{len(saved)} pictures in {FOLDER.relative_to(ASSETS.parent)}")


if __name__ == "__main__":
    main()
