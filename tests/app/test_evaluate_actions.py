"""What Evaluate does, without a browser: cost, start, figures as they come, stop, resume, report; and its blind study."""

import pytest
from PIL import Image

from app.page import evaluate_actions as actions
from app.page import runs_actions, study_actions
from app.page.evaluate import DEFAULTS
from app.page.evaluate_actions import CONTROLS
from app.page.study import LINK
from core.files import write_json, write_text
from core.studio.evaluating import search_job
from core.studio.evaluating.events import Failed, Finished, append_event
from core.studio.evaluating.folder import get_evaluation
from core.studio.evaluating.settings import NPO, columns_of
from core.studio.evaluating.work import picture_path
from core.studio.studying.study import get_study, list_studies
from core.studio.workspace import Workspace
from tests.builders.player import Player
from tests.builders.studies import vote_all

FORM = {name: DEFAULTS[name] for name in CONTROLS} | {
    "negative": "sd15-mini-negative",
    "positive": "none",
    "count": 8,
    "batch": 4,
    "effective": False,
    "probe": 0,
}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


@pytest.fixture
def begun(workspace, monkeypatch):
    """An evaluation that Start has made, whose process is not started; and what Start changed in the page."""
    for module in (actions, search_job):
        monkeypatch.setattr(module, "start", lambda evaluation, **how: evaluation)
    form = {name: value for name, value in FORM.items() if name in CONTROLS}
    changes = actions.begin(Player(workspace), "miniature-sd15", form)
    return get_evaluation(workspace, changes["evaluation_id"]), changes


def do_chunk(evaluation, number, gain=0.2):
    """A chunk as the work leaves it: NPO is better by about `gain`."""
    settings = evaluation.settings
    columns = {}
    for column in columns_of(settings):
        values = [0.5 + (gain + 0.01 * at if column.name == NPO else 0.0) for at in range(settings.batch)]
        columns[column.name] = dict.fromkeys((*settings.scorers, "saturation", "contrast", "sharpness"), values)
        for at in range(settings.batch):
            path = picture_path(evaluation, column.name, number * settings.batch + at)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), "red" if column.name == NPO else "blue").save(path)
    start = number * settings.batch
    write_json(
        evaluation.chunk_path(number),
        {"chunk": number, "start": start, "prompts": settings.batch, "columns": columns, "failed": {}},
    )


def look(workspace, evaluation, scorer=None, seen=()):
    return actions.watch(workspace, evaluation.id, scorer, seen)


def test_the_cost_is_shown_before_anything_starts(workspace):
    form = {name: FORM[name] for name in CONTROLS}
    changes = actions.forecast(Player(workspace), "miniature-sd15", form)
    assert changes["start_evaluation"]["interactive"]
    for fact in ("about", "pictures <b>64</b>", "columns <b>8</b>", "disk"):
        assert fact in changes["evaluation_plan"]
    assert not (workspace.root / "evaluations").exists()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"count": 0}, "count is 0, outside 1 to 1000000"),
        ({"count": None}, "Prompts is empty."),
        ({"cfg": "2, high"}, "is not a valid cfg"),
        ({"negative": "nothing"}, "There is no offset “nothing”."),
        ({"prompts": "/nowhere/prompts.txt"}, "prompts.txt"),
    ],
)
def test_what_cannot_be_evaluated_is_reported_and_nothing_is_made(workspace, change, fault):
    form = {name: FORM[name] for name in CONTROLS} | change
    changes = actions.begin(Player(workspace), "miniature-sd15", form)
    assert 'class="fault"' in changes["evaluation_status"] and fault in changes["evaluation_status"]
    assert not list(workspace.root.glob("evaluations/*/settings.json"))


def test_a_scorer_that_is_missing_is_named_with_its_size_and_start_waits_for_it(workspace):
    form = {name: FORM[name] for name in CONTROLS} | {"scorers": ["pickscore"]}
    changes = actions.forecast(Player(workspace), "miniature-sd15", form)
    assert "PickScore" in changes["evaluation_plan"] and "GB" in changes["evaluation_plan"]
    assert changes["start_evaluation"]["interactive"] is False


