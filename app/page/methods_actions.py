"""What a person has, and the one method that is proposed for it. Plain functions of plain values."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.page.html import fault
from app.page.text import sentence, word
from app.page.train_actions import choose_recipe
from app.page.wiring import Changes
from core.errors import StudioError
from core.studio.comparing import thumbs
from core.studio.pairs import votes_folder, write_pairs
from core.studio.studying import results
from core.studio.studying.study import list_studies
from core.studio.workspace import Workspace
from core.training.recipes import OF_VOTES, RECIPE_FOR

HAVE = {
    "nothing": "Nothing but the model",
    "words": "Words for what I dislike",
    "pictures": "Pictures that I dislike",
    "checkpoint": "A tuned checkpoint",
    "pairs": "Pairs: better and worse",
    "votes": "My votes and thumbs",
    "scorer": "A scorer",
}
ASKED = {
    "words": ("flaws", "Words for what you do not want, several separated by |"),
    "pictures": ("images_folder", "Folder of these pictures"),
    "pairs": ("pairs", "Folder, JSONL or Parquet file of pairs"),
    "scorer": ("scorer", "Name of the scorer"),
}
"""What else must be given: the setting it goes into, and how it is asked for."""
WHY = {
    "nothing": "Self-NPO: the model's own worse estimates teach it. No data and no reward is needed.",
    "words": "Own samples are drawn with these words and learned without them. No data and no reward is needed.",
    "pictures": "The offset learns to draw these pictures, and guidance moves away from it.",
    "checkpoint": "No training is needed. In Compare, choose the checkpoint as positive offset η, α 0.6 and β 0: guidance then moves "
    "away from the half-tuned model. A whole checkpoint becomes an offset in the Library.",
    "pairs": "Reversed Diffusion-DPO: the offset learns to prefer what was rejected.",
    "votes": "Your thumbs in the history and the votes of blind studies are pairs: the offset learns to prefer what was rejected.",
    "scorer": "Own samples are ranked in rounds, and the worst and best of each prompt are learned as pairs.",
}
BATCH = 16


def propose(workspace: Workspace, have: str) -> Changes:
    """Fills the form with the recipe for what a person has, and asks for what is still missing."""
    asked = ASKED.get(have)
    field = gr.update(visible=False)
    if asked:
        field = gr.update(visible=True, label=word(asked[1]), value="")
    changes: Changes = {"have_value": field, "have_note": word(WHY[have])}
    if have not in RECIPE_FOR:
        return changes
    changes |= {"recipe": RECIPE_FOR[have], **choose_recipe(RECIPE_FOR[have])}
    if asked:
        changes["have_value"] = gr.update(visible=True, label=word(asked[1]), value=changes[asked[0]])
    return {**changes, **_of_votes(workspace)} if have == "votes" else changes


def _of_votes(workspace: Workspace) -> Changes:
    """The pairs of all votes in one folder, and settings that fit so few."""
    try:
        own = thumbs.preferences(workspace)
        blind = [pair for study in list_studies(workspace) for pair in results.preferences(study)]
        count = write_pairs(workspace, [*own, *blind])
    except StudioError as error:
        return {"have_note": fault(error)}
    if not count:
        return {
            "have_note": sentence(
                "There are no votes yet: give thumbs in the history, or hold a blind study in Evaluate."
            )
        }
    told = sentence(
        "{count} pairs: {own} from thumbs, {blind} from blind votes.", count=count, own=len(own), blind=len(blind)
    )
    pairs = str(votes_folder(workspace))
    return {**OF_VOTES, "pairs": pairs, "batch_size": min(BATCH, count), "have_note": f"{told} {word(WHY['votes'])}"}


def asked_setting(have: str, value: str) -> dict[str, Any]:
    """What was asked for, in the setting that it belongs to."""
    return {ASKED[have][0]: value} if have in ASKED else {}
