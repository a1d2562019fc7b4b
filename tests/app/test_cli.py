"""The command line: help everywhere, JSON where results are, dry runs that do nothing, one sentence for each fault."""

import json
import shutil
import subprocess
import sys

import pytest

from app.cli import main
from core.generation.media import read_png
from core.studio.workspace import ASSETS

TINY = ["steps=2", "batch_size=2", "pool_size=2", "rank=2", "preview_every=0", "ddim_grid=4", "rollout_steps=1"]


@pytest.fixture
def space(tmp_path):
    return ["--workspace", str(tmp_path / "space")]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["resume"],
        ["compare"],
        ["runs"],
        ["grid"],
        ["score"],
        ["offset"],
        ["offset", "info"],
        ["bench"],
        ["bench", "guidance"],
        ["bench", "training"],
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0 and "usage:" in capsys.readouterr().out


@pytest.mark.long
def test_train_resume_runs_and_compare_end_to_end(space, capsys, tmp_path):
    assert main(["train", "--cpu", "--name", "first", *space, "--set", *TINY]) == 0
    assert "finished, offset offset.safetensors" in capsys.readouterr().out
    assert main(["runs", "--json", *space]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["status"], run["step"]) == ("finished", 2)
    assert main(["resume", run["id"], *space]) == 1
    assert "is finished" in capsys.readouterr().err
    assert main(["offset", "info", f"run {run['id']}", "--json", *space]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "studio"
    options = ["--set", "steps=2", "images=1", "seed=5", f"negative=run {run['id']}"]
    assert main(["compare", "a red circle", "--cpu", "--json", *space, *options]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["beta"], second["seed"]) == (0.0, 5) and second["beta"] != 0
    assert read_png(tmp_path / "space" / "outputs" / second["file"].split("/")[-1])["prompt"] == "a red circle"
    assert main(["compare", "--preset", second["file"], "--dry-run", "--json", *space]) == 0
    assert json.loads(capsys.readouterr().out)["omega"] == second["omega"]
    assert main(["train", "--dry-run", "--json", *space]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] > 0 and plan["measured_in"] == run["id"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("prompt", "stderr"),
    [
        pytest.param("a blue ring", "", marks=pytest.mark.slow),
        ("a " * 30, "The model ignores the end of the prompt: “a a a a”.\n"),
    ],
)
def test_loading_prints_nothing_that_a_person_cannot_act_on(space, prompt, stderr):
    """Imports included: a start of its own, not a copy."""
    command = [sys.executable, "-m", "app", "compare", prompt, "--cpu", *space, "--set", "steps=2", "images=1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert ended.stderr == stderr and ended.stdout.count("seed") == 2


def test_a_measurement_is_a_table_and_a_json_file(space, capsys, tmp_path):
    assert main(["bench", "memory", *space]) == 0
    shown = capsys.readouterr().out
    assert "sdxl, rendering, 2 rows" in shown and "computed" in shown and "GiB" in shown and str(tmp_path) not in shown
    (file,) = (tmp_path / "space" / "bench").glob("memory-*.json")
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["bench"] == "memory" and kept["machine"]["packages"]["torch"] and len(kept["rows"]) > 8
    assert main(["bench", "memory", "--out", str(tmp_path / "mine.json"), *space]) == 0
    assert (tmp_path / "mine.json").is_file()


def test_dry_runs_do_nothing(space, capsys, tmp_path):
    assert main(["train", "--dry-run", "--json", "--set", "steps=7", *space]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"] == 7 and plan["row_forwards_per_sample"] > 0 and plan["seconds"] is None
    assert main(["compare", "a red circle", "--dry-run", *space]) == 0
    assert main(["bench", "guidance", "--dry-run", *space]) == 0
    assert not list((tmp_path / "space" / "runs").iterdir()) and not list((tmp_path / "space" / "outputs").iterdir())


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["bench"], "Name what to measure, or --all"),
        (["bench", "--all", "memory"], "Name what to measure, or --all"),
        (["train", "--set", "stps=1"], "Did you mean steps"),
        (["train", "--set", "steps"], "KEY=VALUE"),
        (["train", "--recipe", "best"], "no recipe “best”"),
        (["train", "--base", "/nowhere"], "no base model “nowhere”"),
        (["resume", "../../x"], "There is no run"),
        (["compare", "x", "--set", "omegga=1"], "Did you mean omega"),
        (["compare", "x", "--set", "omega=99"], "outside 0 to 30"),
        (["compare", "x", "--preset", "/no/such.json"], "not a preset"),
        (["offset", "info", "/etc/hostname"], "“hostname”"),
        (["--listen", "--no-browser"], "Add --auth"),
        (["--share", "--no-browser"], "Add --auth"),
        (["--auth", "nobody", "--no-browser"], "NAME:PASSWORD"),
        (["--port", "99999", "--no-browser"], "not a valid port"),
    ],
)
def test_each_fault_is_one_sentence_and_exit_code_1(space, capsys, monkeypatch, command, sentence):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert main([*command, *space]) == 1
    printed = capsys.readouterr().err
    assert sentence in printed and "Traceback" not in printed and printed.startswith("Error: ")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("seed=NaN", "seed must be a whole number, not nan"),
        ("seed=1e999", "seed must be a whole number, not inf"),
        ("seed=" + "9" * 5000, "seed must be a whole number"),
        ("strength=null", "strength must be a number, not None"),
        ("images=1e9", "images is 1000000000, outside 1 to 16"),
        ("height=100000", "height is 100000, outside 0 to 8192"),
        ("steps=true", "steps must be a whole number, not True"),
        ("negative_prompt=[1]", "negative_prompt must be text"),
        ("omega=-Infinity", "omega must be a number, not -inf"),
        ("negative=\udcff", "not valid Unicode"),
        ("base=\0", "base"),
    ],
)
def test_row_75_on_the_command_line(space, capsys, setting, sentence):
    assert main(["compare", "x", "--dry-run", "--set", setting, *space]) == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: ") and sentence in message and "Traceback" not in message
    assert len(message) < 400


