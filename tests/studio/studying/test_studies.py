"""Blind studies: nobody can tell which is which, no vote is lost, and the figures are what was voted."""

import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from core.errors import Damaged, StudioError
from core.studio.studying.ballot import Ballot
from core.studio.studying.results import from_csv, results_of, revealed, to_csv
from core.studio.studying.sources import items_of_folders
from core.studio.studying.study import (
    Item,
    StudySettings,
    adopt,
    create_study,
    get_study,
    list_studies,
    study_of_code,
)
from core.studio.workspace import Workspace
from tests.builders.studies import COLOURS, make_study, vote_all


def test_a_study_keeps_pictures_without_a_trace_of_their_origin(tmp_path):
    study = make_study(Workspace(tmp_path), items=4)
    files = sorted((study.folder / "pictures").iterdir())
    assert len(files) == 8 and all(re.fullmatch(r"[0-9a-f]{32}\.webp", file.name) for file in files)
    for file in files:
        raw = file.read_bytes()
        assert raw[:4] == b"RIFF" and raw[12:16] == b"VP8L", "the lossless bitstream alone: no EXIF, XMP or profile"
        assert not any(word in raw for word in (b"NPO", b"CFG", b"omega", b"EXIF", b"XMP", b"ICCP"))
        with Image.open(file) as opened:
            assert set(opened.info) <= {"loop", "background", "timestamp", "duration"}
            assert opened.getpixel((0, 0)) in COLOURS.values(), "the pixels are those of the source"


def test_each_voter_has_an_order_sides_and_names_of_their_own(tmp_path):
    study = make_study(Workspace(tmp_path), items=30)
    ballot, columns = study.ballot, study.settings.columns
    voters = [ballot.begin(columns, 0, 10) for _ in range(2)]
    plans = [[ballot.showing(voter, position)[0] for position in range(30)] for voter in voters]
    assert [one.item for one in plans[0]] != [one.item for one in plans[1]]
    assert sorted(one.item for one in plans[0]) == list(range(30))
    names = [name for plan in plans for one in plan for name in (one.left_name, one.right_name)]
    assert len(set(names)) == len(names) == 120
    lefts = [one.left for plan in plans for one in plan]
    assert 10 < lefts.count("CFG") < 50
    for one in plans[0]:
        for name, column in ((one.left_name, one.left), (one.right_name, one.right)):
            with Image.open(study.picture(ballot.file_of(name))) as picture:
                assert picture.getpixel((0, 0)) == COLOURS[column]
    assert ballot.file_of("0" * 32) is None


def test_a_voter_resumes_where_they_stopped_and_may_change_an_answer(tmp_path):
    study = make_study(Workspace(tmp_path), items=3, questions=("detail", "overall"))
    ballot, questions = study.ballot, study.settings.questions
    voter = ballot.begin(study.settings.columns, 0, 10)
    first = ballot.showing(voter, 0)[0]
    ballot.answer(voter, first.ticket, "detail", "left")
    assert ballot.next_position(voter, questions) == 0, "one of two questions is answered"
    ballot.answer(voter, first.ticket, "overall", "draw")
    ballot.answer(voter, first.ticket, "detail", "right")
    again = get_study(Workspace(tmp_path), study.id).ballot
    assert again.next_position(voter, questions) == 1
    assert again.showing(voter, 0)[1] == {"detail": "right", "overall": "draw"}
    assert again.showing(voter, 3) is None and again.total(voter) == 3


def test_what_is_not_this_voters_is_refused(tmp_path):
    study = make_study(Workspace(tmp_path), items=2)
    ballot = study.ballot
    voter, other = (ballot.begin(study.settings.columns, 0, 0) for _ in range(2))
    ticket = ballot.showing(voter, 0)[0].ticket
    for asked in (
        (other, ticket, "overall", "left"),
        (voter, "x", "overall", "left"),
        (voter, ticket, "overall", "up"),
    ):
        with pytest.raises(StudioError, match="not an answer"):
            ballot.answer(*asked)
    with pytest.raises(StudioError, match="does not know you"):
        ballot.total("nobody")
    assert ballot.counts() == (0, 0)


def test_the_least_shown_pairs_come_first_and_some_are_seen_by_all(tmp_path):
    study = make_study(Workspace(tmp_path), items=12)
    ballot = study.ballot
    seen = []
    for _ in range(3):
        voter = ballot.begin(study.settings.columns, 6, 3)
        seen.append({ballot.showing(voter, position)[0].item for position in range(ballot.total(voter))})
    assert {len(items) for items in seen} == {6}
    assert len(set.intersection(*seen)) == 3 and len(set.union(*seen)) == 12


