"""What Compare does: plain functions of plain values. A rendering yields its `Changes`, step by step."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.html import cost_line, fault, progress, sentences
from app.page.text import label, sentence
from app.page.views import Cell, Pair, address, board, flicker, inline, slider
from app.page.wiring import Changes
from core.errors import StudioError
from core.generation.comparison import Comparison
from core.generation.settings import DEFAULTS
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Note, Sampling, Saved, Waiting, Working, describe_settings
from core.studio.comparing.grid import parse_axis
from core.studio.comparing.groups import Group, newest_groups, settings_of
from core.studio.comparing.settings import comparison_of
from core.studio.library.choose import list_bases, start_values
from core.studio.presets.reading import known_values
from core.studio.workspace import ASSETS, Workspace

OPENING = ASSETS / "page" / "opening"
OWN = ("negative", "positive", "control", "scheduler", "height", "width", "frames", "fps")
"""Settings that belong to a base model: they follow it, and come back with it."""
SEEDS = 2**31

RENDERED = ("status", "sides", "slide", "flicker", "records", "chosen", "facts", "seed", "last_seed", "estimate")
BUTTONS = ("go", "stop", "later", "reuse", "share")


def painted(picture: dict[str, Any] | None) -> tuple[Any, Any]:
    """The picture of the editor and its mask, what was painted over; (None, None) where it is empty."""
    from PIL import ImageChops

    background = (picture or {}).get("background")
    if background is None or not background.convert("RGBA").getchannel("A").getbbox():
        return None, None
    mask = None
    for layer in (picture or {}).get("layers") or []:
        alpha = layer.convert("RGBA").getchannel("A")
        if alpha.getbbox():
            mask = alpha if mask is None else ImageChops.lighter(mask, alpha)
    return background.convert("RGB"), mask and mask.point(lambda level: 255 * (level > 0))


def input_line(picture: dict[str, Any] | None) -> Changes:
    """What the picture in the editor will do. It arrives when the editor has come to rest; until then a rendering does
    not have it."""
    image, mask = painted(picture)
    if image is None:
        return {"arrived": ""}
    line = sentence("Rendering begins from this picture, {width} x {height}.", width=image.width, height=image.height)
    return {"arrived": line if mask is None else sentence("Only the painted area is redrawn.")}


def with_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with a seed of their own where -1 asks for a random one."""
    return {**values, "seed": random.randrange(SEEDS)} if values.get("seed") == -1 else dict(values)


def comparison_from(values: Mapping[str, Any], betas: str, picture: Any = None) -> Comparison:
    """The comparison of the form: plain CFG, NPO, and one more column for each further value of beta.

    Raises:
        StudioError: a value that cannot be rendered.
    """
    comparison = comparison_of(with_seed(values), *painted(picture))
    if not (betas or "").strip():
        return comparison
    npo = comparison.columns[-1]
    more = [dataclasses.replace(npo, beta=value) for value in parse_axis("beta", betas).values]
    return dataclasses.replace(comparison, columns=tuple(dict.fromkeys([*comparison.columns, *more])))


def names_of(comparison: Comparison) -> list[str]:
    """What each column is called under its pictures."""
    several = len(comparison.columns) > 2
    return [
        sentence("without NPO"),
        *(
            sentence("with NPO, β {beta:g}", beta=column.beta) if several else sentence("with NPO")
            for column in comparison.columns[1:]
        ),
    ]


def note_of(settings: Mapping[str, Any]) -> str:
    """The prompt and the setting of a picture in a line."""
    if not settings:
        return ""
    figures = "  ".join(
        f"{sign} {settings[name]:g}"
        for name, sign in (("omega", "ω"), ("alpha", "α"), ("beta", "β"))
        if isinstance(settings.get(name), int | float)
    )
    model = " · ".join(str(settings[name]) for name in ("model", "negative") if settings.get(name))
    return " · ".join(part for part in (str(settings.get("prompt", "")), figures, model) if part)


def pairs_of(saved: Sequence[Saved], seeds: Sequence[int], names: Sequence[str]) -> list[Pair]:
    """Finished pictures seed by seed, plain CFG first, with their scores where the judge knows them."""
    pairs = []
    for seed in seeds:
        group = sorted((picture for picture in saved if picture.seed == seed), key=lambda picture: picture.column)
        if group:
            cells = tuple(_finished(picture, names[picture.column]) for picture in group)
            pairs.append(Pair(cells, sentence("seed {seed}", seed=seed), note_of(cells[-1].settings)))
    return pairs


def _finished(picture: Saved, name: str) -> Cell:
    video = address(picture.path) if picture.path.suffix == ".mp4" else ""
    return Cell(address(picture.picture), name, video, judged(picture.settings), picture.settings, picture.picture.name)


