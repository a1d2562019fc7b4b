"""Evaluations of a tiny random model: resumed, shared out, merged, scored in part, and reported."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import main
from core.errors import StudioError
from core.miniature.scorers import JudgeScorer
from core.studio.evaluating import scorers
from core.studio.evaluating.folder import Evaluation, create_evaluation, get_evaluation, list_evaluations, merge
from core.studio.evaluating.report import write_report
from core.studio.evaluating.settings import NPO, columns_of, row_forwards
from core.studio.evaluating.work import shard_of
from core.studio.library.choose import find_offset
from core.studio.library.doses import known_dose
from tests.builders.evaluations import LEAN, SMALL, contents, finished, prepared, settings

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.long


@pytest.fixture
def space(workspace, tmp_path):
    return prepared(workspace, tmp_path)


def copied(space, evaluation, name):
    """The evaluation as another machine has it."""
    folder = space.root / name
    (folder / "chunks").mkdir(parents=True)
    for file in ("settings.json", "facts.json", "prompts.jsonl"):
        (folder / file).write_bytes((evaluation.folder / file).read_bytes())
    return Evaluation(folder)


def test_two_shares_make_the_same_files_as_one_and_merge_into_it(space, tmp_path):
    whole = create_evaluation(space, settings(tmp_path, **LEAN))
    parts = [copied(space, whole, name) for name in ("first", "second")]
    assert [done.done for done in finished(space, whole)] == [1, 2]
    for number, part in enumerate(parts):
        finished(space, part, shard=(number, 2))
        assert part.done() == 1
    assert merge(parts[0], [parts[1]]) == 1
    assert contents(parts[0]) == contents(whole)
    assert write_report(parts[0])["scorers"] == write_report(whole)["scorers"]
    other = create_evaluation(space, settings(tmp_path, **LEAN, omega=3.0))
    with pytest.raises(StudioError, match="not a part of the same evaluation"):
        merge(whole, [other])


def test_what_is_done_is_not_done_again_and_what_is_lost_comes_back_the_same(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path, **LEAN))
    finished(space, evaluation)
    before = contents(evaluation)
    evaluation.chunk_path(1).unlink()
    again = finished(space, evaluation)
    assert [done.rendering > 0 for done in again] == [False, True]
    assert contents(evaluation) == before


@pytest.mark.slow
def test_a_killed_evaluation_continues_with_the_same_figures(space, tmp_path):
    whole, killed = (create_evaluation(space, settings(tmp_path, count=4, batch=1)) for _ in range(2))
    finished(space, whole)
    command = [sys.executable, "-m", "app", "evaluate", "resume", killed.id, "--workspace", str(space.root), "--cpu"]
    for chunks in (1, 2):
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        deadline = time.monotonic() + 120
        while killed.done() < chunks and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished(space, killed)
    assert contents(killed) == contents(whole)


def test_a_scorer_that_fails_half_way_leaves_the_rest_and_is_caught_up(space, tmp_path, monkeypatch):
    evaluation = create_evaluation(space, settings(tmp_path, **LEAN))
    calls = []
    sound = JudgeScorer.score

    def failing(self, images, prompts):
        calls.append(self.figure)
        if self.figure == "cleanliness" and calls.count("cleanliness") > 1:
            raise RuntimeError("out of memory")
        return sound(self, images, prompts)

    with monkeypatch.context() as patched:
        patched.setattr(JudgeScorer, "score", failing)
        finished(space, evaluation)
    chunk = evaluation.chunk(0)
    assert chunk["failed"] == {"judge-cleanliness": "RuntimeError"}
    assert len(chunk["columns"][NPO]["judge-preference"]) == 2
    with pytest.raises(StudioError, match="No chunk"):
        write_report(evaluation)
    finished(space, evaluation)
    assert not evaluation.chunk(0)["failed"] and write_report(evaluation)["pairs"] == 4


def test_the_report_stands_alone_and_says_what_it_rests_on(space, tmp_path):
    evaluation = create_evaluation(space, settings(tmp_path))
    finished(space, evaluation, shard=(0, 2))
    assert write_report(evaluation)["pairs"] == 2, "a report of what is done so far"
    finished(space, evaluation)
    figures = write_report(evaluation)
    page = (evaluation.folder / "report.html").read_text()
    assert figures == json.loads((evaluation.folder / "report.json").read_text())
    assert figures["verdict"]["sentence"].replace("<", "&lt;") in page.replace("&#x27;", "'")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and "data:image/png" in page
    names = [column.name for column in columns_of(evaluation.settings)]
    assert names[:3] == [NPO, "random offset", "β reversed"] and "CFG ω 2" in names
    rows = {row["column"]: row for row in figures["scorers"]["judge-preference"]["rows"]}
    assert set(names) <= set(rows) and rows["CFG ω 2"]["npo_against_it"]["pairs"] == 4
    assert figures["facts"]["base"]["sha256"] and figures["facts"]["negative"]["sha256"]
    assert set(figures["diagnostics"]) == {NPO, "random offset", "β reversed"}
    assert len(figures["diagnostics"][NPO]["steps"]) == 2
    assert str(space.root) not in page


def test_pictures_and_scores_belong_to_the_prompts_next_to_them(space, tmp_path):
    """A prompt alone, and the same one as the second of a batch, give the same picture."""
    together = create_evaluation(space, settings(tmp_path, controls=False, effective=False))
    alone = create_evaluation(space, settings(tmp_path, controls=False, effective=False, batch=1))
    for evaluation in (together, alone):
        finished(space, evaluation)
    for column in (NPO, "CFG ω 1", "CFG ω 2"):
        for figure in ("contrast", "sharpness"):
            batched = together.chunk(0)["columns"][column][figure]
            single = [alone.chunk(n)["columns"][column][figure][0] for n in (0, 1)]
            apart = abs(single[0] - single[1])
            assert apart > 0 and batched == pytest.approx(single, abs=apart / 4)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"count": 0}, "count is 0, outside 1"),
        ({"count": True}, "not a valid count"),
        ({"omega": float("nan")}, "not a valid omega"),
        ({"cfg": "1,x"}, "“x” is not a valid cfg"),
        ({"omga": 1}, "“omga” is not a setting of an evaluation. Did you mean omega"),
        ({"scorers": ("best",)}, "no scorer “best”"),
        ({"scorers": ()}, "No scorer is chosen"),
        ({"first": 4}, "fewer prompts than the first"),
        ({"negative": "none.safetensors"}, "no offset “none"),
        ({"batch": 64, "seeds": 2}, "more than 64 at once"),
        ({"scorers": ("hpsv2",)}, r"HPSv2.1 is not on this machine: HPS_v2.1_compressed.pt is missing \(1.97 GB"),
    ],
)
def test_what_cannot_be_evaluated_is_reported_before_anything_is_made(space, tmp_path, changes, named):
    with pytest.raises(StudioError, match=named):
        create_evaluation(space, settings(tmp_path, **changes))
    assert not list_evaluations(space)


def test_a_scorers_file_is_found_in_the_workspace_and_named_while_it_is_missing(space):
    names = [file.name for _, file in scorers.missing(space, ["aesthetic"])]
    assert names == ["model.safetensors", "sac+logos+ava1-l14-linearMSE.pth"]
    (space.root / "scorers").mkdir()
    (space.root / "scorers" / "sac+logos+ava1-l14-linearMSE.pth").touch()
    assert [file.name for _, file in scorers.missing(space, ["aesthetic"])] == ["model.safetensors"]


def test_shares_are_counted_from_one():
    assert shard_of("1/1") == (0, 1) and shard_of("3/16") == (2, 16)
    for text in ("0/4", "5/4", "3", "a/b", "-1/4"):
        with pytest.raises(StudioError, match="not a valid shard"):
            shard_of(text)


def test_the_command_line_creates_resumes_reports_and_lists(space, tmp_path, capsys):
    at = ["--workspace", str(space.root)]
    small = [
        f"{key}={json.dumps(value)}"
        for key, value in SMALL.items()
        if key not in ("base", "negative", "scorers", "cfg")
    ]
    run = [
        "evaluate",
        "run",
        "--base",
        "tiny",
        "--negative",
        "bad.safetensors",
        "--scorers",
        "judge-preference",
        "--cfg",
        "1",
    ]
    run += ["--prompts", str(tmp_path / "prompts.txt"), *at, "--set", *small]
    assert main([*run, "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["count"] == 4 and facts["row_forwards"] == row_forwards(
        settings(tmp_path, scorers=("judge-preference",), cfg=(1.0,))
    )
    assert main([*run, "--create", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["evaluation"]
    assert main(["evaluate", "resume", made, "--shard", "2/2", "--cpu", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out) == {"evaluation": made, "done": 1, "chunks": 2}
    assert main(["evaluate", "resume", made, "--cpu", *at]) == 0
    assert "against CFG at the same ω" in capsys.readouterr().out
    assert main(["evaluate", "report", made, "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 4
    assert main(["evaluate", "list", *at]) == 0 and made in capsys.readouterr().out
    assert get_evaluation(space, made).done() == 2
    assert main(["evaluate", "report", "none", *at]) == 1 and "no evaluation “none”" in capsys.readouterr().err
    assert main(["evaluate", "scorers", *at]) == 0 and "hpsv2                missing" in capsys.readouterr().out


def test_the_strength_of_an_offset_is_measured_from_a_few_prompts(space, capsys):
    command = ["evaluate", "dose", "bad.safetensors", "--base", "tiny", "--prompts", "1", "--cpu", "--json"]
    assert main([*command, "--workspace", str(space.root)]) == 0
    strength = json.loads(capsys.readouterr().out)
    assert strength["dose"] > 0 and strength["as_cfg"] == pytest.approx(2 * strength["dose"], abs=1e-3)
    assert list(strength["ratios"]) == ["0.1", "0.3", "0.5", "0.7", "0.9"]
    assert strength["sentence"].startswith("At β = 1 and ω = 2, bad moves")
    assert 0 < strength["proposed_beta"] <= 1
    path = find_offset(space, "bad.safetensors")
    assert known_dose(space, path) == strength["dose"], "it is kept, by the offset's contents"
    path.rename(path.with_name("renamed.safetensors"))
    try:
        assert known_dose(space, path.with_name("renamed.safetensors")) == strength["dose"]
    finally:
        path.with_name("renamed.safetensors").rename(path)


def test_a_gallery_has_numbered_pairs_with_their_prompts_and_continues(space, tmp_path, capsys):
    out = tmp_path / "gallery"
    command = [
        "gallery",
        str(tmp_path / "prompts.txt"),
        str(out),
        "--base",
        "tiny",
        "--negative",
        "bad.safetensors",
        "--cpu",
    ]
    command += ["--workspace", str(space.root), "--set", "steps=2", "batch=2"]
    assert main([*command, "--shard", "1/2"]) == 0
    assert sorted(path.name for path in (out / "with").iterdir()) == [
        f"00000{n}.{kind}" for n in (0, 1) for kind in ("png", "txt")
    ]
    first = (out / "with" / "000000.png").stat().st_mtime_ns
    assert main(command) == 0
    prompts = (tmp_path / "prompts.txt").read_text().splitlines()
    for folder in ("with", "without"):
        assert [(out / folder / f"00000{n}.txt").read_text() for n in range(4)] == prompts
    assert (out / "with" / "000000.png").stat().st_mtime_ns == first
    assert (out / "with" / "000003.png").read_bytes() != (out / "without" / "000003.png").read_bytes()
