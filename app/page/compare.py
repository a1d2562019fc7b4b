"""Compare: one prompt, the same seeds, without and with negative preference optimisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import gradio as gr

from app.page import compare_actions as actions
from app.page import examples, guidance, history, proposal, share, strength, waiting
from app.page.fields import filled
from app.page.form import make_controls, rows
from app.page.html import scale_note
from app.page.text import label
from app.page.views import CHOOSE, board
from app.page.wiring import QUICK, RENDERING, Changes, CompareTab, Stops
from core.studio.comparing.engine import Engine
from core.studio.comparing.settings import opening_values

FIRST = "window.selfNpoFirst = localStorage.getItem('self-npo-compare') || '';"
RECALL = """() => {
  const first = window.selfNpoFirst;
  window.selfNpoFirst = null;
  return first ?? (localStorage.getItem('self-npo-compare') || '');
}"""
"""The browser keeps what Compare was set to; the server is not asked. What it kept is read in the page's head, before the
fields are there: they would keep their opening values, and these would come back over a quick person's first change."""
DICE = "() => -1"
FIRST_OF_GUIDANCE = ("omega", "beta", "hold_dose", "alpha", "quality")
ALPHA_RESTS = "α rests: it acts on a positive offset, and none is chosen."


def _place(parts: dict[str, Any], group: str, leave: tuple[str, ...] = ()) -> None:
    """The controls of a group that are not placed yet."""
    for row in rows(group):
        names = [name for name in row if name not in leave]
        with gr.Row() if len(names) > 1 else nullcontext():
            for name in names:
                parts[name].render()


def _seeds(parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes="tight", elem_id="seeds"):
        parts["images"].render()
        parts["seed"].render()
        _place(parts, "seeds", ("images", "seed"))
        with gr.Column(min_width=84, scale=0, elem_classes="stacked"):
            parts["dice"] = gr.Button(label("Random"), size="sm", min_width=84, elem_id="dice")
            parts["again"] = gr.Button(label("Last seed"), size="sm", min_width=84, elem_id="again", interactive=False)


def _guidance(parts: dict[str, Any], engine: Engine, values: Mapping[str, Any]) -> None:
    with gr.Group(elem_id="guidance"):
        for name in FIRST_OF_GUIDANCE[:2]:  # the two that the drawing follows most, with it above the fold
            parts[name].render()
        parts["diagram"] = gr.HTML("", elem_id="diagram", padding=False, elem_classes="in-group")
        parts["scale"] = gr.HTML(scale_note(values["omega"]), padding=False, elem_classes="in-group")
        for name in FIRST_OF_GUIDANCE[2:]:
            parts[name].render()
        gr.HTML(label(ALPHA_RESTS), elem_id="alpha-rests", padding=False, elem_classes="scale-note in-group")
        guidance.place(parts)
        _place(parts, "guidance", (*FIRST_OF_GUIDANCE, "guidance"))
        guidance.place_dose(parts, engine, values["negative"])


def _more(parts: dict[str, Any], persistent: bool) -> None:
    with gr.Accordion(label("Model and offsets"), open=True):
        _place(parts, "model")
        if persistent:
            strength.place(parts)
    with gr.Accordion(label("More"), open=False):
        _place(parts, "more")
        _place(parts, "schedule")
        _place(parts, "treatment")
        parts["betas"] = gr.Textbox(
            "",
            label=label("More columns: other values of β"),
            placeholder="0.5, 1, 1.5",
            info=label("Each is one more column."),
        )
        parts["seed_mode"] = gr.Radio(
            [(label("the same"), "fixed"), (label("the next"), "next")],
            value="fixed",
            label=label("First seed after rendering"),
        )
        _place(parts, "video")
    with gr.Accordion(label("Input image"), open=False):
        gr.HTML(
            label("Start from a picture. Paint over a part to redraw only that part."),
            elem_classes="scale-note",
            padding=False,
        )
        parts["picture"] = gr.ImageEditor(
            type="pil",
            label=label("Picture"),
            show_label=False,
            brush=gr.Brush(default_size=12, colors=["#ffffff"], color_mode="fixed"),
            transforms=(),
            layers=False,
            height=300,
            elem_id="input-image",
        )
        parts["arrived"] = gr.HTML("", elem_classes="scale-note", padding=False, elem_id="arrived")
        _place(parts, "input")
    parts["dropped"] = gr.File(
        label=label("Settings of a picture or video: drop it anywhere on the page"),
        file_types=[".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4"],
        type="filepath",
        height=90,
        elem_id="dropped",
        elem_classes="drop-file",
    )
    gr.HTML(
        label(
            "Plain CFG takes both predictions from the same weights. NPO gives the negative one weights of its own, "
            "θ + α·η + β·δ, where δ was trained to be worse: guidance then steers away from what people dislike."
        ),
        elem_id="meaning",
    )


