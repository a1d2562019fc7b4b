"""What a bug report needs: versions, machine, room, and whether the program works here. No path, name or token in it."""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from core import __version__
from core.errors import StudioError
from core.families.libraries import with_libraries
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
    "gguf",
)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def facts(workspace: Workspace, *, ask_hub: bool = True) -> dict[str, Any]:
    """Versions, machine, memory in GiB, disk, and what is reachable; quick, imports torch.

    Args:
        ask_hub: open a connection to the Hub to see whether there is one; off unless asked for.
    """
    import psutil

    try:
        gpu = _card()
    except Exception as error:  # a broken installation of torch is what a report is for
        gpu = f"could not be asked: {_in_words(error)}"
    try:
        attention = _attention()
    except Exception as error:  # as of the card
        attention = {"could not be asked": _in_words(error)}
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
        "attention": attention,
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_free_gib": round(psutil.virtual_memory().available / 2**30, 1),
        "disk_free_gib": round(workspace.free_bytes() / 2**30, 1),
        "folders_writable": writable,
        "hub": _hub() if ask_hub else "not asked",
        "space": bool(os.environ.get("SPACE_ID")),
        "virtual_environment": sys.prefix != sys.base_prefix,
    }


def _attention() -> dict[str, str]:
    from core.families.attention import available, chosen

    return {"chosen": chosen(), **available()}


def _card() -> str:
    import torch

    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        return f"{device.name}, {device.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    return "Apple MPS" if torch.backends.mps.is_available() else "none"


def _hub() -> str:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "offline by setting"
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
        return "reachable"
    except OSError:
        return "not reachable; what is on this machine still works"


def self_test(*, cpu: bool = False) -> Iterator[tuple[str, bool, str]]:
    """(what was tried, whether it worked, in a few words): the bundled model renders a pair, a tiny model trains two
    steps, a picture keeps its settings. Under two minutes on two processor cores. Whatever goes wrong is reported."""
    for work in (_render_a_pair, _train_two_steps):
        try:
            yield from work(cpu)
        except Exception as error:
            yield work.__name__.strip("_").replace("_", " "), False, _in_words(error)


def _in_words(error: Exception) -> str:
    """What went wrong and in which line, without a path: another library's message may hold one."""
    if isinstance(error, StudioError):
        return str(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(at.filename).name}, line {at.lineno}"


def _render_a_pair(cpu: bool) -> Iterator[tuple[str, bool, str]]:
    from core.generation.media import read_png
    from core.studio.comparing.engine import Engine
    from core.studio.comparing.events import Saved
    from core.studio.comparing.settings import comparison_of

    began = time.monotonic()
    prompt = "a large shiny red circle in the middle"
    values = {"prompt": prompt, "negative": "sd15-mini-negative", "images": 1, "steps": 6}
    with tempfile.TemporaryDirectory() as folder:
        events = Engine(Workspace(Path(folder)), cpu=cpu).compare(comparison_of(values))
        saved = [event for event in events if isinstance(event, Saved)]
        yield "render a pair", len(saved) == 2, f"{time.monotonic() - began:.1f} s"
        settings_kept = all(read_png(event.path)["prompt"] == prompt for event in saved)
        yield "pictures keep their settings", settings_kept, ""
        yield "the offset changes the picture", len({event.path.read_bytes() for event in saved}) == 2, ""


@with_libraries
def _train_two_steps(cpu: bool) -> Iterator[tuple[str, bool, str]]:
    from core.events import RunFinished
    from core.families import get
    from core.training.config import TrainConfig
    from core.training.loop import train

    began = time.monotonic()
    family = get("sd15")
    config = TrainConfig(steps=2, batch_size=2, pool_size=2, ddim_grid=6, rollout_steps=2, preview_every=0)
    with tempfile.TemporaryDirectory() as folder:
        events = list(train(config, Path(folder), family.tiny(), family, ["a", "b"], cpu=cpu))
    yield "train two steps", isinstance(events[-1], RunFinished), f"{time.monotonic() - began:.1f} s"