def judged(settings: Mapping[str, Any]) -> float | None:
    """The bundled judge's score in a picture's settings; they are only what its file says."""
    score = settings.get("judge")
    return score if isinstance(score, float) and 0 <= score <= 1 else None


def _so_far(
    saved: Sequence[Saved], rough: Mapping[tuple[int, int], str], comparison: Comparison, names: Sequence[str]
) -> str:
    """The board while it is drawn: finished pictures, rough ones for the others."""
    done = {(picture.column, picture.seed): address(picture.picture) for picture in saved}
    pairs = []
    for seed in comparison.seeds:
        sources = [(done.get((n, seed)) or rough.get((n, seed)), name) for n, name in enumerate(names)]
        cells = tuple(Cell(source, name) for source, name in sources if source)
        if cells:
            pairs.append(Pair(cells, sentence("seed {seed}", seed=seed)))
    return board(pairs)


def at_rest() -> Changes:
    """The buttons when nothing is rendered."""
    idle = gr.update(interactive=False)
    return {"go": gr.update(value=label("Render"), interactive=True), "stop": idle, "later": idle}


def render(
    engine: Engine, values: Mapping[str, Any], betas: str, mode: str, picture: Any, cancelled: Callable[[], bool]
) -> Iterator[Changes]:
    """Renders what the form says.

    Args:
        values: of the form.
        betas: more values of beta, as written.
        mode: what becomes of the seed afterwards: "fixed" or "next".
        picture: of the editor.
        cancelled: asked after each step; what is finished is kept.
    """
    saved: list[Saved] = []
    rough: dict[tuple[int, int], str] = {}
    notes: list[str] = []
    yield {
        "status": progress(sentence("Preparing…"), 0),
        "go": gr.update(value=label("Rendering…"), interactive=False),
        "stop": gr.update(interactive=True),
        "later": gr.update(interactive=True),
    }
    try:
        comparison = comparison_from(values, betas, picture)
        names = names_of(comparison)
        yield {"status": progress(sentence("Step {step} of {steps}…", step=1, steps=comparison.steps), 0)}
        for event in engine.compare(comparison, cancelled=cancelled):
            if isinstance(event, Waiting):
                yield {"status": progress(sentence(event.reason, name=event.name), 0)}
            elif isinstance(event, Sampling):
                places = [(column, seed) for column in event.columns for seed in event.seeds]
                if event.step % 3 == 1 or event.step == event.steps:
                    shown = zip(places, event.images, strict=False)
                    rough |= {place: inline(image, side=320) for place, image in shown}
                    yield {
                        "status": progress(_step_line(event), event.step / event.steps),
                        "sides": _so_far(saved, rough, comparison, names),
                    }
            elif isinstance(event, Working):
                yield {}  # nothing is new; a page that went away is noticed here
            elif isinstance(event, Saved):
                saved.append(event)
            elif isinstance(event, Note):
                notes.append(event.text)
        pairs = pairs_of(saved, comparison.seeds, names)
    except StudioError as error:
        yield {"status": fault(error), **at_rest()}
        return
    if not saved:
        yield {"status": label("Stopped."), **at_rest()}
        return
    line = sentence(
        "Done. {what} beside plain CFG at the same ω. {notes}",
        what=comparison.columns[1].label(),
        notes=sentences(*notes),
    )
    if cancelled():
        line = sentence("Stopped; what was finished is kept.")
    changes = {"status": line, "last_seed": comparison.seeds[0], **shown_pairs(pairs), **at_rest()}
    if mode == "next" and values.get("seed") != -1:
        changes["seed"] = comparison.seeds[-1] + 1
    yield {**changes, "estimate": cost_line(engine.estimate(comparison))}


def _step_line(event: Sampling) -> str:
    line = sentence("Step {step} of {steps}", step=event.step, steps=event.steps)
    if event.step > 1:
        line += sentence(", {left:.0f} s left, {rate:.1f} steps/s", left=event.seconds_left, rate=event.rate)
    return line


def shown_pairs(pairs: list[Pair]) -> Changes:
    """Pairs in place of what was shown; the first one is chosen."""
    if not pairs:
        return {}
    chosen = len(pairs[0].cells) - 1
    return {"records": pairs, "sides": board(pairs, chosen=chosen), **choose(pairs, chosen)}


def choose(pairs: Sequence[Pair], index: int) -> Changes:
    """A picture of the board is chosen: its settings, and its pair in the other views."""
    at = 0
    for pair in pairs:
        if index < at + len(pair.cells):
            cell = pair.cells[index - at]
            return {
                "chosen": (pair, cell),
                "facts": describe_settings(cell.settings) if cell.settings else "",
                "slide": slider(pair) if not pair.cells[0].video else flicker(pair),
                "flicker": flicker(pair),
                "reuse": gr.update(interactive=bool(cell.settings)),
                "share": gr.update(interactive=bool(cell.settings)),
            }
        at += len(pair.cells)
    return {}