def _results(parts: dict[str, Any], persistent: bool) -> None:
    parts["status"] = gr.HTML(
        label("Same prompt, same seed. Press Render for your own."),
        elem_classes="status",
        padding=False,
        elem_id="status",
    )
    pairs = actions.opening_pairs()
    with gr.Tabs(elem_id="views"):
        with gr.Tab(label("Side by side")):
            parts["sides"] = gr.HTML(board(pairs), elem_id="sides", padding=False, js_on_load=CHOOSE)
        with gr.Tab(label("Slider")):
            parts["slide"] = gr.HTML("", elem_id="pair", padding=False)
        with gr.Tab(label("Flicker or play")):
            parts["flicker"] = gr.HTML("", elem_id="flicker", padding=False)
        if persistent:
            with gr.Tab(label("History")) as parts["history_tab"]:
                history.place(parts)
    with gr.Row(elem_classes="tight actions"):
        parts["reuse"] = gr.Button(label("Use these settings"), size="sm", min_width=140, interactive=False)
        parts["share"] = gr.Button(label("Share this pair"), size="sm", min_width=140, interactive=False)
    share.place(parts)
    with gr.Accordion(label("Settings of the chosen picture"), open=False):
        parts["facts"] = gr.Code("", show_label=False, show_line_numbers=False, lines=6)


def build(engine: Engine, opening: Mapping[str, Any], *, persistent: bool = True) -> CompareTab:
    """The tab, filled in and ready.

    Args:
        persistent: show the pictures of the workspace; off where strangers share it.
    """
    values = opening_values(engine.workspace, opening)
    fields = make_controls(engine, values)
    parts: dict[str, Any] = dict(fields.controls)
    with gr.Row(equal_height=False, elem_id="compare"):
        with gr.Column(scale=4, min_width=320, elem_id="settings-side", elem_classes="side"):
            with gr.Column(elem_id="compose"):
                parts["prompt"].render()
                parts["examples"] = gr.HTML(examples.line(engine, values["base"]), elem_id="examples", padding=False)
                with gr.Row(elem_classes="tight"):
                    parts["go"] = gr.Button(label("Render"), variant="primary", scale=3, elem_id="render")
                    parts["later"] = gr.Button(
                        label("Queue"), scale=1, min_width=70, interactive=False, elem_id="later"
                    )
                    parts["stop"] = gr.Button(label("Stop"), scale=1, min_width=64, interactive=False, elem_id="stop")
                parts["waiting"] = gr.HTML("", padding=False, elem_id="waiting", js_on_load=waiting.ASK)
                parts["estimate"] = gr.HTML("", elem_classes="scale-note", padding=False, elem_id="estimate")
            with gr.Column(elem_id="adjust"):
                _seeds(parts)
                _guidance(parts, engine, values)
                _place(parts, "top", ("prompt",))
                _more(parts, persistent)
        with gr.Column(scale=6, min_width=320, elem_id="results"):
            _results(parts, persistent)
    parts |= {
        "records": gr.State([]),
        "chosen": gr.State(None),
        "former": gr.State(values["base"]),
        "own": gr.State({}),
        "last_seed": gr.State(None),
        "loading": gr.Timer(2.0, active=False),
        "remembered": gr.Textbox("", visible="hidden"),
    }
    proposal.place(parts)
    tab = CompareTab(parts, fields=fields)
    _wire(tab, engine)
    if persistent:
        history.wire(tab, engine)
        strength.wire(tab, engine)
    share.wire(tab, engine)
    proposal.wire(tab, engine)
    return tab


