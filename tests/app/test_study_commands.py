"""`evaluate study …`: from folders and from an evaluation, results, export and import, open and closed."""

import json
import shutil

import pytest
from PIL import Image

from app.cli import main
from core.studio.studying.study import get_study
from core.studio.workspace import Workspace
from tests.builders.studies import vote_all


@pytest.fixture
def folders(tmp_path):
    for column, colour in (("without", "red"), ("with", "blue")):
        (tmp_path / column).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 8), colour).save(tmp_path / column / f"{number:06d}.png")
    return [str(tmp_path / "without"), str(tmp_path / "with")]


def test_a_study_is_created_voted_on_exported_and_imported(tmp_path, folders, capsys):
    space = ["--workspace", str(tmp_path / "space")]
    assert main(["evaluate", "study", "create", *folders, "--questions", "detail,overall", "--json", *space]) == 0
    made = json.loads(capsys.readouterr().out)
    study = get_study(Workspace(tmp_path / "space"), made["study"])
    assert made["items"] == 3 and study.settings.columns == ("without", "with")
    copy = tmp_path / "copy" / "studies" / study.id
    shutil.copytree(study.folder, copy)
    vote_all(study, lambda one: "left" if one.left == "with" else "right")
    assert main(["evaluate", "study", "results", study.id, *space]) == 0
    text = capsys.readouterr().out
    assert "1 voters, 6 votes, 3 prompts" in text and "better 0, draw 0, worse 3  no clear difference" in text
    file = str(tmp_path / "votes.csv")
    assert main(["evaluate", "study", "export", study.id, file, *space]) == 0
    there = ["--workspace", str(tmp_path / "copy")]
    assert main(["evaluate", "study", "import", study.id, file, "--json", *there]) == 0
    capsys.readouterr()
    assert main(["evaluate", "study", "close", study.id, *there]) == 0
    assert not get_study(Workspace(tmp_path / "copy"), study.id).settings.open
    capsys.readouterr()
    assert main(["evaluate", "study", "list", "--json", *there]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["voters"], row["votes"], row["open"]) == (1, 6, False)


def test_what_is_not_there_is_reported(tmp_path, folders, capsys):
    space = ["--workspace", str(tmp_path / "space")]
    assert main(["evaluate", "study", "results", "nothing", *space]) == 1
    assert main(["evaluate", "study", "create", "nothing", *space]) == 1
    assert main(["evaluate", "study", "create", *folders, "--questions", "taste", *space]) == 1
    told = capsys.readouterr().err
    assert "There is no study “nothing”." in told and "There is no evaluation “nothing”." in told
    assert "asks each of its questions once" in told