def test_every_setting_of_a_comparison_is_explained(capsys):
    assert main(["compare", "--settings"]) == 0
    listed = capsys.readouterr().out
    assert "omega = 2.0  0 to 30" in listed and "How strongly the picture follows the prompt" in listed
    assert main(["compare", "--settings", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"omega", "beta", "steps", "control"}


def test_a_dry_run_shows_the_cost_with_an_input_picture(tmp_path, capsys):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "start.png")
    command = ["compare", "x", "--dry-run", "--json", "--workspace", str(tmp_path / "space"), "--set"]
    command += ["images=1", "steps=20", "strength=0.4", "--input", str(tmp_path / "start.png")]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["row_forwards"] == 32  # 8 steps, two columns, two rows each


def test_a_workspace_that_cannot_be_written_is_reported(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["runs", "--workspace", str(tmp_path / "file" / "space")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_input_picture_on_the_command_line(tmp_path, capsys):
    from PIL import Image

    Image.new("RGB", (64, 64), (200, 40, 40)).save(tmp_path / "start.jpg")
    space = ["--workspace", str(tmp_path / "space"), "--cpu"]
    command = ["compare", "a red circle", *space, "--set", "images=1", "steps=4", "strength=0.5", "--json"]
    assert main([*command, "--input", str(tmp_path / "start.jpg")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert len(made) == 2 and made[0]["strength"] == 0.5 and len(made[0]["input_sha256"]) == 64
    (tmp_path / "no.png").write_text("x")
    for more, sentence in (
        (["--input", str(tmp_path / "no.png")], "is not a picture that can be read"),
        (["--mask", str(tmp_path / "start.jpg")], "--mask requires --input"),
        (["--input", str(tmp_path / "start.jpg"), "--set", "strength=0"], "strength is 0, outside 0.01 to 1"),
    ):
        assert main(["compare", *space, *more]) == 1
        assert sentence in capsys.readouterr().err


def test_a_memory_profile_fits_the_settings_and_what_is_set_goes_before_it(space, capsys, tmp_path):
    shutil.copytree(ASSETS / "configs" / "sdxl", tmp_path / "mine")
    command = ["train", "--base", str(tmp_path / "mine"), "--memory-profile", "8", "--dry-run", "--json", *space]
    assert main(command) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["gradient_checkpointing"] and plan["precision"] == "bf16" and plan["batch_size"] < 16
    assert main([*command, "--set", "batch_size=1"]) == 0
    assert json.loads(capsys.readouterr().out)["batch_size"] == 1
    assert main(["train", "--memory-profile", "9", "--dry-run", *space]) == 1
    assert "no memory profile “9”" in capsys.readouterr().err


def test_fault_26_bytes_that_are_not_text_are_refused_in_a_sentence(capsys):
    for command in (["train", "--dry-run", "--name", "a\udcff"], ["compare", "--dry-run", "a\udcff"]):
        assert main(command) == 1
        assert capsys.readouterr().err == "Error: “a?” is not valid Unicode text. Write it in UTF-8.\n"


def test_a_grid_and_the_scores_of_its_pictures_as_the_page_has_them(space, capsys):
    options = ["a large fox", *space, "--cpu", "--json", "--x", "beta=0,1", "--y", "omega=1:3:2", "--seeds", "2"]
    assert main(["grid", *options, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 8
    assert main(["grid", *options, "--set", "steps=1", "seed=3"]) == 0
    grid = json.loads(capsys.readouterr().out)
    assert [(c["place"], c["beta"], c["omega"], c["seed"]) for c in grid["cells"]][:3] == [
        ([0, 0, 0], 0.0, 1.0, 3), ([0, 0, 0], 0.0, 1.0, 4), ([1, 0, 0], 1.0, 1.0, 3)
    ]  # fmt: skip
    assert len(grid["cells"]) == 8 and len(grid["sheets"]) == 1
    files = [cell["file"] for cell in grid["cells"][:2]]
    assert main(["score", *files, *space, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert [round(row["judge-preference"], 3) for row in scores] == [cell["score"] for cell in grid["cells"][:2]]
    assert scores[0]["prompt"] == "a large fox"
    assert main(["score", *files, *space]) == 0
    assert "mean of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["grid", "a"], "The grid has no axis."),
        (["grid", "a", "--x", "beta"], "--x needs a setting and its values."),
        (["grid", "a", "--x", "beta=0,1", "--seeds", "99"], "images is 99, outside 1 to 16."),
        (["score", "assets/page/icon.png"], "icon.png"),
        (["score", "assets/page/icon.png", "--scorer", "best"], "There is no scorer “best”."),
        (["grid", "a", "--attention", "fast"], "“fast” is not an implementation of attention."),
        (["score", "assets/page/icon.png", "--attention", "xformers"], "xformers"),
    ],
)
def test_grid_and_score_say_what_is_wrong(space, capsys, arguments, sentence):
    assert main([*arguments, *space]) == 1
    assert sentence in capsys.readouterr().err
