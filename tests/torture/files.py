"""The k-th file operation fails, for every k: what was there stays, nothing half-written is left, a person gets a sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import StudioError
from tests.torture.tally import Tally

NUMBERS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EPERM": errno.EPERM}
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.utime", "fsync"}
OPERATIONS |= {"serialize", "os.listdir", "os.scandir"}


@dataclass
class Watch:
    """Counts the operations below a folder and makes one of them fail."""

    folder: str
    fail_at: int
    number: int
    done: list[str] = field(default_factory=list)

    def meet(self, operation: str, path: Any) -> None:
        """One operation; raises where its turn has come."""
        if operation not in OPERATIONS or not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name.startswith(self.folder):
            self.done.append(f"{operation} {os.path.basename(name)}")
            if len(self.done) == self.fail_at:
                raise OSError(self.number, os.strerror(self.number), name)


_watching: list[Watch] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple) -> None:
    if _watching and event in OPERATIONS and arguments:
        _watching[-1].meet(event, arguments[0])


@contextlib.contextmanager
def failing(folder: Path, fail_at: int, number: int) -> Iterator[Watch]:
    """Inside, the `fail_at`-th file operation below the folder fails with that number; 0 fails none."""
    import safetensors.torch

    if not _hooked:
        sys.addaudithook(_hook)  # it cannot be taken away; without a watch it does nothing
        _hooked.append(True)
    watch = Watch(str(folder), fail_at, number)
    real_fsync, real_serialize = os.fsync, safetensors.torch.serialize_file

    def fsync(handle: int) -> None:
        link = f"/proc/self/fd/{handle}"
        watch.meet("fsync", os.readlink(link) if os.path.exists(link) else "")
        real_fsync(handle)

    def serialize(tensors: Any, path: Any, *more: Any, **named: Any) -> None:
        try:
            watch.meet("serialize", path)
        except OSError:
            Path(path).write_bytes(b"half")
            raise
        real_serialize(tensors, path, *more, **named)

    os.fsync, safetensors.torch.serialize_file = fsync, serialize
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.pop()
        os.fsync, safetensors.torch.serialize_file = real_fsync, real_serialize


Prepared = tuple[Callable[[], object], Callable[[], None]]
"""What is tried, and what must hold after it, whether it failed or not (raises AssertionError)."""


def prepare_checkpoint(folder: Path) -> Prepared:
    import torch

    from core.training.checkpoints import load_newest, save_checkpoint

    tensors = {"w": torch.arange(8.0)}
    save_checkpoint(folder, 1, tensors, {"x": 1}, 2)

    def holds() -> None:
        newest, damaged = load_newest(folder)
        assert newest and newest.facts["step"] in (1, 2) and not damaged
        assert torch.equal(newest.tensors["w"], tensors["w"])

    return lambda: save_checkpoint(folder, 2, tensors, {"x": 2}, 2), holds


def prepare_import(folder: Path) -> Prepared:
    import torch
    from safetensors.torch import load_file, save_file

    from core.studio.library.weights import import_offset
    from core.studio.workspace import Workspace

    workspace = Workspace(folder / "space")
    source = folder / "a.safetensors"
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8, 2)}
    save_file(tensors, source)
    whole = source.read_bytes()

    def holds() -> None:
        assert source.read_bytes() == whole
        for file in workspace.offsets.glob("*.safetensors"):
            copied = load_file(file)
            assert copied.keys() == tensors.keys()
            assert all(torch.equal(copied[name], tensors[name]) for name in tensors)

    return lambda: import_offset(workspace, source), holds


def prepare_preset(folder: Path) -> Prepared:
    from core.studio.presets.files import save_preset
    from core.studio.presets.reading import read_preset
    from core.studio.workspace import ASSETS, Workspace

    workspace = Workspace(folder / "space")
    shipped = next((ASSETS.parent / "presets" / "sd15").glob("*.json"))
    old = read_preset(shipped).model_copy(update={"name": "mine"})
    path = save_preset(workspace, old)
    before = path.read_text(encoding="utf-8")
    new = old.model_copy(update={"name": "mine", "description": "changed"})

    def holds() -> None:
        assert path.read_text(encoding="utf-8") in (before, new.to_json())

    return lambda: save_preset(workspace, new, replace=True), holds


def prepare_picture(folder: Path) -> Prepared:
    from PIL import Image

    from core.generation.media import read_png, save_png

    path = folder / "a.png"
    save_png(Image.new("RGB", (8, 8)), path, {"seed": 1})

    def holds() -> None:
        assert read_png(path)["seed"] in (1, 2)

    return lambda: save_png(Image.new("RGB", (8, 8), "red"), path, {"seed": 2}), holds


def prepare_mark(folder: Path) -> Prepared:
    from PIL import Image

    from core.generation.media import save_png
    from core.studio.comparing.gallery import favourites, toggle_favourite
    from core.studio.workspace import Workspace

    workspace = Workspace(folder / "space")
    for name in ("a.png", "b.png"):
        save_png(Image.new("RGB", (8, 8)), workspace.outputs / name, {"seed": 1})
    toggle_favourite(workspace, "a.png")

    def holds() -> None:
        assert favourites(workspace) in ({"a.png"}, {"a.png", "b.png"})

    return lambda: toggle_favourite(workspace, "b.png"), holds


def prepare_put_away(folder: Path) -> Prepared:
    from PIL import Image

    from core.generation.media import save_png
    from core.studio.comparing.gallery import put_away
    from core.studio.workspace import Workspace

    workspace = Workspace(folder / "space")
    save_png(Image.new("RGB", (8, 8)), workspace.outputs / "a.png", {"seed": 1})

    def holds() -> None:
        assert len(list(workspace.outputs.rglob("a.png"))) == 1

    return lambda: put_away(workspace, "a.png"), holds


def prepare_run(folder: Path) -> Prepared:
    from core.studio.runs.run import create_run, list_runs
    from core.studio.workspace import Workspace
    from core.training.config import TrainConfig

    workspace = Workspace(folder / "space")
    config = TrainConfig(steps=2)
    create_run(workspace, config, "old")

    def holds() -> None:
        faults: list[StudioError] = []
        assert 1 <= len(list_runs(workspace, faults.append)) <= 2 and not faults

    return lambda: create_run(workspace, config, "new"), holds


def prepare_folder(folder: Path) -> Prepared:
    from core.studio.library.entries import add_folder, folders
    from core.studio.workspace import Workspace

    workspace = Workspace(folder / "space")
    for name in ("one", "two"):
        (folder / name).mkdir()
    add_folder(workspace, folder / "one")

    def holds() -> None:
        assert folders(workspace)[0].name == "one" and len(folders(workspace)) <= 2

    return lambda: add_folder(workspace, folder / "two"), holds


TARGETS: dict[str, Callable[[Path], Prepared]] = {
    "checkpoint": prepare_checkpoint,
    "import": prepare_import,
    "preset": prepare_preset,
    "picture": prepare_picture,
    "mark": prepare_mark,
    "put away": prepare_put_away,
    "run": prepare_run,
    "library": prepare_folder,
}


def fail_every_operation(root: Path, *, targets: list[str] | None = None, count: int = 1000, seed: int = 0) -> Tally:
    """Each target with each fault at each operation, until an attempt has none left to fail, or `count` tries are made."""
    tally = Tally("files", seed)
    for name in targets or list(TARGETS):
        for fault, number in NUMBERS.items():
            for k in range(1, 200):
                if tally.tries >= count:
                    return tally
                folder = root / f"{name}-{fault}-{k}".replace(" ", "-")
                folder.mkdir(parents=True)
                if not _one(name, fault, number, k, folder, tally):
                    break
    return tally


def _one(name: str, fault: str, number: int, k: int, folder: Path, tally: Tally) -> bool:
    """Whether the k-th operation was there to fail."""
    act, holds = TARGETS[name](folder)
    problem = ""
    with failing(folder, k, number) as watch:
        try:
            act()
        except StudioError as error:
            if str(folder) in str(error) or os.strerror(number) in str(error):
                problem = f"shows a path or the system's words: {error}"
        except BaseException as error:  # anything else is what is looked for
            problem = f"{type(error).__name__}: {error}"
    if len(watch.done) < k:
        return False
    tally.tries += 1
    tally.count(name)
    failed = watch.done[k - 1]
    where = f"{name}, {fault} at operation {k} ({failed})"
    if problem:
        tally.failures.append(f"{where}: {problem}")
    try:
        holds()
    except (AssertionError, StudioError, OSError) as error:
        tally.failures.append(f"{where}: what was there is gone: {type(error).__name__} {error}")
    left = [path.name for path in folder.rglob("*.tmp")]
    # a cleanup that is refused itself leaves its file to the next start, which sweeps
    if left and not failed.startswith(("os.remove", "os.rmdir", "os.scandir", "open")):
        tally.failures.append(f"{where}: left {', '.join(left)}")
    return True
