"""What the blind study of Evaluate does: a study from an evaluation's pictures, its link, its results. Plain functions."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.page.downloads import to_download
from app.page.html import fault
from app.page.text import sentence, translate, word
from app.page.wiring import Changes
from core.errors import StudioError
from core.files import read_text, write_text
from core.studio.evaluating.folder import get_evaluation
from core.studio.evaluating.kept import kept_pictures
from core.studio.evaluating.settings import NPO, cfg_name
from core.studio.evaluating.work import all_columns
from core.studio.studying.results import from_csv, results_of, to_csv
from core.studio.studying.study import QUESTIONS, Item, Study, StudySettings, create_study, get_study, list_studies
from core.studio.workspace import Workspace

MOST_BYTES = 2**26
SHOWN = ("study_link", "study_results", "study_export", "study_import", "study_open", "study_refresh")


def offered(workspace: Workspace, evaluation_id: str | None) -> Changes:
    """The columns of the evaluation that is looked at; its setting and CFG at the same ω are chosen."""
    try:
        evaluation = get_evaluation(workspace, evaluation_id or "")
        names = [column.name for column in all_columns(evaluation)]
        chosen = [NPO, cfg_name(evaluation.settings.omega)]
    except StudioError:
        return {"study_columns": gr.update(choices=[], value=[]), "study_make": gr.update(interactive=False)}
    columns = gr.update(choices=[(translate(name), name) for name in names], value=chosen)
    return {"study_columns": columns, "study_make": gr.update(interactive=True)}


def make(workspace: Workspace, evaluation_id: str | None, values: Mapping[str, Any]) -> Changes:
    """Makes a study of the kept pictures of the evaluation that is looked at."""
    try:
        columns = tuple(values["columns"] or ())
        settings = StudySettings(
            title=(values["title"] or "").strip()[:120] or word("Which picture is better?"),
            columns=columns,
            questions=tuple(name for name in QUESTIONS if name in (values["questions"] or ())),
            pairs=int(values["pairs"] or 0),
            reveal=bool(values["reveal"]),
        )
        kept = kept_pictures(get_evaluation(workspace, evaluation_id or ""), columns)
        study = create_study(workspace, settings, [Item(one.prompt, one.pictures, f"seed {one.seed}") for one in kept])
    except StudioError as error:
        return {"study_status": fault(error)}
    line = sentence("{count} prompts are in the study. Send its link to the people who will vote.", count=len(kept))
    return {
        "studies": gr.update(choices=choices(workspace), value=study.id),
        "study_status": line,
        **look(workspace, study.id),
    }


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """Each study as a line to read and its id."""
    lines = []
    for study in reversed(list_studies(workspace)):
        try:
            voters, votes = study.ballot.counts()
        except StudioError:
            continue  # a damaged one cannot be voted on
        lines.append(
            (sentence("{study} · {voters} voters, {votes} votes", study=study.id, voters=voters, votes=votes), study.id)
        )
    return lines


def refresh(workspace: Workspace, study_id: str | None) -> Changes:
    """The list as it is now, and the study that was chosen, or else the last."""
    lines = choices(workspace)
    names = [name for _, name in lines]
    chosen = study_id if study_id in names else next(iter(names), None)
    return {"studies": gr.update(choices=lines, value=chosen), **look(workspace, chosen)}


def look(workspace: Workspace, study_id: str | None) -> Changes:
    """A study: its link, what it has shown so far, and what can be done with it."""
    nothing = gr.update(interactive=False)
    if not study_id:
        return {"study_link": "", "study_results": "", **dict.fromkeys(SHOWN[2:], nothing)}
    try:
        study = get_study(workspace, study_id)
        settings = study.settings
        figures = results_of(study, draws=500)
    except StudioError as error:
        return {"study_results": fault(error), **dict.fromkeys(SHOWN[2:], nothing)}
    alive = gr.update(interactive=True)
    wording = word("Take no more votes") if settings.open else word("Take votes again")
    return {
        "study_link": settings.code,
        "study_results": table(figures),
        "study_export": gr.update(value=votes_file(study), interactive=True),
        "study_import": alive,
        "study_open": gr.update(value=wording, interactive=True),
        "study_refresh": alive,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The results as a table: a row for each question and pair of columns."""
    if not figures["votes"]:
        return f'<p class="scale-note">{escape(sentence("Nobody has voted yet."))}</p>'
    rows = []
    for name, question in figures["questions"].items():
        agreed = question["agreement"]
        agreement = "–" if agreed is None else f"{agreed['alpha']:.2f}"
        for pair in question["pairs"]:
            rate = pair["rate"]
            share = f"{rate['value']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]"
            cells = [
                word(QUESTIONS[name]),
                f"{translate(pair['first'])} | {translate(pair['second'])}",
                f"{pair['better']} / {pair['draw']} / {pair['worse']}",
                share if pair["clear"] else f"{share} · {word('no clear difference')}",
                agreement,
            ]
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("Question", "Columns", "First better / draw / second better", "First preferred", "Agreement (alpha)")
    head = "".join(f'<th scope="col">{escape(word(text))}</th>' for text in heads)
    caption = sentence(
        "{voters} voters, {votes} votes on {items} prompts", **{k: figures[k] for k in ("voters", "votes", "items")}
    )
    text = f"<div class='forest'><table class='changes'><caption>{escape(caption)}</caption><tr>{head}</tr>{''.join(rows)}</table></div>"
    return text + _strengths(figures)


def _strengths(figures: Mapping[str, Any]) -> str:
    """Bradley–Terry over more than two columns, of the last question: the whole."""
    strengths = list(figures["questions"].values())[-1].get("strengths")
    if not strengths:
        return ""
    order = sorted(strengths, key=lambda name: -strengths[name]["value"])
    cells = "".join(
        f"<span>{escape(translate(name))} <b>{strengths[name]['value']:+.2f} [{strengths[name]['low']:+.2f}, "
        f"{strengths[name]['high']:+.2f}]</b></span>"
        for name in order
    )
    title = escape(word("Strength over all columns (Bradley–Terry, log-odds)"))
    return f'<div class="status"><div class="facts"><span>{title}</span>{cells}</div></div>'


def votes_file(study: Study) -> str:
    """The votes so far as a CSV file beside the study, to download."""
    path = study.folder / "votes.csv"
    write_text(path, to_csv(study))
    return to_download(path)


def take_over(workspace: Workspace, study_id: str | None, file: str | None) -> Changes:
    """Votes that were cast on a copy of the study."""
    if not (study_id and file):
        return {}
    try:
        new = from_csv(get_study(workspace, study_id), read_text(Path(file), limit=MOST_BYTES))
    except StudioError as error:
        return {"study_status": fault(error)}
    return {**refresh(workspace, study_id), "study_status": sentence("{count} new votes.", count=new)}


def toggle(workspace: Workspace, study_id: str | None) -> Changes:
    """Takes no more votes, or takes them again."""
    try:
        study = get_study(workspace, study_id or "")
        study.set_open(not study.settings.open)
    except StudioError as error:
        return {"study_status": fault(error)}
    return {**look(workspace, study_id), "study_status": ""}