def test_figures_come_with_the_chunks_and_the_interval_shrinks(workspace, begun):
    evaluation, changes = begun
    assert changes["evaluation_timer"].active and "Starting" in changes["evaluation_status"]
    assert look(workspace, evaluation)["live"] == ""
    do_chunk(evaluation, 0)
    changes = look(workspace, evaluation)
    assert "4 pairs; the same" in changes["live"] and "4 of 8 pairs" in changes["evaluation_status"]
    assert changes["live"].count("<svg") == len(columns_of(evaluation.settings)) - 1
    assert changes["live_scorer"]["value"] == "judge-preference" and 'class="up"' in changes["live"]
    seen = changes["evaluation_seen"]
    assert set(look(workspace, evaluation, "judge-preference", seen)) == {"evaluation_timer"}, "nothing is new"
    do_chunk(evaluation, 1)
    later = look(workspace, evaluation, "judge-preference", seen)
    assert "8 pairs; the same" in later["live"]
    other = look(workspace, evaluation, "judge-accuracy", later["evaluation_seen"])
    assert other["live_scorer"]["value"] == "judge-accuracy"


def test_a_failed_one_says_why_and_can_be_resumed(workspace, begun):
    evaluation, _ = begun
    append_event(evaluation.folder, Failed(message="The disk is full.", remedy="Free disk space."))
    changes = look(workspace, evaluation)
    assert "The disk is full." in changes["evaluation_status"]
    assert changes["go_on"]["interactive"] and not changes["stop_evaluation"]["interactive"]
    assert "Resuming" in actions.resume(Player(workspace), evaluation.id)["evaluation_status"]
    actions.ask_to_stop(workspace, evaluation.id)
    assert (evaluation.folder / "request").is_file()


def test_the_report_is_shown_in_a_frame_without_scripts_and_offered_as_files(workspace, begun):
    evaluation, _ = begun
    for number in range(2):
        do_chunk(evaluation, number)
    write_text(evaluation.folder / "report.html", "<p>figures</p><script>alert(1)</script>")
    write_text(evaluation.folder / "report.json", "{}")
    verdict = "Better than CFG at its best – rests on 8 pairs <of> prompts."
    append_event(evaluation.folder, Finished(report="report.html", verdict=verdict))
    changes = look(workspace, evaluation)
    assert 'sandbox=""' in changes["report"] and "<script>" not in changes["report"]
    assert "<b>Better than CFG at its best</b>" in changes["evaluation_status"]
    assert "&lt;of&gt;" in changes["evaluation_status"]
    assert changes["report_html"]["value"].endswith("report.html") and changes["report_json"]["interactive"]
    assert str(workspace.root) not in changes["report_html"]["value"]


def test_the_page_opens_on_the_evaluation_that_it_watched(workspace, begun):
    evaluation, _ = begun
    assert actions.attach(workspace, "")["evaluation_id"] == evaluation.id, "the newest"
    assert actions.attach(workspace, "another")["evaluation_id"] == evaluation.id
    assert actions.choose(evaluation.id)["evaluation_id"] == evaluation.id and actions.choose(None) == {}
    assert "There is no evaluation" in actions.watch(workspace, "gone", None, ())["evaluation_status"]
    assert "Start makes one" in actions.watch(workspace, "", None, ())["evaluation_status"]
    assert actions.attach(Workspace(workspace.root / "empty"), "")["evaluation_id"] == ""


def test_another_base_brings_its_offset_and_its_scorers(workspace):
    changes = actions.choose_base(Player(workspace), "miniature-sdxl")
    assert changes["evaluate_negative"]["value"] in ("sdxl-mini-negative", "none")
    assert "miniature" not in str(changes["evaluate_positive"]["value"])
    assert 'class="fault"' in actions.choose_base(Player(workspace), "nothing")["evaluation_plan"]


