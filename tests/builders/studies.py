"""Blind studies of plain colours, and voters that answer by a rule."""

from PIL import Image

from core.studio.studying.study import Item, StudySettings, create_study

COLOURS = {"CFG": (200, 30, 30), "NPO": (30, 30, 200), "worse": (10, 200, 10)}


def make_study(workspace, *, items, columns=("CFG", "NPO"), prompts=None, **settings):
    """A study whose columns are colours."""
    folder = workspace.root / "sources"
    folder.mkdir(exist_ok=True)
    made = []
    for number in range(items):
        files = {column: folder / f"{column}-{number}.png" for column in columns}
        for column, file in files.items():
            Image.new("RGB", (16, 16), COLOURS[column]).save(file)
        made.append(Item(prompts[number] if prompts else f"prompt {number}", files, f"seed {number}"))
    return create_study(workspace, StudySettings(title="Which is better?", columns=columns, **settings), made)


def vote_all(study, rule):
    """A voter who answers everything by a rule from what is shown to an answer; the voter."""
    settings, ballot = study.settings, study.ballot
    voter = ballot.begin(settings.columns, settings.pairs, settings.shared)
    for position in range(ballot.total(voter)):
        showing = ballot.showing(voter, position)[0]
        for question in settings.questions:
            ballot.answer(voter, showing.ticket, question, rule(showing))
    return voter
