"""The strength meter of Compare: how far the chosen offset moves the prediction, measured on a few prompts."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from app.page.html import fault
from app.page.text import label, sentence
from app.page.wiring import RENDERING, Changes, Tab
from core.errors import StudioError
from core.studio.comparing.engine import Engine, is_out_of_memory
from core.studio.evaluating.dose import Strength, measure_strength
from core.studio.evaluating.work import device_of
from core.studio.locks import waiting_for

PROMPTS = 3
SHOWN = ("offset_strength", "measure_strength", "dose")


def place(parts: dict[str, Any]) -> None:
    """A button, and the line that it fills."""
    parts["measure_strength"] = gr.Button(label("How strong is this offset?"), size="sm")
    parts["offset_strength"] = gr.HTML("", elem_classes="status", padding=False, elem_id="offset-strength")


def wire(tab: Tab, engine: Engine) -> None:
    """What happens in it; the tab has Compare's form."""
    parts = tab.parts

    def act(base: str, offset: str, omega: float) -> Iterator[Changes]:
        yield from measured(engine, base, offset, omega)

    tab.on(
        parts["measure_strength"].click,
        act,
        ["base", "negative", "omega"],
        SHOWN,
        api_visibility="private",
        **RENDERING,
    )
    tab.on(
        [parts["negative"].change, parts["base"].change],
        None,
        (),
        ["offset_strength"],
        js="() => ''",
        api_visibility="private",
    )


def measured(engine: Engine, base: str, offset: str, omega: float) -> Iterator[Changes]:
    """Measures it when nothing is rendered: the meter meanwhile has its own model in memory."""
    alive, busy = gr.update(interactive=True), gr.update(interactive=False)
    yield {"offset_strength": sentence("Measuring on three prompts…"), "measure_strength": busy}
    try:
        name = "" if offset == "none" else offset
        with waiting_for(engine.workspace.lock):
            strength = measure_strength(
                engine.workspace, name, base=base, omega=omega, prompts=PROMPTS, device=device_of(cpu=engine.cpu)
            )
    except StudioError as error:
        yield {"offset_strength": fault(error), "measure_strength": alive}
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        full = StudioError(
            "There is no memory for a second copy of the model.", "Restart the studio, and measure before rendering."
        )
        yield {"offset_strength": fault(full), "measure_strength": alive}
        return
    yield {"offset_strength": line(strength), "measure_strength": alive, "dose": strength.dose}


def line(strength: Strength) -> str:
    """What was measured, in a sentence."""
    text = sentence(
        "At β = 1 and ω = {omega:g}, {offset} moves the prediction as much as CFG at ω = {as_cfg:.2g} ({prompts} prompts). "
        "Proposed: β = {beta:g}.",
        omega=strength.omega,
        offset=strength.offset,
        as_cfg=strength.as_cfg,
        prompts=strength.prompts,
        beta=strength.proposed_beta,
    )
    return escape(text)