def estimate(engine: Engine, values: Mapping[str, Any], betas: str) -> Changes:
    """The cost of what the form says; nothing where it cannot be rendered."""
    try:
        return {"estimate": cost_line(engine.estimate(comparison_from(values, betas)))}
    except StudioError:
        return {}


def opening_estimate(engine: Engine, values: Mapping[str, Any], betas: str) -> Changes:
    """The cost, and whether to ask again: only when the engine is warm can it tell the time."""
    warming = bool(engine.warming)
    return {**estimate(engine, values, betas), "loading": gr.Timer(active=warming)}


def base_changed(
    engine: Engine, values: Mapping[str, Any], former: str, remembered: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Another base model: what a person typed stays, what belongs to the model follows.

    Args:
        values: of the form, with the new base.
        former: the base before it.
        remembered: base to the values of `OWN` that it had when it was left.

    Returns:
        The values to set; `remembered` with those of the former base; a sentence on what could not stay.
    """
    bases = {choice.name: choice.path for choice in list_bases(engine.workspace)}
    name = str(values["base"])
    before = {**DEFAULTS, **(start_values(bases[former]) if former in bases else {})}
    start = start_values(bases[name]) if name in bases else {}
    remembered = {**remembered, former: {key: values[key] for key in OWN}}
    own = remembered.get(name) or {key: start.get(key, DEFAULTS[key]) for key in OWN}
    untouched = {
        key: start.get(key, DEFAULTS[key]) for key in before if key not in OWN and values.get(key) == before[key]
    }
    changes = {**untouched, **own, "base": name}
    line = sentence("What you typed is kept; size, scheduler and offset follow “{name}”.", name=name)
    left = [str(values[key]) for key in ("negative", "positive") if values[key] and values[key] != own[key]]
    if left:
        line += " " + sentence("Not carried over from “{former}”: {names}.", former=former, names=", ".join(left))
    return changes, remembered, line


def values_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's settings as Compare's values; the number of pairs stays as it is."""
    values = known_values(settings)
    size = re.fullmatch(r"(\d+)x(\d+)", str(settings.get("size", "")))
    if "base" not in values and "model" in settings:
        values["base"] = settings["model"]
    if size and "height" not in values and "frames" not in settings and "grid" not in settings:
        values |= {"width": int(size[1]), "height": int(size[2])}
    values.pop("images", None)
    return values


def opening_pairs(folder: Path = OPENING) -> list[Pair]:
    """The rendered pairs that the page opens with: picture files with their settings, made by `assets.build.opening`."""
    names = (sentence("without NPO"), sentence("with NPO"))
    pairs = []
    for file in sorted(folder.glob("*-without.png")):
        from PIL import Image

        cells = []
        for name, picture in zip(names, (file, file.with_name(file.name.replace("without", "with"))), strict=True):
            with Image.open(picture) as image:
                cells.append(Cell(inline(image), name, settings=settings_of(picture)))
        settings = cells[-1].settings
        pairs.append(Pair(tuple(cells), sentence("seed {seed}", seed=settings["seed"]), note_of(settings)))
    return pairs


def pair_of(group: Group) -> Pair:
    """Pictures of the outputs folder as a card, their prompt under them."""
    cells = []
    for picture in group.pictures:
        settings = picture.settings
        video = address(picture.path) if picture.path.suffix == ".mp4" else ""
        name = _name_of(settings, several=len(group.pictures) > 2)
        cells.append(Cell(address(picture.shown), name, video, judged(settings), settings, picture.shown.name))
    settings = cells[-1].settings
    caption = str(settings.get("prompt") or sentence("seed {seed}", seed=group.seed))
    return Pair(tuple(cells), caption, note_of(settings), any(picture.favourite for picture in group.pictures))


def _name_of(settings: Mapping[str, Any], *, several: bool) -> str:
    """What a picture is called, from the settings in it."""
    if isinstance(settings.get("grid"), dict):
        return sentence("grid of {axes}", axes=", ".join(map(str, settings["grid"])))
    beta = settings.get("beta")
    if not beta and settings.get("alpha", 1) == 1:
        return sentence("without NPO")
    if several and isinstance(beta, int | float):
        return sentence("with NPO, β {beta:g}", beta=beta)
    return sentence("with NPO")


def last_pairs_or_opening(workspace: Workspace, *, persistent: bool) -> list[Pair]:
    """The pairs of the last rendering, still there after a reload; before the first one, those the studio comes with."""
    groups = newest_groups(workspace) if persistent else []
    pairs = [pair_of(group) for group in groups]
    if not pairs:
        return opening_pairs()
    return [
        dataclasses.replace(pair, caption=sentence("seed {seed}", seed=group.seed))
        for pair, group in zip(pairs, groups, strict=True)
    ]
