"""An evaluation is a folder that any number of processes fill together. No torch.

    evaluations/<id>/settings.json   what is compared
                     facts.json      hashes of model and offsets, versions, machine
                     prompts.jsonl   one line a prompt, in order
                     probe.json      guidance measured step by step, and the effective scale
                     chunks/000012.json         scores of `batch` prompts under every column
                     chunks/000012.safetensors  features of the same pictures, where a scorer has some
                     images/<column>/000097-0.png
                     report.json  report.html

A chunk holds the same prompts however the work is shared out, and appears whole or not at all: an evaluation that was killed
goes on where it was, and its figures are those it would have had.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.evaluation.prompts import Prompt, read_prompts
from core.files import read_json, whole_file, write_json
from core.miniature.worlds import SHAPES, WORLDS, World, world_of
from core.studio.evaluating.scorers import cards_of, check, default_scorers, judged_world
from core.studio.evaluating.settings import EvaluationSettings, columns_of, offsets_of
from core.studio.library.choose import find_base, find_offset
from core.studio.library.entries import hash_of
from core.studio.workspace import Workspace, slug

PER_IMAGE = 16_000
"""Bytes that a kept picture of 64 px takes, about; larger ones in proportion to their pixels."""


class Evaluation:
    """One evaluation folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    @property
    def settings(self) -> EvaluationSettings:
        """What it compares.

        Raises:
            StudioError: the folder is not an evaluation, or its settings are damaged.
        """
        return EvaluationSettings.from_dict(read_json(self.folder / "settings.json", dict))

    @property
    def facts(self) -> dict[str, Any]:
        """Hashes, versions and machine, as they were when it was created."""
        return read_json(self.folder / "facts.json", dict)

    @property
    def world(self) -> World:
        """The world whose judge scores its pictures; before there were several it was that of shapes."""
        return WORLDS.get(str(self.facts.get("world", "")), SHAPES)

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        settings = self.settings
        return -(-settings.count // settings.batch)

    def prompts(self, start: int = 0, stop: int | None = None) -> Iterator[Prompt]:
        """Its prompts from `start` on, before `stop`; one line is held at a time."""
        with (self.folder / "prompts.jsonl").open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if stop is not None and number >= stop:
                    return
                if number >= start:
                    yield Prompt(**json.loads(line))

    def chunk_path(self, number: int) -> Path:
        """The file of a chunk's scores."""
        return self.folder / "chunks" / f"{number:06d}.json"

    def chunk(self, number: int) -> dict[str, Any] | None:
        """A chunk's scores; None where it is not done yet."""
        path = self.chunk_path(number)
        return read_json(path, dict, limit=2**24) if path.is_file() else None

    def done(self) -> int:
        """How many chunks are done."""
        return sum(1 for _ in (self.folder / "chunks").glob("*.json"))

    def probe(self) -> dict[str, Any] | None:
        """What was measured of guidance; None where it was not yet."""
        path = self.folder / "probe.json"
        return read_json(path, dict, limit=2**24) if path.is_file() else None


def evaluations_of(workspace: Workspace) -> Path:
    """The folder of all evaluations."""
    return workspace.root / "evaluations"


def get_evaluation(workspace: Workspace, evaluation_id: str) -> Evaluation:
    """The evaluation of that id, or of a folder's path.

    Raises:
        StudioError: there is none.
    """
    folder = evaluations_of(workspace) / slug(evaluation_id)
    if slug(evaluation_id) != evaluation_id:
        folder = Path(evaluation_id).expanduser()
    if not (folder / "settings.json").is_file():
        raise StudioError(
            "There is no evaluation “{name}”.",
            "`evaluate list` shows all evaluations.",
            name=Path(evaluation_id).name[:60],
        )
    return Evaluation(folder)


def list_evaluations(workspace: Workspace) -> list[Evaluation]:
    """All evaluations of the workspace, by name."""
    return [Evaluation(path.parent) for path in sorted(evaluations_of(workspace).glob("*/settings.json"))]


def newest_first(workspace: Workspace) -> list[Evaluation]:
    """All evaluations of the workspace by the time at which they were made, newest first."""

    def age(evaluation: Evaluation) -> float:
        with suppress(OSError):
            return (evaluation.folder / "settings.json").stat().st_mtime
        return 0.0

    return sorted(list_evaluations(workspace), key=age, reverse=True)


def own_prompts(base: Path, first: int, count: int) -> list[Prompt]:
    """Prompts of the world that a miniature draws, of a seed that nothing was trained or chosen on.

    Raises:
        StudioError: the base draws none of the worlds.
    """
    world = world_of(base)
    if world is None:
        raise StudioError("This model has no bundled prompts.", "Choose a file of prompts.")
    two = f"second_{world.language.noun}"
    return [
        Prompt(text, "two objects" if two in world.parse(text) else "one object")
        for text in world.prompts(first, count)
    ]


def check_room(workspace: Workspace, settings: EvaluationSettings, pixels: int) -> int:
    """Bytes that the pictures kept will take.

    Args:
        pixels: of one picture.

    Raises:
        StudioError: more than there is, with the figures.
    """
    columns = len(columns_of(settings, -1.0))
    needed = min(settings.keep, settings.count * settings.seeds) * columns * PER_IMAGE * pixels // 64**2
    needed += settings.count * settings.seeds * columns * 800
    if needed > workspace.free_bytes() - 2**27:
        raise StudioError(
            "The evaluation needs {needed} GB, but {free} GB are free.",
            "Keep fewer pictures, or free disk space.",
            needed=f"{needed / 1e9:.1f}",
            free=f"{workspace.free_bytes() / 1e9:.1f}",
        )
    return needed


def create_evaluation(workspace: Workspace, settings: EvaluationSettings, name: str = "") -> Evaluation:
    """A new evaluation folder with its prompts in it; nothing is rendered yet.

    Raises:
        StudioError: a model, an offset, a scorer's file or a prompt that is not there or cannot be read.
    """
    base = find_base(workspace, settings.base)
    offsets = {key: find_offset(workspace, getattr(settings, key)) for key in ("positive", "negative")}
    others = {name: find_offset(workspace, name) for name in offsets_of(settings) if name}
    names = settings.scorers or default_scorers(workspace, settings.base)
    cards = cards_of(names)
    check(workspace, names)
    settings = dataclasses.replace(counted(settings), scorers=tuple(names))
    from core.studio.evaluating.distribution import check_reference

    check_reference(settings)
    check_room(workspace, settings, (settings.height or 64) * (settings.width or 64))
    folder = evaluations_of(workspace) / slug(
        f"{name or settings.negative or 'cfg'}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    )
    facts = {**_machine(), **_hashes(workspace, base, offsets), "scorers": _versions(cards)}
    facts["offsets"] = {
        name: hash_of(workspace, path) for name, path in others.items() if path and path not in offsets.values()
    }
    with whole_file(folder / "prompts.jsonl") as staged, staged.open("w", encoding="utf-8") as file:
        for prompt in _prompts_of(settings, base):
            facts.setdefault("world", judged_world(workspace, prompt.text, settings.base).name)
            file.write(json.dumps({"text": prompt.text, "category": prompt.category}, ensure_ascii=False) + "\n")
    write_json(folder / "facts.json", facts)
    (folder / "chunks").mkdir()
    write_json(folder / "settings.json", settings.to_dict())  # last: it makes the folder an evaluation
    return Evaluation(folder)


def counted(settings: EvaluationSettings) -> EvaluationSettings:
    """The settings with as many prompts as there are, where the file has fewer than asked for; every row is read once.

    Raises:
        StudioError: a row that cannot be read, or no prompt where the first is asked for.
    """
    if not settings.prompts:
        return settings
    source = read_prompts(Path(settings.prompts).expanduser(), settings.first + settings.count)
    count = sum(1 for _ in source) - settings.first
    if count < 1:
        raise StudioError("There are fewer prompts than the first one requested.", "Choose a smaller first.")
    return dataclasses.replace(settings, count=count)


def _prompts_of(settings: EvaluationSettings, base: Path) -> Iterable[Prompt]:
    if settings.prompts:
        source = read_prompts(Path(settings.prompts).expanduser(), settings.first + settings.count)
        return islice(source, settings.first, None)
    return own_prompts(base, settings.first, settings.count)


def _hashes(workspace: Workspace, base: Path, offsets: dict[str, Path | None]) -> dict[str, Any]:
    hashes = {"base": {"name": base.name, "sha256": hash_of(workspace, base)}}
    for key, path in offsets.items():
        if path is not None:
            hashes[key] = {"name": path.stem, "sha256": hash_of(workspace, path)}
    return hashes


def _versions(cards: list[Any]) -> dict[str, str]:
    return {card.name: f"{card.title} {card.version}" for card in cards}


def _machine() -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import version

    from core import __version__

    return {
        "version": __version__,
        "libraries": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


def merge(target: Evaluation, others: list[Evaluation]) -> int:
    """Takes over the chunks and pictures that other machines made of the same evaluation; how many chunks were new.

    Raises:
        StudioError: another evaluation, named.
    """
    import shutil

    new = 0
    for other in others:
        same = other.settings == target.settings and all(
            _bytes(other, name) == _bytes(target, name) for name in ("prompts.jsonl",)
        )
        hashes = [
            {k: e.facts.get(k) for k in ("base", "positive", "negative", "offsets", "scorers")} for e in (other, target)
        ]
        probes = [e.probe() for e in (other, target)]
        if not same or hashes[0] != hashes[1] or (all(probes) and probes[0] != probes[1]):
            raise StudioError(
                "“{name}” is not a part of the same evaluation.",
                "Merge folders that were copied from one, with the same settings, prompts and files.",
                name=other.id,
            )
        if probes[0] and not probes[1]:
            write_json(target.folder / "probe.json", probes[0])
        for path in sorted((other.folder / "chunks").glob("*.json")):
            if (target.folder / "chunks" / path.name).is_file():
                continue
            for file in (path.with_suffix(".safetensors"), path):  # the scores last: they say that the chunk is whole
                if file.is_file():
                    with whole_file(target.folder / "chunks" / file.name) as staged:
                        shutil.copyfile(file, staged)
            new += 1
        for path in (other.folder / "images").rglob("*.png"):
            merged_file = target.folder / path.relative_to(other.folder)
            if not merged_file.is_file():
                with whole_file(merged_file) as staged:
                    shutil.copyfile(path, staged)
    return new


def _bytes(evaluation: Evaluation, name: str) -> bytes:
    return (evaluation.folder / name).read_bytes()
