"""The form of Compare and the places of its results: components alone, nothing happens here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.page.fields import LABELS, Fields, choices, options
from app.page.html import scale_note
from app.page.text import label
from core.studio.comparing.engine import Engine


def make_form(engine: Engine, values: Mapping[str, Any]) -> tuple[Fields, dict[str, Any]]:
    """The left side of the tab: the fields, and the other things a handler needs."""
    lists = choices(engine, values["base"])
    other: dict[str, Any] = {}
    prompt = gr.Textbox(values["prompt"], label=label(LABELS["prompt"]), lines=2, max_lines=4, elem_id="prompt")
    negative_prompt = gr.Textbox(
        values["negative_prompt"], label=label(LABELS["negative_prompt"]), placeholder=label("empty"), lines=1
    )
    with gr.Row():
        other["go"] = gr.Button(label("Render"), variant="primary", scale=3, elem_id="render")
        other["stop"] = gr.Button(label("Stop"), scale=1, min_width=80)
    other["estimate"] = gr.HTML("", elem_classes="scale-note", padding=False)
    with gr.Group():
        omega = gr.Slider(
            0,
            15,
            values["omega"],
            step=0.1,
            label=label(LABELS["omega"]),
            info=label("How far to move from the negative prediction towards the positive one."),
            elem_id="omega",
        )
        other["scale"] = gr.HTML(scale_note(values["omega"]), padding=False, elem_classes="in-group")
        alpha = gr.Slider(
            0,
            1,
            values["alpha"],
            step=0.05,
            label=label(LABELS["alpha"]),
            info=label(
                "1 keeps both predictions alike where you want them alike; lower pushes away from the untuned model."
            ),
            elem_id="alpha",
        )
        beta = gr.Slider(
            -1,
            3,
            values["beta"],
            step=0.05,
            label=label(LABELS["beta"]),
            info=label("0 is plain CFG. More steers harder away from what the offset makes worse."),
            elem_id="beta",
        )
        other["diagram"] = gr.HTML("", elem_id="diagram", padding=False, elem_classes="in-group")
    with gr.Row():
        seed = gr.Number(values["seed"], label=label(LABELS["seed"]), precision=0, minimum=0, min_width=130)
        images = gr.Slider(1, 16, values["images"], step=1, label=label(LABELS["images"]), min_width=180)
    other["seed_mode"] = gr.Radio(
        [(label("fixed"), "fixed"), (label("next"), "next"), (label("random"), "random")],
        value="fixed",
        label=label("After rendering"),
    )
    with gr.Accordion(label("Model and offsets"), open=True):
        base = gr.Dropdown(options(lists["base"]), value=values["base"] or None, label=label(LABELS["base"]))
        with gr.Row():
            negative = gr.Dropdown(
                options(lists["negative"]),
                value=values["negative"] or "none",
                label=label(LABELS["negative"]),
                min_width=140,
            )
            positive = gr.Dropdown(
                options(lists["positive"]),
                value=values["positive"] or "none",
                label=label(LABELS["positive"]),
                min_width=140,
            )
    with gr.Accordion(label("More"), open=False):
        with gr.Row():
            steps = gr.Slider(1, 100, values["steps"], step=1, label=label(LABELS["steps"]), min_width=140)
            scheduler = gr.Dropdown(
                options(lists["scheduler"]),
                value=values["scheduler"] or "auto",
                label=label(LABELS["scheduler"]),
                min_width=140,
            )
        with gr.Row():
            height = gr.Number(values["height"], label=label(LABELS["height"]), precision=0, min_width=130)
            width = gr.Number(values["width"], label=label(LABELS["width"]), precision=0, min_width=130)
        split = gr.Slider(
            0,
            1,
            values["beta_split"],
            step=0.05,
            label=label(LABELS["beta_split"]),
            info=label("1 is pure noise, 0 the finished picture. Composition is decided early."),
        )
        late = gr.Slider(
            -1,
            2,
            values["beta_late"],
            step=0.05,
            label=label(LABELS["beta_late"]),
            info=label("0 is plain CFG for the rest of the way."),
        )
        other["betas"] = gr.Textbox(
            "",
            label=label("More columns: other values of β"),
            placeholder="0.5, 1, 1.5",
            info=label("Each is one more column."),
        )
        with gr.Row():
            frames = gr.Number(values["frames"], label=label(LABELS["frames"]), precision=0, min_width=130)
            fps = gr.Number(values["fps"], label=label(LABELS["fps"]), precision=0, min_width=110)
        dynamic = gr.Checkbox(values["dynamic_guidance"], label=label(LABELS["dynamic_guidance"]))
    with gr.Accordion(label("Input image"), open=False):
        gr.HTML(
            label("Begin from a picture. Paint over a part, and only that part is drawn anew."),
            elem_classes="scale-note",
            padding=False,
        )
        other["picture"] = gr.ImageEditor(
            type="pil",
            label=label("Picture"),
            show_label=False,
            brush=gr.Brush(default_size=12, colors=["#ffffff"], color_mode="fixed"),
            transforms=(),
            layers=False,
            height=300,
            elem_id="input-image",
        )
        other["arrived"] = gr.HTML("", elem_classes="scale-note", padding=False, elem_id="arrived")
        strength = gr.Slider(
            0.05,
            1,
            values["strength"],
            step=0.05,
            label=label(LABELS["strength"]),
            info=label("How far the picture is taken back to noise; 1 keeps nothing of it."),
        )
        with gr.Row():
            control = gr.Dropdown(
                options(lists["control"]),
                value=values["control"] or "none",
                label=label(LABELS["control"]),
                info=label("A ControlNet or T2I-Adapter: the picture is then followed, not redrawn."),
                min_width=160,
            )
            control_scale = gr.Slider(
                0, 2, values["control_scale"], step=0.05, label=label(LABELS["control_scale"]), min_width=140
            )
    other["dropped"] = gr.File(
        label=label("Settings of a picture or video: drop it anywhere on the page"),
        file_types=[".png", ".mp4"],
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