def test_many_voters_at_once_lose_no_vote(tmp_path):
    study = make_study(Workspace(tmp_path), items=10)
    faults = []

    def vote():
        try:
            vote_all(study, lambda showing: "left")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=vote) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults and study.ballot.counts() == (8, 8 * 10 * 5)
    with sqlite3.connect(study.ballot.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


KILLED = """
import os, sys
from pathlib import Path
from core.studio.studying.ballot import Ballot
ballot = Ballot(Path(sys.argv[1]))
voter = ballot.begin(("CFG", "NPO"), 0, 0)
for position in range(3):
    ballot.answer(voter, ballot.showing(voter, position)[0].ticket, "overall", "left")
    print(voter, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.process
def test_a_vote_that_was_acknowledged_survives_a_kill(tmp_path):
    study = make_study(Workspace(tmp_path), items=5, questions=("overall",))
    command = [sys.executable, "-c", KILLED, str(study.ballot.path)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    voter = ended.stdout.split()[0]
    assert len(ended.stdout.split()) == 3 and study.ballot.next_position(voter, ("overall",)) == 3


def test_results_say_who_was_preferred_with_an_interval_and_claim_nothing_from_few_votes(tmp_path):
    study = make_study(Workspace(tmp_path), items=24)
    for _ in range(3):
        vote_all(study, lambda one: "draw" if one.item % 6 == 0 else "left" if one.left == "NPO" else "right")
    figures = results_of(study, draws=300)
    pair = figures["questions"]["overall"]["pairs"][0]
    assert (pair["first"], pair["second"]) == ("CFG", "NPO")
    assert (pair["better"], pair["draw"], pair["worse"]) == (0, 12, 60)
    assert pair["rate"]["value"] == pytest.approx(6 / 72) and pair["rate"]["high"] < 0.5 and pair["clear"]
    assert figures["questions"]["detail"]["agreement"] == {"alpha": 1.0, "equal": 1.0, "pairs": 24}
    assert (figures["voters"], figures["votes"], figures["items"]) == (3, 3 * 24 * 5, 24)
    few = make_study(Workspace(tmp_path), items=3)
    vote_all(few, lambda one: "left" if one.left == "NPO" else "right")
    assert not results_of(few, draws=300)["questions"]["overall"]["pairs"][0]["clear"]


def test_more_than_two_columns_are_put_in_order_by_bradley_terry(tmp_path):
    study = make_study(Workspace(tmp_path), items=12, columns=("CFG", "NPO", "worse"), questions=("overall",))
    order = {"NPO": 2, "CFG": 1, "worse": 0}
    vote_all(study, lambda one: "left" if order[one.left] > order[one.right] else "right")
    strengths = results_of(study, draws=100)["questions"]["overall"]["strengths"]
    assert sorted(strengths, key=lambda name: -strengths[name]["value"]) == ["NPO", "CFG", "worse"]
    assert sum(one["value"] for one in strengths.values()) == pytest.approx(0, abs=1e-9)


def test_it_is_revealed_at_the_end_and_only_if_asked_for(tmp_path):
    workspace = Workspace(tmp_path)
    study = make_study(workspace, items=3, reveal=True)
    voter = study.ballot.begin(study.settings.columns, 0, 0)
    with pytest.raises(StudioError, match="not answered yet"):
        revealed(study, voter)
    voter = vote_all(study, lambda one: "left" if one.left == "NPO" else "right")
    end = revealed(study, voter)
    assert end["preferred"] == {"CFG": 0, "NPO": 3} and {end["pairs"][0][side] for side in ("left", "right")} == {
        "CFG",
        "NPO",
    }
    closed = make_study(workspace, items=1)
    voter = vote_all(closed, lambda one: "draw")
    with pytest.raises(StudioError, match="does not tell"):
        revealed(closed, voter)


def test_votes_go_to_csv_and_come_back_into_a_copy_once(tmp_path):
    import shutil

    here = Workspace(tmp_path / "here")
    study = make_study(here, items=4, prompts=["=1+1", "a, b", "'quoted", "line\nbreak"])
    there = Workspace(tmp_path / "there")
    shutil.copytree(study.folder, there.root / "studies" / study.id)
    copy = get_study(there, study.id)
    vote_all(copy, lambda one: "left" if one.left == "NPO" else "right")
    text = to_csv(copy)
    assert "'=1+1" in text and results_of(study)["votes"] == 0
    assert from_csv(study, text) == 20 and from_csv(study, text) == 0
    assert results_of(study)["questions"] == results_of(copy)["questions"]
    assert [vote.prompt for vote in study.ballot.votes()] == [vote.prompt for vote in copy.ballot.votes()]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("voter", "person", 1), "has no column “voter”"),
        (lambda text: text.replace(",draw,", ",perhaps,", 1), "Line 2 of the file"),
        (lambda text: text.replace(",draw,", ",draw,yesterday", 1), "Line 2 of the file"),
        (lambda text: text.replace("CFG", "SDXL"), "a pair that this study does not have"),
        (lambda text: "", "has no column “ticket”"),
    ],
)
def test_a_csv_file_that_is_not_this_studys_changes_nothing(tmp_path, change, fault):
    study = make_study(Workspace(tmp_path), items=2, questions=("overall",))
    vote_all(study, lambda one: "draw")
    other = make_study(Workspace(tmp_path), items=2, questions=("overall",))
    with pytest.raises(StudioError, match=fault):
        from_csv(other, change(to_csv(study)))
    assert other.ballot.counts() == (0, 0)


def test_what_cannot_become_a_study_is_reported_and_leaves_nothing(tmp_path):
    workspace = Workspace(tmp_path / "space")
    good, small = tmp_path / "good.png", tmp_path / "small.png"
    Image.effect_noise((64, 64), 50).convert("RGB").save(good)
    Image.new("RGB", (4, 4)).save(small)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:900])
    settings = StudySettings(title="x", columns=("a", "b"))
    for pictures, fault in (
        ({"a": good}, "no picture under “b”"),
        ({"a": good, "b": small}, "different sizes"),
        ({"a": good, "b": tmp_path / "text.png"}, "is not a picture"),
        ({"a": good, "b": tmp_path / "cut.png"}, "is cut off or damaged"),
        ({"a": good, "b": tmp_path / "absent.png"}, "does not exist"),
    ):
        with pytest.raises(StudioError, match=fault):
            create_study(workspace, settings, [Item("p", pictures)])
    with pytest.raises(StudioError, match="1 to 5000 prompts"):
        create_study(workspace, settings, [])
    for wrong in ({"columns": ("a",)}, {"columns": ("a", "a")}, {"questions": ("taste",)}, {"pairs": -1}):
        with pytest.raises(StudioError):
            StudySettings(**{"title": "x", "columns": ("a", "b"), **wrong})
    assert not list_studies(workspace) and not list((workspace.root / "studies").iterdir())


def test_folders_of_numbered_pictures_become_a_study_with_their_prompts(tmp_path):
    for column in ("without", "with"):
        (tmp_path / column).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / column / f"{number:06d}.png")
            (tmp_path / column / f"{number:06d}.txt").write_text(f"prompt {number}")
    columns, items = items_of_folders([tmp_path / "without", tmp_path / "with"])
    assert columns == ("without", "with") and [item.prompt for item in items] == ["prompt 0", "prompt 1"]
    (tmp_path / "with" / "000001.png").unlink()
    with pytest.raises(StudioError, match="“with” has no picture “000001”"):
        items_of_folders([tmp_path / "without", tmp_path / "with"])


def test_a_damaged_database_and_damaged_settings_are_reported(tmp_path):
    workspace = Workspace(tmp_path)
    study = make_study(workspace, items=1)
    assert study_of_code(workspace, study.settings.code).id == study.id and study_of_code(workspace, "") is None
    study.ballot.path.write_bytes(b"no database" * 400)
    with pytest.raises(Damaged, match="are damaged"):
        study.ballot.votes()
    with pytest.raises(StudioError, match="does not exist"):
        Ballot(tmp_path / "none.sqlite").votes()
    (study.folder / "study.json").write_text('{"title": 3}')
    with pytest.raises(Damaged):
        study.settings  # noqa: B018
    with pytest.raises(StudioError, match="There is no study"):
        get_study(workspace, "../elsewhere")


def test_metadata_of_a_source_is_not_carried(tmp_path):
    facts = PngImagePlugin.PngInfo()
    facts.add_text("self-npo", '{"omega": 6, "negative": "secret"}')
    for column in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{column}.png", pnginfo=facts, exif=b"Exif\x00\x00secret")
    study = create_study(
        Workspace(tmp_path / "space"),
        StudySettings(title="x", columns=("a", "b")),
        [Item("p", {column: tmp_path / f"{column}.png" for column in ("a", "b")})],
    )
    assert not any(b"secret" in file.read_bytes() for file in (study.folder / "pictures").iterdir())


def test_a_space_brings_one_study_and_keeps_its_votes_over_a_restart(tmp_path):
    source = make_study(Workspace(tmp_path / "made"), items=2, questions=("overall",)).folder
    storage = Workspace(tmp_path / "storage")
    study = adopt(storage, source, "owner")
    assert (
        study.settings.key == "owner"
        and study.settings.code == study_of_code(storage, study.settings.code).settings.code
    )
    vote_all(study, lambda one: "left")
    again = adopt(Workspace(tmp_path / "storage"), source)
    assert again.id == study.id and again.ballot.counts() == (1, 2) and again.settings.key == ""
    assert len(list_studies(storage)) == 1
    with pytest.raises(StudioError):
        adopt(storage, tmp_path)