def _wire(tab: CompareTab, engine: Engine) -> None:
    parts, fields = tab.parts, tab.fields
    names = list(fields.controls)
    stops, lists = Stops(), waiting.WaitingLists()

    def render(betas: str, mode: str, picture: Any, request: gr.Request, *inputs: Any) -> Iterator[Changes]:
        flag = stops.of(request)
        first = waiting.Job(fields.read(inputs), betas, picture)
        yield from waiting.render_all(engine, first, mode, lists.of(request), flag.is_set, flag.clear)

    def render_later(betas: str, picture: Any, request: gr.Request, *inputs: Any) -> Changes:
        return waiting.enqueue(lists.of(request), waiting.Job(fields.read(inputs), betas, picture))

    def change_waiting(request: gr.Request, event: gr.SelectData) -> Changes:
        return waiting.change(lists.of(request), event.index, event.value)

    def base_changed(former: str, own: dict[str, Any], *inputs: Any) -> Changes:
        changes, own, line = actions.base_changed(engine, fields.read(inputs), former, own)
        return {
            **filled(engine, fields, changes),
            "own": own,
            "status": line,
            "examples": examples.line(engine, changes["base"]),
        }

    def reuse(chosen: Any) -> Changes:
        return filled(engine, fields, actions.values_of(chosen[1].settings)) if chosen else {}

    def pick(records: list[Any], event: gr.SelectData) -> Changes:
        return actions.choose(records, int(event.index))

    rendered = [*actions.RENDERED, *actions.BUTTONS, "waiting"]
    tab.on(
        [parts["go"].click, parts["prompt"].submit],
        render,
        ["betas", "seed_mode", "picture", *names],
        rendered,
        api_name="compare",
        **RENDERING,
    )
    tab.on(parts["stop"].click, stops.halt, **QUICK)
    tab.on(parts["later"].click, render_later, ["betas", "picture", *names], ["status", "waiting"], **QUICK)
    tab.on(parts["waiting"].select, change_waiting, (), ["waiting"], **QUICK)
    tab.on(parts["dice"].click, None, (), ["seed"], js=DICE, api_visibility="private")
    tab.on(parts["again"].click, lambda seed: {"seed": seed}, ["last_seed"], ["seed"], **QUICK)
    tab.on(parts["last_seed"].change, lambda: {"again": gr.update(interactive=True)}, (), ["again"], **QUICK)
    guidance.wire(tab, engine)
    for name in names:
        tab.on(parts[name].change, None, names, js=fields.keeping(), api_visibility="private")
    editor = parts["picture"]
    tab.on([editor.change, editor.input, editor.upload], actions.input_line, ["picture"], ["arrived"], **QUICK)
    steady = [name for name in names if parts[name] in fields.steady()]

    def estimate(betas: str, *inputs: Any) -> Changes:
        return actions.estimate(engine, fields.read(inputs), betas)

    tab.on(
        [parts[name].change for name in ("images", "steps", "height", "width", "base", "guidance")],
        estimate,
        ["betas", *steady],
        ["estimate"],
        **QUICK,
    )
    tab.on(parts["loading"].tick, *opening_estimate(engine, tab), **QUICK)
    tab.on(parts["sides"].select, pick, ["records"], [*actions.RENDERED, "reuse", "share"], **QUICK)
    tab.on(parts["reuse"].click, reuse, ["chosen"], [*names, "former"], **QUICK)
    tab.on(
        parts["base"].input,
        base_changed,
        ["former", "own", *names],
        [*names, "former", "own", "status", "examples"],
        **QUICK,
    )


def opening_estimate(engine: Engine, tab: CompareTab) -> tuple[Any, list[str], list[str]]:
    """The estimate, asked for until the engine is warm, as the arguments of an event."""
    fields = tab.fields

    def act(betas: str, *inputs: Any) -> Changes:
        return actions.opening_estimate(engine, fields.read(inputs), betas)

    steady = [name for name, control in fields.controls.items() if control in fields.steady()]
    return act, ["betas", *steady], ["estimate", "loading"]
