"""Files of the workspace that a button hands out, and nothing else of their folders."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from core.files import cannot_read


def to_download(path: Path) -> str:
    """A copy of a file where the page may send it from: in the folder of this process that is gone when the studio ends.

    Gradio refuses to send files of other folders, and the workspace's own are not opened to requests.

    Raises:
        StudioError: the file cannot be read.
    """
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()) / f"download-{secrets.token_hex(8)}"
    copy = folder / path.name
    try:
        folder.mkdir(parents=True)
        try:
            os.link(path, copy)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, copy)
    except OSError as error:
        raise cannot_read(path.name, error) from error
    return str(copy)
