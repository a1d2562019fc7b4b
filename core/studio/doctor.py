"""What a bug report needs: versions, machine, room, and whether the program works here. No path, name or token in it."""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from core import __version__
from core.studio.workspace import Workspace

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "gradio",
    "safetensors",
    "huggingface_hub",
    "xformers",
)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def facts(workspace: Workspace, *, ask_hub: bool = True) -> dict[str, Any]:
    """Versions, machine, memory in GiB, disk, and what is reachable; quick, imports torch.

    Args:
        ask_hub: open a connection to the Hub to see whether there is one; off where nobody asked for it.
    """
    import psutil
    import torch

    gpu = "none"
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        gpu = f"{device.name}, {device.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    elif torch.backends.mps.is_available():
        gpu = "Apple MPS"
    writable = {}
    for name in ("runs", "offsets", "outputs", "models", "presets"):
        folder = getattr(workspace, name)
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                writable[name] = True
        except OSError:
            writable[name] = False
    return {
        "studio": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "gpu": gpu,
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_free_gib": round(psutil.virtual_memory().available / 2**30, 1),
        "disk_free_gib": round(workspace.free_bytes() / 2**30, 1),
        "folders_writable": writable,
        "hub": _hub() if ask_hub else "not asked",
        "space": bool(os.environ.get("SPACE_ID")),
        "virtual_environment": sys.prefix != sys.base_prefix,
    }


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "offline by setting"
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
        return "reachable"
    except OSError:
        return "not reachable; what is on this machine still works"


def self_test(workspace: Workspace, *, cpu: bool = False) -> Iterator[tuple[str, bool, str]]:
    """(what was tried, whether it worked, in a few words): the bundled model renders a pair, a tiny model trains two
    steps, a picture keeps its settings. Under two minutes on two processor cores."""
    from pathlib import Path

    from core.errors import StudioError
    from core.studio.compare import Saved
    from core.studio.engine import Engine
    from core.studio.values import comparison_of

    began = time.monotonic()
    saved = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            values = {
                "prompt": "a large shiny red circle in the middle",
                "negative": "sd15-mini-negative",
                "images": 1,
                "steps": 6,
            }
            found = Engine(Workspace(folder), cpu=cpu).compare(comparison_of(values))
            saved = [event for event in found if isinstance(event, Saved)]
            from core.generation.media import read_png

            kept = all(read_png(event.path)["prompt"] == values["prompt"] for event in saved)
            yield "render a pair", len(saved) == 2, f"{time.monotonic() - began:.1f} s"
            yield "pictures keep their settings", kept, ""
            different = len({event.path.read_bytes() for event in saved}) == 2
            yield "the offset changes the picture", different, ""
    except StudioError as error:
        yield "render a pair", False, str(error)
    began = time.monotonic()
    try:
        from core.events import RunFinished
        from core.families import get
        from core.training.config import TrainConfig
        from core.training.loop import train

        family = get("sd15")
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(steps=2, batch_size=2, pool_size=2, ddim_grid=6, rollout_steps=2, preview_every=0)
            events = list(train(config, Path(folder), family.tiny(), family, ["a", "b"], cpu=True))
        yield "train two steps", isinstance(events[-1], RunFinished), f"{time.monotonic() - began:.1f} s"
    except StudioError as error:
        yield "train two steps", False, str(error)
