"""Compare: one prompt, the same seeds, without and with negative preference optimisation."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.page.words import fault, progress, scale_note
from core.errors import StudioError
from core.studio.bases import list_bases, list_offsets, start_values
from core.studio.engine import Engine, Sampling, Saved, Waiting, describe_settings
from core.studio.values import DEFAULTS, comparison_of

MEANING = (
    "The <b>positive</b> prediction (towards the prompt) and the <b>negative</b> one (what to steer away from) pull "
    "apart by ω. Plain CFG takes both from the same weights. NPO gives the negative one weights of its own: "
    "θ + α·η + β·δ, where δ was trained to be worse."
)
NAMES = ("without NPO", "with NPO")
HISTORY = 60
SAMPLERS = ("dpmsolver++", "ddim", "euler", "unipc")


@dataclass(frozen=True)
class CompareTab:
    """What other tabs may touch."""

    negative: gr.Dropdown
    lists: list[gr.Dropdown]
    refresh: Callable[[], tuple[Any, ...]]


def offset_names(engine: Engine) -> list[str]:
    """Offsets to choose from, and none."""
    return ["none", *(choice.name for choice in list_offsets(engine.workspace))]


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


def build(engine: Engine, opening: dict[str, Any]) -> CompareTab:
    """The tab, filled in and ready."""
    bases = [choice.name for choice in list_bases(engine.workspace)]
    first = {choice.name: choice.path for choice in list_bases(engine.workspace)}
    base = opening.get("base") or (bases[0] if bases else "")
    values = {**DEFAULTS, **(start_values(first[base]) if base in first else {}), "base": base, **opening}
    offsets = offset_names(engine)
    stops = Stops()

    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            prompt = gr.Textbox(values["prompt"], label="Prompt", lines=2, max_lines=4)
            negative_prompt = gr.Textbox(
                values["negative_prompt"], label="Negative prompt", placeholder="empty", lines=1
            )
            with gr.Row():
                go = gr.Button("Render the pair", variant="primary", scale=3)
                stop = gr.Button("Stop", scale=1, min_width=80)
            with gr.Group():
                omega = gr.Slider(
                    0,
                    15,
                    values["omega"],
                    step=0.1,
                    label="ω · strength",
                    info="How far to move from the negative prediction towards the positive one.",
                )
                scale = gr.HTML(scale_note(values["omega"]))
                alpha = gr.Slider(
                    0,
                    1,
                    values["alpha"],
                    step=0.05,
                    label="α · positive offset in the negative",
                    info="1 keeps both predictions alike where you want them alike; lower pushes away from the untuned model.",
                )
                beta = gr.Slider(
                    -1,
                    3,
                    values["beta"],
                    step=0.05,
                    label="β · negative offset in the negative",
                    info="0 is plain CFG. More steers harder away from what the offset makes worse.",
                )
            with gr.Row():
                seed = gr.Number(values["seed"], label="First seed", precision=0, minimum=0, min_width=100)
                images = gr.Slider(1, 16, values["images"], step=1, label="Pairs", min_width=120)
                dice = gr.Button("New seed", min_width=90)
            with gr.Accordion("Model and offsets", open=True):
                base_box = gr.Dropdown(bases, value=base or None, label="Base model θ")
                with gr.Row():
                    negative = gr.Dropdown(
                        offsets, value=values["negative"] or "none", label="Negative offset δ", min_width=140
                    )
                    positive = gr.Dropdown(
                        offsets, value=values["positive"] or "none", label="Positive offset η", min_width=140
                    )
            with gr.Accordion("More", open=False):
                with gr.Row():
                    steps = gr.Slider(1, 100, values["steps"], step=1, label="Steps", min_width=140)
                    scheduler = gr.Dropdown(list(SAMPLERS), value=values["scheduler"], label="Scheduler", min_width=140)
                with gr.Row():
                    height = gr.Number(
                        values["height"], label="Height (0: the model's own)", precision=0, min_width=140
                    )
                    width = gr.Number(values["width"], label="Width (0: the model's own)", precision=0, min_width=140)
                split = gr.Slider(
                    0,
                    1,
                    values["beta_split"],
                    step=0.05,
                    label="β acts down to noise level",
                    info="1 is pure noise, 0 the finished picture. Composition is decided early.",
                )
                late = gr.Slider(
                    -1,
                    2,
                    values["beta_late"],
                    step=0.05,
                    label="β below that level, times",
                    info="0 is plain CFG for the rest of the way.",
                )
            gr.HTML(MEANING, elem_id="meaning")
        with gr.Column(scale=6, min_width=320):
            status = gr.HTML("Ready. Press <b>Render the pair</b>.", elem_classes="status")
            with gr.Tabs():
                with gr.Tab("Side by side"):
                    sides = gr.Gallery(
                        columns=2,
                        height=500,
                        object_fit="contain",
                        show_label=False,
                        elem_id="sides",
                        preview=False,
                        interactive=False,
                        buttons=["download"],
                    )
                with gr.Tab("Slider"):
                    pair = gr.ImageSlider(
                        label="left: without · right: with",
                        elem_id="pair",
                        height=520,
                        interactive=False,
                        type="filepath",
                    )
                    which = gr.Slider(1, 2, 1, step=1, label="Pair", visible=False)
                with gr.Tab("This session"):
                    history = gr.Gallery(
                        columns=6,
                        height=520,
                        object_fit="contain",
                        show_label=False,
                        elem_id="history",
                        interactive=False,
                    )
            with gr.Accordion("Settings of the chosen picture", open=False):
                told = gr.Code("", language="json", show_label=False, lines=6)

    finished = gr.State([])
    past = gr.State([])
    fields = {
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
        "base": base_box,
        "positive": positive,
        "negative": negative,
    }
    outputs = [status, sides, pair, which, told, finished, past, history]

    def render(earlier: list[Any], request: gr.Request, *given: Any) -> Iterator[tuple[Any, ...]]:
        keep = gr.skip()
        flag = stops.of(request)
        flag.clear()
        saved: list[Saved] = []
        rough: dict[tuple[int, int], Any] = {}

        def cells() -> list[tuple[Any, str]]:
            done = {(s.column, s.seed): str(s.path) for s in saved}
            shown = []
            for pair_seed in comparison.seeds:
                for column in (0, 1):
                    place = (column, pair_seed)
                    if place in done or place in rough:
                        shown.append((done.get(place, rough.get(place)), f"{NAMES[column]} · seed {pair_seed}"))
            return shown

        try:
            told_values = dict(zip(fields, given, strict=True))
            for name in ("positive", "negative"):
                told_values[name] = "" if told_values[name] in (None, "none") else told_values[name]
            for name in ("seed", "height", "width", "images", "steps"):
                told_values[name] = told_values[name] or 0
            told_values["base"] = told_values["base"] or ""
            comparison = comparison_of(told_values)
            for event in engine.compare(comparison, cancelled=flag.is_set):
                if isinstance(event, Waiting):
                    yield (progress(event.reason, 0), *[keep] * 7)
                elif isinstance(event, Sampling):
                    places = [(column, s) for column in event.columns for s in comparison.seeds]
                    rough |= {place: _enlarged(image) for place, image in zip(places, event.images, strict=False)}
                    if event.step % 3 == 1 or event.step == event.steps:
                        text = f"Step {event.step} of {event.steps}"
                        yield (progress(text, event.step / event.steps), cells(), *[keep] * 6)
                elif isinstance(event, Saved):
                    saved.append(event)
        except StudioError as error:
            yield (fault(error), *[keep] * 7)
            return
        if not saved:
            yield ("Stopped.", *[keep] * 7)
            return
        pairs = _pairs(saved, comparison.seeds)
        records = [(str(s.path), f"{NAMES[s.column]} · seed {s.seed}", s.settings) for p in pairs for s in p]
        past_now = [*records, *earlier][:HISTORY]
        text = f"{comparison.columns[1].label()} beside plain CFG at the same ω. Kept in the outputs folder."
        yield (
            f"Done. {text}",
            [(path, name) for path, name, _ in records],
            _both(pairs[0]),
            gr.Slider(maximum=max(2, len(pairs)), value=1, visible=len(pairs) > 1),
            describe_settings(pairs[0][-1].settings),
            records,
            past_now,
            [(path, name) for path, name, _ in past_now],
        )

    def halt(request: gr.Request) -> None:
        stops.of(request).set()

    def show_pair(number: float, records: list[Any]) -> Any:
        at = 2 * (int(number) - 1)
        return (records[at][0], records[at + 1][0]) if at >= 0 and at + 1 < len(records) else gr.skip()

    def chosen(records: list[Any], event: gr.SelectData) -> Any:
        return describe_settings(records[event.index][2]) if event.index < len(records) else gr.skip()

    def base_changed(name: str) -> tuple[Any, ...]:
        known = {choice.name: choice.path for choice in list_bases(engine.workspace)}
        start = start_values(known[name]) if name in known else {}
        return tuple(start.get(field, gr.skip()) for field in ("prompt", "omega", "beta", "negative"))

    def lists() -> tuple[Any, Any, Any]:
        names = offset_names(engine)
        here = [choice.name for choice in list_bases(engine.workspace)]
        return gr.Dropdown(choices=here), gr.Dropdown(choices=names), gr.Dropdown(choices=names)

    gr.on(
        [go.click, prompt.submit],
        render,
        [past, *fields.values()],
        outputs,
        concurrency_id="gpu",
        concurrency_limit=1,
        show_progress="hidden",
        api_name="compare",
        trigger_mode="once",
    )
    stop.click(halt, None, None, queue=False, api_visibility="private")
    omega.input(None, omega, scale, js=_SCALE_SCRIPT, api_visibility="private")
    dice.click(lambda: random.randrange(2**31), None, seed, queue=False, api_visibility="private")
    which.change(show_pair, [which, finished], pair, api_visibility="private", show_progress="hidden")
    sides.select(chosen, finished, told, api_visibility="private", show_progress="hidden")
    history.select(chosen, past, told, api_visibility="private", show_progress="hidden")
    base_box.input(base_changed, base_box, [prompt, omega, beta, negative], api_visibility="private")
    return CompareTab(negative, [base_box, negative, positive], lists)


def _pairs(saved: list[Saved], seeds: tuple[int, ...]) -> list[list[Saved]]:
    """Finished pictures seed by seed, without before with."""
    by_seed = [sorted((s for s in saved if s.seed == seed), key=lambda s: s.column) for seed in seeds]
    return [pair for pair in by_seed if pair]


def _both(pair: list[Saved]) -> Any:
    return (str(pair[0].path), str(pair[-1].path))


_SCALE_SCRIPT = (
    '(omega) => `<div class="scale-note">ω ${+(+omega).toFixed(2)} is the CFG scale '
    "<b>${+(+omega + 1).toFixed(2)}</b> of other programs.</div>`"
)
"""The same sentence as `scale_note`, without asking the server."""
