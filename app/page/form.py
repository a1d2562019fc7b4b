"""The form of Compare and the places of its results: components alone, nothing happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import gradio as gr

from app.page.fields import Fields, choices, nothing, options
from app.page.html import scale_note
from app.page.text import label
from core.generation.settings import FIELDS, Setting
from core.studio.comparing.engine import Engine


def make_control(about: Setting, value: Any, names: list[str]) -> Any:
    """The control of a setting, as its declaration says.

    Args:
        names: what it is chosen from, where it is chosen from a list.
    """
    shared: dict[str, Any] = {
        "label": label(about.label),
        "info": label(about.help) if about.explained else None,
        "elem_id": about.name,
    }
    if about.lists:
        empty = None if about.lists == "base" else nothing(about.name)
        return gr.Dropdown(options(names), value=value or empty, min_width=140, **shared)
    if about.kind is bool:
        return gr.Checkbox(value, **shared)
    if about.kind is str and about.name == "prompt":
        return gr.Textbox(value, lines=2, max_lines=4, **shared)
    if about.kind is str:
        return gr.Textbox(value, lines=1, placeholder=label("empty"), **shared)
    if about.step:
        return gr.Slider(*about.range, value, step=about.step, min_width=140, **shared)
    # no bounds here: a number outside the range is refused in a sentence that names the setting
    return gr.Number(value, precision=0 if about.kind is int else None, min_width=130, **shared)


class _Form:
    """The controls made so far, group by group."""

    def __init__(self, engine: Engine, values: Mapping[str, Any]) -> None:
        self.values, self.lists = values, choices(engine, values["base"])
        self.controls: dict[str, Any] = {}

    def make(self, name: str) -> None:
        """One control."""
        self.controls[name] = make_control(FIELDS[name], self.values[name], self.lists.get(name, []))

    def group(self, group: str, after: Mapping[str, Callable[[], None]] | None = None) -> None:
        """All settings of a group: the wide ones in a row each, two of the others beside each other.

        Args:
            after: what is drawn below a setting's row.
        """
        rows: list[list[str]] = []
        for name, about in FIELDS.items():
            if about.group == group:
                beside = not about.wide and rows and len(rows[-1]) == 1 and not FIELDS[rows[-1][0]].wide
                rows = [*rows[:-1], [*rows[-1], name]] if beside else [*rows, [name]]
        for names in rows:
            with gr.Row() if len(names) > 1 else nullcontext():
                for name in names:
                    self.make(name)
            if after and names[-1] in after:
                after[names[-1]]()


def make_form(engine: Engine, values: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """The left side of the tab: the fields, and the other things a handler needs."""
    form, other = _Form(engine, values), {}

    def scale() -> None:
        other["scale"] = gr.HTML(scale_note(values["omega"]), padding=False, elem_classes="in-group")

    form.group("top")
    with gr.Row():
        other["go"] = gr.Button(label("Render"), variant="primary", scale=3, elem_id="render")
        other["stop"] = gr.Button(label("Stop"), scale=1, min_width=80)
    other["estimate"] = gr.HTML("", elem_classes="scale-note", padding=False)
    with gr.Group():
        form.group("guidance", after={"omega": scale})
        other["diagram"] = gr.HTML("", elem_id="diagram", padding=False, elem_classes="in-group")
    form.group("seeds")
    other["seed_mode"] = gr.Radio(
        [(label("fixed"), "fixed"), (label("next"), "next"), (label("random"), "random")],
        value="fixed",
        label=label("After rendering"),
    )
    with gr.Accordion(label("Model and offsets"), open=True):
        form.group("model")
    with gr.Accordion(label("More"), open=False):
        form.group("more")
        form.group("schedule")
        other["betas"] = gr.Textbox(
            "",
            label=label("More columns: other values of β"),
            placeholder="0.5, 1, 1.5",
            info=label("Each is one more column."),
        )
        form.group("video")
    with gr.Accordion(label("Input image"), open=False):
        other |= _input_image()
        form.group("input")
    other["dropped"] = gr.File(
        label=label("Settings of a picture or video: drop it anywhere on the page"),
        file_types=[".png", ".jpg", ".jpeg", ".webp", ".mp4"],
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
    return Fields({name: form.controls[name] for name in FIELDS}), other


def _input_image() -> dict[str, Any]:
    gr.HTML(
        label("Begin from a picture. Paint over a part, and only that part is drawn anew."),
        elem_classes="scale-note",
        padding=False,
    )
    picture = gr.ImageEditor(
        type="pil",
        label=label("Picture"),
        show_label=False,
        brush=gr.Brush(default_size=12, colors=["#ffffff"], color_mode="fixed"),
        transforms=(),
        layers=False,
        height=300,
        elem_id="input-image",
    )
    return {
        "picture": picture,
        "arrived": gr.HTML("", elem_classes="scale-note", padding=False, elem_id="arrived"),
    }


def make_results(persistent: bool) -> dict[str, Any]:
    """The right side of the tab."""
    parts: dict[str, Any] = {
        "status": gr.HTML(label("Ready. Press Render."), elem_classes="status", padding=False, elem_id="status")
    }
    with gr.Tabs():
        with gr.Tab(label("Side by side")):
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
        with gr.Tab(label("Slider")):
            parts["pair"] = gr.ImageSlider(
                label=label("left: without · right: with"),
                elem_id="pair",
                height=500,
                interactive=False,
                type="filepath",
            )
        with gr.Tab(label("Flicker or play")):
            parts["flicker"] = gr.HTML("", elem_id="flicker")
        if persistent:
            with gr.Tab(label("History")) as parts["history_tab"]:
                with gr.Row():
                    parts["search"] = gr.Textbox(
                        "",
                        show_label=False,
                        placeholder=label("Search prompts, seeds, offsets"),
                        scale=3,
                        container=False,
                    )
                    parts["starred"] = gr.Checkbox(
                        False, label=label("Favourites only"), container=False, min_width=120
                    )
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
                    parts["star"] = gr.Button(label("Favourite"), size="sm", min_width=90)
                    parts["delete"] = gr.Button(label("Delete"), size="sm", min_width=90)
                    parts["undo"] = gr.Button(label("Undo delete"), size="sm", min_width=100, visible=False)
    with gr.Row():
        parts["which"] = gr.Slider(1, 2, 1, step=1, label=label("Pair"), visible=False, min_width=160)
        parts["reuse"] = gr.Button(label("Use these settings"), size="sm", min_width=140)
    with gr.Accordion(label("Settings of the chosen picture"), open=False):
        parts["told"] = gr.Code("", show_label=False, show_line_numbers=False, lines=6)
    return parts


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
