"""Compare: one prompt, the same seeds, without and with negative preference optimisation."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page import diagram, history
from app.page.fields import Fields
from app.page.form import make_form, make_results, painted
from app.page.html import cost_line, fault, progress, sentences
from app.page.text import label, sentence
from app.page.views import flicker, players
from app.page.wiring import QUICK, RENDERING
from core.errors import StudioError
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Note, Sampling, Saved, Waiting, Working, describe_settings
from core.studio.comparing.grid import parse_axis
from core.studio.comparing.settings import comparison_of, opening_values
from core.studio.library.choose import list_bases, start_values
from core.studio.presets.preset import known_values, read_preset, resolve

FIRST = "window.selfNpoFirst = localStorage.getItem('self-npo-compare') || '';"
RECALL = """() => {
  const first = window.selfNpoFirst;
  window.selfNpoFirst = null;
  return first ?? (localStorage.getItem('self-npo-compare') || '');
}"""
"""The browser keeps what Compare was set to; the server is not asked. What it kept is read in the page's head, before the
fields are there: they would keep their opening values, and these would come back over a quick person's first change."""


@dataclass(frozen=True)
class CompareTab:
    """What other tabs may touch."""

    fields: Fields
    status: gr.HTML
    refresh: Callable[..., Any]
    remembered: gr.Textbox
    history: Callable[..., Any] | None
    drawn: list[Any]
    forecast: tuple[Callable[..., Any], list[Any], list[Any]]


class Stops:
    """A stop flag for each session."""

    def __init__(self) -> None:
        self._flags: dict[str, threading.Event] = {}

    def of(self, request: gr.Request) -> threading.Event:
        """The flag of the session that asks."""
        return self._flags.setdefault(str(request.session_hash), threading.Event())


