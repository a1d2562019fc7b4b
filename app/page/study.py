"""The blind study in Evaluate: made of the pictures that an evaluation kept, voted on through a link."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page import study_actions as actions
from app.page.study_actions import SHOWN
from app.page.text import label
from app.page.wiring import QUEUED, QUICK, Changes, Tab
from core.studio.comparing.engine import Engine
from core.studio.studying.study import QUESTIONS

WHAT_FOR = (
    "People see two pictures of one prompt, in random order and without a hint of which is which, and answer the papers' four "
    "questions and one for the whole. The link needs no password and opens on phones."
)
LINK = "(code) => code ? location.origin + '/vote/' + code : ''"
"""The link of a study, at the address at which this page was opened."""
FORM = ("study_title", "study_columns", "study_questions", "study_pairs", "study_reveal")
NAMES = ("title", "columns", "questions", "pairs", "reveal")


def place(parts: dict[str, Any]) -> None:
    """The section's components."""
    with gr.Accordion(label("Blind study: let people vote"), open=False):
        gr.HTML(label(WHAT_FOR), elem_classes="scale-note", padding=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                parts["study_columns"] = gr.CheckboxGroup([], label=label("Columns of the evaluation above"))
                parts["study_questions"] = gr.CheckboxGroup(
                    [(label(text), name) for name, text in QUESTIONS.items()],
                    value=list(QUESTIONS),
                    label=label("Questions"),
                )
                with gr.Row(elem_classes="even"):
                    parts["study_pairs"] = gr.Number(
                        20,
                        label=label("Pairs for each voter"),
                        info=label("0: all of them"),
                        precision=0,
                        minimum=0,
                        min_width=130,
                    )
                    parts["study_reveal"] = gr.Checkbox(
                        False,
                        label=label("Reveal at the end"),
                        info=label("Voters are then told which was which."),
                        min_width=180,
                    )
                parts["study_title"] = gr.Textbox(
                    "", label=label("Title"), placeholder=label("Which picture is better?"), max_length=120
                )
                parts["study_make"] = gr.Button(label("Make the study"), variant="primary", interactive=False)
                parts["study_status"] = gr.HTML("", elem_classes="status", padding=False)
            with gr.Column(scale=6, min_width=320):
                parts["studies"] = gr.Dropdown([], value=None, label=label("Studies"))
                parts["study_address"] = gr.Textbox(
                    "",
                    label=label("Link for voters"),
                    elem_id="study-link",
                    buttons=["copy"],
                    interactive=False,
                    lines=1,
                    max_lines=2,
                )
                parts["study_link"] = gr.Textbox("", visible="hidden")
                with gr.Row(elem_classes="tight"):
                    parts["study_vote"] = gr.Button(label("Vote yourself"), size="sm", min_width=100)
                    parts["study_refresh"] = gr.Button(label("Refresh"), size="sm", min_width=80, interactive=False)
                    parts["study_open"] = gr.Button(
                        label("Take no more votes"), size="sm", min_width=120, interactive=False
                    )
                    parts["study_export"] = gr.DownloadButton(
                        label("Votes (CSV)"), size="sm", min_width=100, interactive=False
                    )
                    parts["study_import"] = gr.UploadButton(
                        label("Import votes"), size="sm", min_width=100, interactive=False, file_types=[".csv"]
                    )
                parts["study_results"] = gr.HTML("", padding=False)


def wire(tab: Tab, engine: Engine) -> None:
    """What happens in it; the tab has `evaluation_id`, the evaluation that is looked at."""
    parts, workspace = tab.parts, engine.workspace
    looked = ["studies", *SHOWN]

    def make(evaluation: str, *given: Any) -> Changes:
        return actions.make(workspace, evaluation, dict(zip(NAMES, given, strict=True)))

    offered = ["study_columns", "study_make"]
    tab.on(
        parts["evaluation_id"].change, lambda one: actions.offered(workspace, one), ["evaluation_id"], offered, **QUICK
    )
    tab.on(parts["study_make"].click, make, ["evaluation_id", *FORM], [*looked, "study_status"], **QUEUED)
    tab.on(parts["studies"].input, lambda one: actions.look(workspace, one), ["studies"], SHOWN, **QUICK)
    tab.on(parts["study_refresh"].click, lambda one: actions.refresh(workspace, one), ["studies"], looked, **QUICK)
    tab.on(
        parts["study_open"].click,
        lambda one: actions.toggle(workspace, one),
        ["studies"],
        [*SHOWN, "study_status"],
        **QUICK,
    )
    tab.on(
        parts["study_import"].upload,
        lambda one, file: actions.take_over(workspace, one, file),
        ["studies", "study_import"],
        [*looked, "study_status"],
        **QUEUED,
    )
    tab.on(parts["study_link"].change, None, ["study_link"], ["study_address"], js=LINK, api_visibility="private")
    opened = "(address) => { if (address) window.open(address, '_blank', 'noopener'); }"
    tab.on(parts["study_vote"].click, None, ["study_address"], js=opened, api_visibility="private")