def test_a_run_is_evaluated_with_its_own_base(workspace):
    from core.studio.runs.run import create_run
    from core.training.config import TrainConfig

    run = create_run(workspace, TrainConfig.from_dict({"base": "miniature-sd15", "recipe": "studio", "steps": 2}))
    changes = actions.evaluate_run(Player(workspace), run.id)
    assert changes["evaluate_base"] == "miniature-sd15" and changes["evaluate_negative"]["value"] == f"run {run.id}"
    assert actions.evaluate_run(Player(workspace), None) == {}
    assert "evaluate_run" in runs_actions.BUTTONS


STUDY = {"title": "", "questions": ["detail", "overall"], "pairs": 0, "reveal": True}


def test_a_study_is_made_of_the_kept_pictures_and_its_results_shown(workspace, begun):
    evaluation, _ = begun
    assert not study_actions.offered(workspace, "")["study_make"]["interactive"]
    chosen = study_actions.offered(workspace, evaluation.id)["study_columns"]["value"]
    assert chosen == [NPO, "CFG ω 2"]
    asked = {**STUDY, "columns": chosen}
    assert "kept no pictures yet" in study_actions.make(workspace, evaluation.id, asked)["study_status"]
    do_chunk(evaluation, 0)
    changes = study_actions.make(workspace, evaluation.id, asked)
    (study,) = list_studies(workspace)
    assert changes["study_link"] == study.settings.code and "/vote/" in LINK
    assert "4 prompts are in the study" in changes["study_status"] and "Nobody has voted" in changes["study_results"]
    assert study.settings.questions == ("detail", "overall") and study.settings.title == "Which picture is better?"
    vote_all(study, lambda one: "left" if one.left == NPO else "right")
    changes = study_actions.refresh(workspace, study.id)
    assert "4 / 0 / 0" in changes["study_results"] and "no clear difference" in changes["study_results"]
    file = changes["study_export"]["value"]
    assert study_actions.take_over(workspace, study.id, file)["study_status"] == "0 new votes."
    closed = study_actions.toggle(workspace, study.id)
    assert not get_study(workspace, study.id).settings.open and closed["study_open"]["value"] == "Take votes again"
    one = {**asked, "columns": [NPO]}
    assert "2 to 8 different columns" in study_actions.make(workspace, evaluation.id, one)["study_status"]
    assert study_actions.look(workspace, None)["study_link"] == ""


def test_three_columns_are_shown_with_their_strengths(workspace, begun):
    evaluation, _ = begun
    do_chunk(evaluation, 0)
    asked = {**STUDY, "columns": [NPO, "CFG ω 2", "β reversed"]}
    study = get_study(workspace, study_actions.make(workspace, evaluation.id, asked)["studies"]["value"])
    vote_all(study, lambda one: "draw")
    assert "Bradley–Terry" in study_actions.look(workspace, study.id)["study_results"]


def test_every_text_of_the_form_and_of_the_proposal_has_its_chinese():
    from app.page.evaluate_actions import HELP, LABELS
    from app.page.methods_actions import ASKED, HAVE, WHY
    from app.page.text import CHINESE, SENTENCES

    texts = [*LABELS.values(), *HELP.values(), *HAVE.values(), *WHY.values(), *(text for _, text in ASKED.values())]
    assert not [text for text in texts if text not in CHINESE]
    statuses = ("new", "running", "stopping", "stopped", "failed", "interrupted", "finished")
    assert not [status for status in statuses if status not in SENTENCES]


def test_each_scorer_is_listed_with_the_size_of_what_is_missing(workspace):
    choices = {name: title for title, name in actions.scorer_choices(workspace)}
    bundled = [name for name, title in choices.items() if title.startswith("Bundled judge")]
    assert bundled and not any("GB" in choices[name] for name in bundled)
    assert any(title.endswith(" GB") for title in choices.values()), (
        "those that must be downloaded say how large they are"
    )
