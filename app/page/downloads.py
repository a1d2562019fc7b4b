"""Files of the workspace that a button hands out, and nothing else of their folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from core.files import cannot_read


def to_download(path: Path) -> str:
    """A copy of a file where the page may send it from: in the folder of this process that is gone when the studio ends.

    Gradio refuses to send files of other folders, and the workspace's own are not opened to requests. A file that has not
    changed since is handed out once.

    Raises:
        StudioError: the file cannot be read.
    """
    try:
        state = path.stat()
        key = hashlib.sha256(f"{path.absolute()}\0{state.st_mtime_ns}\0{state.st_size}".encode()).hexdigest()[:32]
        folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()) / f"download-{key}"
        copy = folder / path.name
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, copy)
            except OSError:  # another disk, or one without links
                part = copy.with_name(f"{copy.name}.part")
                shutil.copyfile(path, part)
                os.replace(part, copy)
    except OSError as error:
        raise cannot_read(path.name, error) from error
    return str(copy)