def _enlarged(image: Any, side: int = 320) -> Any:
    """A rough preview picture large enough to see."""
    return image.resize((side, side * image.height // image.width))


def build(engine: Engine, opening: Mapping[str, Any], *, persistent: bool = True) -> CompareTab:
    """The tab, filled in and ready.

    Args:
        persistent: show the pictures of the workspace; off where strangers share it.
    """
    values = opening_values(engine.workspace, opening)
    stops = Stops()
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            fields, other = make_form(engine, values)
        with gr.Column(scale=6, min_width=320):
            parts = make_results(persistent)
    finished, chosen, away = gr.State([]), gr.State({}), gr.State("")
    remembered = gr.Textbox("", visible="hidden")
    controls = fields.controls

    def columns_of(comparison: Any, betas: str) -> Any:
        if not betas.strip():
            return comparison
        npo = comparison.columns[-1]
        more = [dataclasses.replace(npo, beta=value) for value in parse_axis("beta", betas).values]
        return dataclasses.replace(comparison, columns=tuple(dict.fromkeys([*comparison.columns, *more])))

    def names_of(comparison: Any) -> list[str]:
        return [
            sentence("without NPO"),
            *(
                sentence("with NPO, β {beta:g}", beta=c.beta) if len(comparison.columns) > 2 else sentence("with NPO")
                for c in comparison.columns[1:]
            ),
        ]

    outputs = [parts[name] for name in ("status", "sides", "pair", "flicker", "which", "told")]
    outputs += [finished, controls["seed"], other["estimate"]]

    def render(betas: str, mode: str, picture: Any, request: gr.Request, *given: Any) -> Iterator[tuple[Any, ...]]:
        keep = gr.skip()
        flag = stops.of(request)
        flag.clear()
        saved: list[Saved] = []
        rough: dict[tuple[int, int], Any] = {}
        notes: list[str] = []

        def cells() -> list[tuple[Any, str]]:
            done = {(s.column, s.seed): str(s.path) for s in saved}
            shown = []
            for pair_seed in comparison.seeds:
                for column, name in enumerate(names):
                    place = (column, pair_seed)
                    if place in done or place in rough:
                        shown.append((done.get(place, rough.get(place)), _label(name, pair_seed)))
            return shown

        try:
            comparison = columns_of(comparison_of(fields.read(given), *painted(picture)), betas)
            names = names_of(comparison)
            for event in engine.compare(comparison, cancelled=flag.is_set):
                if isinstance(event, Waiting):
                    yield (progress(sentence(event.reason, name=event.name), 0), *[keep] * 8)
                elif isinstance(event, Working):
                    yield (keep, *[keep] * 8)
                elif isinstance(event, Sampling):
                    places = [(column, s) for column in event.columns for s in comparison.seeds]
                    rough |= {place: _enlarged(image) for place, image in zip(places, event.images, strict=False)}
                    if event.step % 3 == 1 or event.step == event.steps:
                        text = sentence("Step {step} of {steps}", step=event.step, steps=event.steps)
                        if event.step > 1:
                            text += sentence(
                                ", {left:.0f} s left, {rate:.1f} steps/s", left=event.seconds_left, rate=event.rate
                            )
                        gallery = gr.Gallery(value=cells(), columns=min(4, len(names)))
                        yield (progress(text, event.step / event.steps), gallery, *[keep] * 7)
                elif isinstance(event, Saved):
                    saved.append(event)
                elif isinstance(event, Note):
                    notes.append(event.text)
        except StudioError as error:
            yield (fault(error), *[keep] * 8)
            return
        if not saved:
            yield (label("Stopped."), *[keep] * 8)
            return
        groups = _groups(saved, comparison.seeds)
        records = [[(str(s.path), str(s.picture), names[s.column], s.settings) for s in group] for group in groups]
        text = sentence(
            "Done. {what} beside plain CFG at the same ω. {notes}",
            what=comparison.columns[1].label(),
            notes=sentences(*notes),
        )
        if flag.is_set():
            text = sentence("Stopped; what was finished is kept.")
        following = {"next": comparison.seeds[-1] + 1, "random": random.randrange(2**31)}.get(mode, keep)
        yield (
            text,
            gr.Gallery(
                value=[(p, _label(name, told["seed"])) for group in records for p, _, name, told in group],
                columns=min(4, len(names)),
            ),
            _both(records[0]),
            _in_place(records[0]),
            gr.Slider(maximum=max(2, len(records)), value=1, visible=len(records) > 1),
            describe_settings(records[0][-1][3]),
            records,
            following,
            cost_line(engine.estimate(comparison)),
        )

    def show_pair(number: float, records: list[Any]) -> tuple[Any, Any]:
        at = int(number) - 1
        return (_both(records[at]), _in_place(records[at])) if 0 <= at < len(records) else (gr.skip(), gr.skip())

    def pick(records: list[Any], event: gr.SelectData) -> tuple[Any, Any]:
        flat = [record for group in records for record in group]
        told = flat[event.index][3] if event.index < len(flat) else {}
        return describe_settings(told), told

    def reuse(told: dict[str, Any], records: list[Any]) -> list[Any]:
        source = told or (records[0][-1][3] if records else {})
        return fields.fill(engine, values_of(source))

    def dropped(path: str | None, base: str) -> list[Any]:
        if not path:
            return [gr.skip()] * (2 + len(controls))
        try:
            from pathlib import Path

            found = resolve(engine.workspace, read_preset(Path(path)))
        except StudioError as error:
            return [fault(error), None, *[gr.skip()] * len(controls)]
        said = sentence("The settings of the file are in the form.") + " " + sentences(*found.missing)
        return [said, None, *fields.fill(engine, found.values, base)]

    def base_changed(name: str) -> list[Any]:
        here = {choice.name: choice.path for choice in list_bases(engine.workspace)}
        start = start_values(here[name]) if name in here else {}
        own = {"scheduler": "", "height": 0, "width": 0, "frames": 0, "negative": "", "positive": ""}
        return fields.fill(engine, {**own, **start, "base": name})

    def estimate(betas: str, *given: Any) -> Any:
        try:
            return cost_line(engine.estimate(columns_of(comparison_of(fields.read(given)), betas)))
        except StudioError:
            return gr.skip()

    gr.on(
        [other["go"].click, controls["prompt"].submit],
        render,
        [other["betas"], other["seed_mode"], other["picture"], *fields.all()],
        outputs,
        api_name="compare",
        **RENDERING,
    )
    _stop(other["stop"], stops)
    three = [controls[name] for name in ("omega", "alpha", "beta")]
    for control in three:
        control.change(None, three, [other["diagram"], other["scale"]], js=diagram.DRAW, api_visibility="private")
    for control in fields.all():
        control.change(None, fields.all(), None, js=fields.keeping(), api_visibility="private")

    def arrived(picture: Any) -> str:
        """The editor sends what is in it when it has come to rest; until then a rendering does not have it."""
        image, mask = painted(picture)
        if image is None:
            return ""
        told = sentence(
            "Rendering begins from this picture, {width} x {height}.", width=image.width, height=image.height
        )
        return told if mask is None else sentence("Only what is painted over is drawn anew.")

    seen = other["picture"]
    gr.on([seen.change, seen.input, seen.upload], arrived, seen, other["arrived"], **QUICK)
    forecast = (estimate, [other["betas"], *fields.steady()], other["estimate"])
    loading = gr.Timer(2.0, active=False)

    def opening_estimate(*given: Any) -> Any:
        """The estimate, and asked for again until the engine is warm: only then can it tell the time."""
        warming = bool(engine.warming)
        return estimate(*given), gr.Timer(active=warming)

    first_forecast = (opening_estimate, forecast[1], [other["estimate"], loading])
    loading.tick(*first_forecast, **QUICK)
    for name in ("images", "steps", "height", "width", "base"):
        controls[name].change(*forecast, **QUICK)
    parts["which"].change(show_pair, [parts["which"], finished], [parts["pair"], parts["flicker"]], **QUICK)
    parts["sides"].select(pick, finished, [parts["told"], chosen], **QUICK)
    parts["reuse"].click(reuse, [chosen, finished], fields.all(), **QUICK)
    emptied = [parts["status"], other["dropped"], *fields.all()]
    other["dropped"].upload(dropped, [other["dropped"], controls["base"]], emptied, **QUICK)
    controls["base"].input(base_changed, controls["base"], fields.all(), **QUICK)
    past = history.connect(engine, parts, chosen, away) if persistent else None

    def refresh(kept: str, request: gr.Request) -> list[Any]:
        link = str(dict(request.query_params).get("preset", ""))
        if link:
            return [*opened_by_link(engine, fields, link, values["base"]), gr.skip()]
        if opening:
            return [gr.skip(), *fields.fill(engine, values), gr.skip()]
        return [gr.skip(), *fields.restore(engine, kept), gr.skip()]

    return CompareTab(
        fields, parts["status"], refresh, remembered, past, [other["diagram"], other["scale"]], first_forecast
    )


def opened_by_link(engine: Engine, fields: Fields, link: str, base: str) -> list[Any]:
    """A sentence and the form filled by a link. Nothing starts: the person presses Render."""
    from core.studio.presets.sharing import from_link

    try:
        preset = from_link(link)
        found = resolve(engine.workspace, preset)
    except StudioError as error:
        return [fault(error), *[gr.skip()] * len(fields.controls)]
    from html import escape

    said = sentence(
        "The link's preset “{name}” is in the form. Press Render to see it.",
        name=escape(preset.name or sentence("without a name")),
    )
    return [f"{said} {sentences(*found.missing)}", *fields.fill(engine, found.values, base)]


def _stop(button: gr.Button, stops: Stops) -> None:
    def halt(request: gr.Request) -> None:
        stops.of(request).set()

    button.click(halt, None, None, **QUICK)


def values_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's settings as Compare's values, one pair."""
    values = known_values(settings)
    size = str(settings.get("size", "")).split("x")
    if "model" in settings:
        values["base"] = settings["model"]
    if len(size) == 2 and all(part.isdigit() for part in size) and "frames" not in settings and "grid" not in settings:
        values |= {"width": int(size[0]), "height": int(size[1])}
    return {**values, "images": 1} if values else {}


def _label(name: str, seed: int) -> str:
    return sentence("{name} · seed {seed}", name=name, seed=seed)


def _groups(saved: list[Saved], seeds: tuple[int, ...]) -> list[list[Saved]]:
    """Finished pictures seed by seed, plain first."""
    by_seed = [sorted((s for s in saved if s.seed == seed), key=lambda s: s.column) for seed in seeds]
    return [group for group in by_seed if group]


def _both(group: list[Any]) -> Any:
    return (group[0][1], group[-1][1])


def _in_place(group: list[Any]) -> str:
    if group[0][0].endswith(".mp4"):
        return players([(record[2], record[0]) for record in group])
    return flicker(group[0][1], group[-1][1])
