"""Compare: one prompt, the same seeds, without and with negative preference optimisation."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page import diagram
from app.page.fields import Fields, choices
from app.page.text import t
from app.page.views import flicker, players
from app.page.words import fault, progress, scale_note
from core.errors import StudioError
from core.studio.bases import list_bases, start_values
from core.studio.engine import Engine, Note, Sampling, Saved, Waiting, describe_settings
from core.studio.gallery import bring_back, pictures, put_away, toggle_favourite
from core.studio.grid import parse_axis
from core.studio.presets import known_values, read_preset, resolve
from core.studio.values import DEFAULTS, comparison_of

HISTORY = 60
KEEP = "(...values) => { localStorage.setItem('self-npo-compare', JSON.stringify(values)); }"
RECALL = "() => localStorage.getItem('self-npo-compare') || ''"
"""The browser keeps what Compare was set to; the server is not asked."""


@dataclass(frozen=True)
class CompareTab:
    """What other tabs may touch."""

    fields: Fields
    status: gr.HTML
    refresh: Callable[..., Any]
    remembered: gr.Textbox
    history: Callable[..., Any] | None
    drawn: list[Any]


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


def _controls(engine: Engine, values: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """The left side of the tab: the fields, and the other things a handler needs."""
    lists = choices(engine, values["base"])
    other: dict[str, Any] = {}
    prompt = gr.Textbox(values["prompt"], label=t("Prompt"), lines=2, max_lines=4, elem_id="prompt")
    negative_prompt = gr.Textbox(values["negative_prompt"], label=t("Negative prompt"), placeholder=t("empty"), lines=1)
    with gr.Row():
        other["go"] = gr.Button(t("Render"), variant="primary", scale=3, elem_id="render")
        other["stop"] = gr.Button(t("Stop"), scale=1, min_width=80)
    other["estimate"] = gr.HTML("", elem_classes="scale-note", padding=False)
    with gr.Group():
        omega = gr.Slider(
            0,
            15,
            values["omega"],
            step=0.1,
            label=t("ω · strength"),
            info=t("How far to move from the negative prediction towards the positive one."),
            elem_id="omega",
        )
        other["scale"] = gr.HTML(scale_note(values["omega"]), padding=False, elem_classes="in-group")
        alpha = gr.Slider(
            0,
            1,
            values["alpha"],
            step=0.05,
            label=t("α · positive offset in the negative"),
            info=t(
                "1 keeps both predictions alike where you want them alike; lower pushes away from the untuned model."
            ),
            elem_id="alpha",
        )
        beta = gr.Slider(
            -1,
            3,
            values["beta"],
            step=0.05,
            label=t("β · negative offset in the negative"),
            info=t("0 is plain CFG. More steers harder away from what the offset makes worse."),
            elem_id="beta",
        )
        other["diagram"] = gr.HTML("", elem_id="diagram", padding=False, elem_classes="in-group")
    with gr.Row():
        seed = gr.Number(values["seed"], label=t("First seed"), precision=0, minimum=0, min_width=90)
        other["seed_mode"] = gr.Radio(
            [(t("fixed"), "fixed"), (t("next"), "next"), (t("random"), "random")],
            value="fixed",
            label=t("After rendering"),
            min_width=150,
        )
        images = gr.Slider(1, 16, values["images"], step=1, label=t("Pairs"), min_width=110)
    with gr.Accordion(t("Model and offsets"), open=True):
        base = gr.Dropdown(lists["base"], value=values["base"] or None, label=t("Base model θ"))
        with gr.Row():
            negative = gr.Dropdown(
                lists["negative"], value=values["negative"] or "none", label=t("Negative offset δ"), min_width=140
            )
            positive = gr.Dropdown(
                lists["positive"], value=values["positive"] or "none", label=t("Positive offset η"), min_width=140
            )
    with gr.Accordion(t("More"), open=False):
        with gr.Row():
            steps = gr.Slider(1, 100, values["steps"], step=1, label=t("Steps"), min_width=140)
            scheduler = gr.Dropdown(
                lists["scheduler"], value=values["scheduler"] or "auto", label=t("Scheduler"), min_width=140
            )
        with gr.Row():
            height = gr.Number(values["height"], label=t("Height (0: the model's own)"), precision=0, min_width=130)
            width = gr.Number(values["width"], label=t("Width (0: the model's own)"), precision=0, min_width=130)
        split = gr.Slider(
            0,
            1,
            values["beta_split"],
            step=0.05,
            label=t("β acts down to noise level"),
            info=t("1 is pure noise, 0 the finished picture. Composition is decided early."),
        )
        late = gr.Slider(
            -1,
            2,
            values["beta_late"],
            step=0.05,
            label=t("β below that level, times"),
            info=t("0 is plain CFG for the rest of the way."),
        )
        other["betas"] = gr.Textbox(
            "",
            label=t("More columns: other values of β"),
            placeholder="0.5, 1, 1.5",
            info=t("Each is one more column."),
        )
        with gr.Row():
            frames = gr.Number(values["frames"], label=t("Frames (video; 0: its own)"), precision=0, min_width=130)
            fps = gr.Number(values["fps"], label=t("Frames a second"), precision=0, min_width=110)
        dynamic = gr.Checkbox(values["dynamic_guidance"], label=t("Guidance grows along the way (CogVideoX)"))
    with gr.Accordion(t("Input image"), open=False):
        gr.HTML(
            t("Begin from a picture. Paint over a part, and only that part is drawn anew."),
            elem_classes="scale-note",
            padding=False,
        )
        other["picture"] = gr.ImageEditor(
            type="pil",
            label=t("Picture"),
            show_label=False,
            brush=gr.Brush(default_size=12, colors=["#ffffff"], color_mode="fixed"),
            transforms=(),
            layers=False,
            height=300,
            elem_id="input-image",
        )
        strength = gr.Slider(
            0.05,
            1,
            values["strength"],
            step=0.05,
            label=t("Strength"),
            info=t("How far the picture is taken back to noise; 1 keeps nothing of it."),
        )
        with gr.Row():
            control = gr.Dropdown(
                lists["control"],
                value=values["control"] or "none",
                label=t("Control network"),
                info=t("A ControlNet or T2I-Adapter: the picture is then followed, not redrawn."),
                min_width=160,
            )
            control_scale = gr.Slider(0, 2, values["control_scale"], step=0.05, label=t("Control scale"), min_width=140)
    other["dropped"] = gr.File(
        label=t("Settings of a picture or video: drop it anywhere on the page"),
        file_types=[".png", ".mp4"],
        type="filepath",
        height=90,
        elem_id="dropped",
    )
    gr.HTML(
        t(
            "Plain CFG takes both predictions from the same weights. NPO gives the negative one weights of its own, "
            "θ + α·η + β·δ, where δ was trained to be worse: guidance then steers away from what people dislike."
        ),
        elem_id="meaning",
    )
    controls = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "omega": omega,
        "alpha": alpha,
        "beta": beta,
        "beta_split": split,
        "beta_late": late,
        "seed": seed,
        "images": images,
        "steps": steps,
        "scheduler": scheduler,
        "height": height,
        "width": width,
        "frames": frames,
        "fps": fps,
        "dynamic_guidance": dynamic,
        "strength": strength,
        "control_scale": control_scale,
        "control": control,
        "base": base,
        "positive": positive,
        "negative": negative,
    }
    return Fields(controls), other


def _results(keeps: bool) -> dict[str, Any]:
    """The right side of the tab."""
    parts: dict[str, Any] = {
        "status": gr.HTML(t("Ready. Press Render."), elem_classes="status", padding=False, elem_id="status")
    }
    with gr.Tabs():
        with gr.Tab(t("Side by side")):
            parts["sides"] = gr.Gallery(
                columns=2,
                height=500,
                object_fit="contain",
                show_label=False,
                elem_id="sides",
                preview=False,
                interactive=False,
                buttons=["download"],
            )
        with gr.Tab(t("Slider")):
            parts["pair"] = gr.ImageSlider(
                label=t("left: without · right: with"),
                elem_id="pair",
                height=500,
                interactive=False,
                type="filepath",
            )
        with gr.Tab(t("Flicker or play")):
            parts["flicker"] = gr.HTML("", elem_id="flicker")
        if keeps:
            with gr.Tab(t("History")) as parts["history_tab"]:
                with gr.Row():
                    parts["search"] = gr.Textbox(
                        "", show_label=False, placeholder=t("Search prompts, seeds, offsets"), scale=3, container=False
                    )
                    parts["starred"] = gr.Checkbox(False, label=t("Favourites only"), container=False, min_width=120)
                parts["past"] = gr.Gallery(
                    columns=6,
                    height=430,
                    object_fit="contain",
                    show_label=False,
                    elem_id="history",
                    interactive=False,
                    preview=False,
                )
                with gr.Row():
                    parts["star"] = gr.Button(t("Favourite"), size="sm", min_width=90)
                    parts["delete"] = gr.Button(t("Delete"), size="sm", min_width=90)
                    parts["undo"] = gr.Button(t("Undo delete"), size="sm", min_width=100, visible=False)
    with gr.Row():
        parts["which"] = gr.Slider(1, 2, 1, step=1, label=t("Pair"), visible=False, min_width=160)
        parts["reuse"] = gr.Button(t("Use these settings"), size="sm", min_width=140)
    with gr.Accordion(t("Settings of the chosen picture"), open=False):
        parts["told"] = gr.Code("", language="json", show_label=False, lines=6)
    return parts


def build(engine: Engine, opening: Mapping[str, Any], *, keeps: bool = True) -> CompareTab:
    """The tab, filled in and ready.

    Args:
        keeps: show the pictures of the workspace; off where strangers share it.
    """
    known = {choice.name: choice.path for choice in list_bases(engine.workspace)}
    base = opening.get("base") or next(iter(known), "")
    values = {**DEFAULTS, **(start_values(known[base]) if base in known else {}), "base": base, **opening}
    stops = Stops()
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            fields, other = _controls(engine, values)
        with gr.Column(scale=6, min_width=320):
            parts = _results(keeps)
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
            "without NPO",
            *(f"with NPO, β {c.beta:g}" if len(comparison.columns) > 2 else "with NPO" for c in comparison.columns[1:]),
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
                        shown.append((done.get(place, rough.get(place)), f"{name} · seed {pair_seed}"))
            return shown

        try:
            comparison = columns_of(comparison_of(fields.read(given), *_painted(picture)), betas)
            names = names_of(comparison)
            for event in engine.compare(comparison, cancelled=flag.is_set):
                if isinstance(event, Waiting):
                    yield (progress(event.reason, 0), *[keep] * 8)
                elif isinstance(event, Sampling):
                    places = [(column, s) for column in event.columns for s in comparison.seeds]
                    rough |= {place: _enlarged(image) for place, image in zip(places, event.images, strict=False)}
                    if event.step % 3 == 1 or event.step == event.steps:
                        left = f", {event.seconds_left:.0f} s left, {event.rate:.1f} steps/s" if event.step > 1 else ""
                        text = f"Step {event.step} of {event.steps}{left}"
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
            yield (t("Stopped."), *[keep] * 8)
            return
        groups = _groups(saved, comparison.seeds)
        records = [[(str(s.path), str(s.picture), names[s.column], s.settings) for s in group] for group in groups]
        text = f"Done. {comparison.columns[1].label()} beside plain CFG at the same ω. {' '.join(notes)}"
        if flag.is_set():
            text = "Stopped; what was finished is kept."
        following = {"next": comparison.seeds[-1] + 1, "random": random.randrange(2**31)}.get(mode, keep)
        yield (
            text,
            gr.Gallery(
                value=[(p, f"{name} · seed {told['seed']}") for group in records for p, _, name, told in group],
                columns=min(4, len(names)),
            ),
            _both(records[0]),
            _in_place(records[0]),
            gr.Slider(maximum=max(2, len(records)), value=1, visible=len(records) > 1),
            describe_settings(records[0][-1][3]),
            records,
            following,
            engine.estimate(comparison),
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
        return fields.fill(engine, _values_of(source))

    def dropped(path: str | None) -> list[Any]:
        if not path:
            return [gr.skip()] * (2 + len(controls))
        try:
            from pathlib import Path

            found = resolve(engine.workspace, read_preset(Path(path)))
        except StudioError as error:
            return [fault(error), None, *[gr.skip()] * len(controls)]
        said = " ".join(("The settings of the file are in the form.", *found.missing))
        return [said, None, *fields.fill(engine, found.values)]

    def base_changed(name: str) -> list[Any]:
        here = {choice.name: choice.path for choice in list_bases(engine.workspace)}
        start = start_values(here[name]) if name in here else {}
        own = {"scheduler": "", "height": 0, "width": 0, "frames": 0, "negative": "", "positive": ""}
        return fields.fill(engine, {**own, **start, "base": name})

    def estimate(betas: str, *given: Any) -> Any:
        try:
            return engine.estimate(columns_of(comparison_of(fields.read(given)), betas))
        except StudioError:
            return gr.skip()

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on(
        [other["go"].click, controls["prompt"].submit],
        render,
        [other["betas"], other["seed_mode"], other["picture"], *fields.all()],
        outputs,
        concurrency_id="gpu",
        concurrency_limit=1,
        show_progress="hidden",
        api_name="compare",
        trigger_mode="once",
    )
    _stop(other["stop"], stops)
    three = [controls[name] for name in ("omega", "alpha", "beta")]
    for control in three:
        control.change(None, three, [other["diagram"], other["scale"]], js=diagram.DRAW, api_visibility="private")
    for control in fields.all():
        control.change(None, fields.all(), None, js=KEEP, api_visibility="private")
    for name in ("images", "steps", "height", "width", "base"):
        controls[name].change(estimate, [other["betas"], *fields.all()], other["estimate"], **private)
    parts["which"].change(show_pair, [parts["which"], finished], [parts["pair"], parts["flicker"]], **private)
    parts["sides"].select(pick, finished, [parts["told"], chosen], **private)
    parts["reuse"].click(reuse, [chosen, finished], fields.all(), **private)
    emptied = [parts["status"], other["dropped"], *fields.all()]
    other["dropped"].upload(dropped, other["dropped"], emptied, **private)
    controls["base"].input(base_changed, controls["base"], fields.all(), **private)
    history = _history(engine, parts, chosen, away) if keeps else None

    def refresh(kept: str, request: gr.Request) -> list[Any]:
        link = str(dict(request.query_params).get("preset", ""))
        if link:
            return [*opened_by_link(engine, fields, link), gr.skip()]
        if opening:
            return [gr.skip(), *fields.fill(engine, values), gr.skip()]
        return [gr.skip(), *fields.restore(engine, kept), gr.skip()]

    return CompareTab(fields, parts["status"], refresh, remembered, history, [other["diagram"], other["scale"]])


def _painted(picture: dict[str, Any] | None) -> tuple[Any, Any]:
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


def opened_by_link(engine: Engine, fields: Fields, link: str) -> list[Any]:
    """A sentence and the form filled by a link. Nothing starts: the person presses Render."""
    from core.studio.presets import from_link

    try:
        preset = from_link(link)
        found = resolve(engine.workspace, preset)
    except StudioError as error:
        return [fault(error), *[gr.skip()] * len(fields.controls)]
    from html import escape

    said = f"The link's preset “{escape(preset.name or 'without a name')}” is in the form. Press Render to see it."
    return [" ".join((said, *(escape(text) for text in found.missing))), *fields.fill(engine, found.values)]


def _stop(button: gr.Button, stops: Stops) -> None:
    def halt(request: gr.Request) -> None:
        stops.of(request).set()

    button.click(halt, None, None, queue=False, api_visibility="private")


def _history(engine: Engine, parts: dict[str, Any], chosen: gr.State, away: gr.State) -> Callable[..., Any]:
    """The gallery of the workspace: search, favourites, delete with undo."""
    listed = gr.State([])

    def show(search: str, starred: bool) -> tuple[Any, Any]:
        found = pictures(engine.workspace, search or "", only_favourites=starred)
        return [(str(p.shown), p.caption) for p in found], [(p.shown.name, p.settings) for p in found]

    def pick(records: list[Any], event: gr.SelectData) -> tuple[Any, Any]:
        name, told = records[event.index] if event.index < len(records) else ("", {})
        return describe_settings(told), {**told, "_file": name}

    def star(told: dict[str, Any], search: str, starred: bool) -> tuple[Any, Any]:
        try:
            toggle_favourite(engine.workspace, told.get("_file", ""))
        except StudioError as error:
            raise gr.Error(str(error)) from error
        return show(search, starred)

    def delete(told: dict[str, Any], search: str, starred: bool) -> tuple[Any, ...]:
        try:
            gone = put_away(engine.workspace, told.get("_file", ""))
        except StudioError as error:
            raise gr.Error(str(error)) from error
        return (*show(search, starred), str(gone), gr.Button(visible=True))

    def undo(gone: str, search: str, starred: bool) -> tuple[Any, ...]:
        from pathlib import Path

        try:
            bring_back(engine.workspace, Path(gone))
        except StudioError as error:
            raise gr.Error(str(error)) from error
        return (*show(search, starred), "", gr.Button(visible=False))

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    asked = [parts["search"], parts["starred"]]
    outputs = [parts["past"], listed]
    parts["history_tab"].select(show, asked, outputs, **private)
    gr.on([parts["search"].submit, parts["starred"].change], show, asked, outputs, **private)
    parts["past"].select(pick, listed, [parts["told"], chosen], **private)
    parts["star"].click(star, [chosen, *asked], outputs, **private)
    parts["delete"].click(delete, [chosen, *asked], [*outputs, away, parts["undo"]], **private)
    parts["undo"].click(undo, [away, *asked], [*outputs, away, parts["undo"]], **private)
    return show


def _values_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's settings as Compare's values, one pair."""
    values = known_values(settings)
    size = str(settings.get("size", "")).split("x")
    if "model" in settings:
        values["base"] = settings["model"]
    if len(size) == 2 and all(part.isdigit() for part in size) and "frames" not in settings and "grid" not in settings:
        values |= {"width": int(size[0]), "height": int(size[1])}
    return {**values, "images": 1} if values else {}


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
