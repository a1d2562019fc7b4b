"""The choice of guidance in Compare: a sentence for each form, the fields that it uses, β that follows ω, and what needs no training.

All of it follows the fields in the browser, without a request; only the dose of another offset is asked for.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from app.page.text import label
from app.page.wiring import QUICK, Changes, CompareTab
from core.generation.forms import MEANINGS
from core.generation.settings import FIELDS
from core.method.forms import DOSED_BY_OMEGA, PROPOSED, USES
from core.studio.comparing.engine import Engine
from core.studio.comparing.settings import dose_of

DRAWN = ("omega", "alpha", "beta", "positive", "guidance", "quality", "late_guidance", "dose")
"""What the drawing and its notes follow."""
SHOWN = ("diagram", "scale", "beta_note")
DRAW = (
    "(o, a, b, eta, form, s, late, dose) => [window.npoDiagram(o, a, b, eta, form, s, late), window.npoScale(o), "
    "window.npoProposed(o, b, form, dose)]"
)
HOLD = "(o, b, hold, form) => window.npoHold(o, b, hold, form)"
PROPOSE = "(o, b, dose) => window.npoBeta(o, dose) || b"
TRAINING_FREE = "() => [0.6, 0, 'npo']"
"""θ + γη with the γ of Diffusion-NPO's example."""

_FACTS = {"uses": USES, "dosed": DOSED_BY_OMEGA, "proposed": PROPOSED, "beta": FIELDS["beta"].range}
SCRIPT = f"window.npoForms = {json.dumps(_FACTS)};\n"

# rules that begin at the body alone: Gradio repeats the others with its own prefix, and those win
_OTHERS = ", ".join(
    f'body{"[data-form]" if form == "npo" else ""}:not([data-form="{form}"]) .meaning-{form}' for form in MEANINGS
)
CSS = f"""
{_OTHERS},
body[data-uses]:not([data-uses~="alpha"]) #set-alpha, body[data-uses]:not([data-uses~="beta"]) #set-beta,
body:not([data-uses~="quality"]) #set-quality, body[data-late="same"] #set-late_from, body[data-late="same"] #set-late_strength,
body[data-dosed="no"] #set-hold_dose, body:not(.with-eta) #training-free, body:not([data-dose]) #propose {{ display: none; }}
"""


def place(parts: dict[str, Any]) -> None:
    """The choice with its sentence; the fields themselves are the form's."""
    parts["guidance"].render()
    for form, meaning in MEANINGS.items():
        gr.HTML(
            label(meaning), padding=False, elem_classes=["in-group", "scale-note", "form-meaning", f"meaning-{form}"]
        )
    parts["training_free"] = gr.Button(
        label("Without a training: θ + 0.6·η as the worse model"), size="sm", elem_id="training-free"
    )


def place_dose(parts: dict[str, Any], engine: Engine, negative: str) -> None:
    """What the measured dose of the offset proposes."""
    parts["beta_note"] = gr.HTML("", padding=False, elem_classes="in-group", elem_id="beta-note")
    parts["propose"] = gr.Button(label("Take the β that the measured dose proposes"), size="sm", elem_id="propose")
    parts["dose"] = gr.Number(dose_of(engine.workspace, negative) or 0, visible="hidden")


def wire(tab: CompareTab, engine: Engine) -> None:
    """What follows what."""
    parts = tab.parts

    def measured(negative: str) -> Changes:
        return {"dose": dose_of(engine.workspace, negative) or 0}

    def chosen(negative: str) -> Changes:
        dose = dose_of(engine.workspace, negative)
        return {"dose": dose or 0, "hold_dose": dose is not None}

    for name in DRAWN:
        tab.on(parts[name].change, None, DRAWN, SHOWN, js=DRAW, api_visibility="private")
    held = ["omega", "beta", "hold_dose", "guidance"]
    tab.on(parts["omega"].input, None, held, ["beta"], js=HOLD, api_visibility="private")
    tab.on(parts["propose"].click, None, ["omega", "beta", "dose"], ["beta"], js=PROPOSE, api_visibility="private")
    free = ["alpha", "beta", "guidance"]
    tab.on(parts["training_free"].click, None, (), free, js=TRAINING_FREE, api_visibility="private")
    tab.on(parts["negative"].change, measured, ["negative"], ["dose"], **QUICK)
    tab.on(parts["negative"].input, chosen, ["negative"], ["dose", "hold_dose"], **QUICK)
