"""Every action of the page, called as what it is: a plain function of plain values. No browser, no server."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from app.page import (
    compare_actions,
    curves,
    grid_actions,
    history_actions,
    library_actions,
    presets_actions,
    proposal_actions,
    runs_actions,
    settings_actions,
    share_actions,
    train_actions,
)
from app.page.examples import chosen_prompts, words_of
from app.page.views import Cell, Pair, board, flicker, slider
from app.page.wiring import by_component
from core.errors import StudioError
from core.events import PoolProgress, PreviewSaved, RunFailed, RunFinished, RunStarted, StepDone
from core.generation.media import read_png
from core.studio.comparing.grid import parse_axis, render_grid
from core.studio.comparing.settings import opening_values
from core.studio.presets.files import save_preset
from core.studio.presets.preset import preset_of
from core.studio.presets.proposal import propose_file
from core.studio.presets.sharing import to_link
from core.studio.runs import process
from core.studio.runs.journal import Journal
from core.studio.runs.notes import read_notes
from core.studio.runs.run import create_run, get_run
from core.studio.workspace import Workspace
from core.training.config import TrainConfig
from tests.builders.player import Player


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "space")


@pytest.fixture
def engine(workspace):
    return Player(workspace)


@pytest.fixture
def values(workspace):
    return opening_values(workspace, {"images": 2})


def rendered(engine, values, *, betas="", mode="fixed", cancelled=lambda: False):
    steps = list(compare_actions.render(engine, values, betas, mode, None, cancelled))
    final = {}
    for step in steps:
        final |= step
    return steps, final


# --- Compare ---


def test_a_rendering_says_so_at_once_shows_rough_pictures_and_ends_with_pairs(engine, values):
    steps, final = rendered(engine, values)
    assert steps[0]["go"]["interactive"] is False and steps[0]["stop"]["interactive"] is True
    assert "Preparing" in steps[0]["status"] and "Step 1 of" in steps[1]["status"]
    assert any("data:image" in step.get("sides", "") for step in steps)
    assert final["status"].startswith("Done. ω 2") and "The prompt is cut." in final["status"]
    assert [pair.caption for pair in final["records"]] == ["seed 4", "seed 5"]
    assert final["go"]["interactive"] and not final["stop"]["interactive"]
    assert final["sides"].count('class="pair"') == 2 and final["last_seed"] == 4
    assert json.loads(final["facts"])["beta"] == 1.0 and final["share"]["interactive"]


def test_the_judges_score_is_shown_where_it_applies_and_still_after_a_reload(workspace, values):
    engine = Player(workspace, judge={"a red circle": 0.75})
    _, final = rendered(engine, {**values, "prompt": "an astronaut", "images": 1})
    assert [cell.score for cell in final["records"][0].cells] == [None, None]
    _, final = rendered(engine, {**values, "prompt": "a red circle", "images": 1})
    assert [cell.score for cell in final["records"][0].cells] == [0.75, 0.75]
    assert final["sides"].count('class="score"') == 2
    last = compare_actions.last_pairs_or_opening(workspace, persistent=True)
    assert [cell.score for pair in last for cell in pair.cells] == [0.75, 0.75]
    assert compare_actions.judged({"judge": "<b>"}) is None and compare_actions.judged({"judge": 7.0}) is None


def test_a_fault_while_rendering_is_said_and_the_buttons_come_back(workspace, values):
    _, final = rendered(Player(workspace, StudioError("It is broken.", "Repair it.")), values)
    assert "It is broken." in final["status"] and final["go"]["interactive"] and not final["stop"]["interactive"]


def test_a_stopped_rendering_says_so(engine, values):
    _, final = rendered(engine, values, cancelled=lambda: True)
    assert str(final["status"]).startswith(("Stopped", "__i18n__")) and final["go"]["interactive"]


def test_seed_minus_one_is_a_random_seed_each_time_and_stays_in_the_form(engine, values):
    for _ in range(2):
        _, final = rendered(engine, {**values, "seed": -1}, mode="next")
        assert "seed" not in final and final["last_seed"] == engine.asked[-1].seeds[0] >= 0
    assert engine.asked[0].seeds != engine.asked[1].seeds


def test_the_next_seed_follows_those_rendered(engine, values):
    assert rendered(engine, {**values, "seed": 5}, mode="next")[1]["seed"] == 7
    assert "seed" not in rendered(engine, {**values, "seed": 5})[1]


def test_more_values_of_beta_are_more_columns_with_names_that_differ(engine, values):
    _, final = rendered(engine, values, betas="0.5, 1")
    assert [cell.name for cell in final["records"][0].cells] == ["without NPO", "with NPO, β 1", "with NPO, β 0.5"]


def test_choosing_a_picture_shows_its_pair_and_its_settings(engine, values):
    pairs = rendered(engine, values)[1]["records"]
    changes = compare_actions.choose(pairs, 2)
    assert changes["chosen"] == (pairs[1], pairs[1].cells[0]) and json.loads(changes["facts"])["beta"] == 0.0
    assert "stage slide" in changes["slide"] and "stage flicker" in changes["flicker"]
    assert compare_actions.choose(pairs, 99) == {}


def test_the_cost_is_told_in_time_and_asked_again_only_while_the_engine_warms(engine, values):
    assert compare_actions.estimate(engine, values, "")["estimate"] == "about 8 s · 200 row-forwards"
    assert compare_actions.estimate(engine, {**values, "images": 0}, "") == {}
    changes = compare_actions.opening_estimate(engine, values, "")
    assert not changes["loading"].active
    engine.warming = "miniature-sd15"
    assert compare_actions.opening_estimate(engine, values, "")["loading"].active


def test_another_base_keeps_what_was_typed_and_brings_its_own_back(engine, values):
    typed = {**values, "prompt": "my own words", "omega": 7.3, "steps": 12, "height": 128}
    there, kept, line = compare_actions.base_changed(engine, {**typed, "base": "miniature-sdxl"}, "miniature-sd15", {})
    after = {**typed, **there}
    assert (after["prompt"], after["omega"], after["steps"]) == ("my own words", 7.3, 12)
    assert after["height"] == 0 and after["negative"] != values["negative"]
    assert "What you typed is kept" in line and values["negative"] in line
    back, _, _ = compare_actions.base_changed(engine, {**after, "base": "miniature-sd15"}, "miniature-sdxl", kept)
    again = {**after, **back}
    assert (again["height"], again["negative"]) == (128, values["negative"]) and again["prompt"] == "my own words"


def test_an_untouched_prompt_follows_the_base(engine, values):
    changes, _, _ = compare_actions.base_changed(engine, {**values, "base": "miniature-sdxl"}, "miniature-sd15", {})
    own = json.loads((compare_actions.ASSETS / "miniature-sdxl" / "studio.json").read_text())
    assert changes["prompt"] == own["prompt"]


def test_the_settings_of_a_picture_leave_the_number_of_pairs_alone(engine, values):
    settings = rendered(engine, values)[1]["records"][0].cells[1].settings
    taken = compare_actions.values_of(settings)
    assert "images" not in taken and taken["base"] == "miniature-sd15" and (taken["width"], taken["height"]) == (64, 64)
    assert compare_actions.values_of({}) == {}


def test_the_page_opens_with_a_rendered_pair_and_after_a_reload_with_the_last_ones(engine, values, workspace):
    opening = compare_actions.last_pairs_or_opening(workspace, persistent=True)
    assert opening and all(cell.source.startswith("data:image/webp") for pair in opening for cell in pair.cells)
    rendered(engine, values)
    last = compare_actions.last_pairs_or_opening(workspace, persistent=True)
    assert [pair.caption for pair in last] == ["seed 4", "seed 5"]
    assert compare_actions.last_pairs_or_opening(workspace, persistent=False)[0].cells[0].source.startswith("data:")


def test_the_rows_of_a_grid_do_not_take_the_place_of_the_last_comparison(engine, values, workspace):
    rendered(engine, values)
    assert list(render_grid(engine, values, parse_axis("beta", "0.5, 2"), parse_axis("", ""), parse_axis("", "")))
    last = compare_actions.last_pairs_or_opening(workspace, persistent=True)
    assert [[cell.settings["beta"] for cell in pair.cells] for pair in last] == [[0, 1], [0, 1]]


def test_the_input_picture_and_its_mask_are_told():
    background = Image.new("RGBA", (32, 16), (9, 9, 9, 255))
    layer = Image.new("RGBA", (32, 16), (0, 0, 0, 0))
    assert compare_actions.input_line(None) == {"arrived": ""}
    line = compare_actions.input_line({"background": background, "layers": [layer]})["arrived"]
    assert line == "Rendering begins from this picture, 32 x 16."
    layer.putpixel((3, 3), (255, 255, 255, 255))
    painted = compare_actions.input_line({"background": background, "layers": [layer]})["arrived"]
    assert painted == "Only the painted area is redrawn."


# --- Share ---


def test_a_pair_is_shared_as_picture_animation_video_and_link_with_its_settings_inside(engine, values, workspace):
    final = rendered(engine, {**values, "prompt": "绿色的月亮 θ"})[1]
    changes = share_actions.share(workspace.outputs, final["chosen"])
    picture = Image.open(changes["share_png"])
    assert picture.width > 2 * 512 and picture.height > 512
    assert read_png(workspace.outputs / "shared" / changes["share_png"].rpartition("/")[2])["prompt"] == "绿色的月亮 θ"
    animation = Image.open(changes["share_gif"]["value"])
    assert (
        animation.n_frames == 2 and changes["share_mp4"]["value"].endswith(".mp4") and len(changes["share_code"]) > 20
    )
    dropped = propose_file(workspace, workspace.outputs / "shared" / Path(changes["share_gif"]["value"]).name)
    assert dropped.values["prompt"] == "绿色的月亮 θ" and dropped.values["beta"] == 1.0
    assert share_actions.share(workspace.outputs, None) == {}
    bundled = compare_actions.opening_pairs()[0]
    assert "bundled with the studio" in share_actions.share(workspace.outputs, (bundled, bundled.cells[0]))["status"]
    assert share_actions.closed()["shared"]["visible"] is False


# --- History ---


def test_the_history_searches_marks_deletes_and_brings_back_whole_pairs(engine, values, workspace):
    assert "No picture yet" in history_actions.search(workspace, "", False)["summary"]
    rendered(engine, values)
    listed = history_actions.search(workspace, "star", False)
    assert len(listed["listed"]) == 2 and listed["summary"].startswith("2 found")
    assert "Nothing found" in history_actions.search(workspace, "submarine", False)["summary"]
    pair = listed["listed"][0]
    assert pair.caption == values["prompt"] and len(pair.cells) == 2
    marked = history_actions.mark(workspace, (pair, pair.cells[1]), "", True)
    assert len(marked["listed"]) == 1 and "★" in marked["past"]
    gone = history_actions.delete(workspace, (pair, pair.cells[1]), "", False)
    assert len(gone["listed"]) == 1 and gone["undo"]["interactive"] and len(gone["away"]) == 2
    assert not gone["delete"]["interactive"], "a double click finds nothing to do"
    back = history_actions.undo(workspace, gone["away"], "", False)
    assert len(back["listed"]) == 2 and not back["undo"]["interactive"]
    assert "not in the outputs folder" in history_actions.delete(workspace, None, "", False)["status"]
    assert "nothing to restore" in history_actions.undo(workspace, ["/tmp/x"], "", False)["status"]


# --- Settings from elsewhere ---

A1111 = (
    "a fox <lora:inkpunk:0.8>\nNegative prompt: blurry\n"
    "Steps: 30, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 12, Size: 512x768, Model: deliberate_v2, Clip skip: 2"
)


def a1111(tmp_path):

    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", A1111)
    Image.new("RGB", (8, 8)).save(tmp_path / "theirs.png", pnginfo=info)
    return tmp_path / "theirs.png"


def test_a_picture_of_another_program_says_what_fits_what_is_missing_and_what_it_has_no_counterpart_for(
    workspace, tmp_path, values
):
    changes = proposal_actions.from_file(workspace, str(a1111(tmp_path)), values)
    text = changes["proposal_text"]
    for part in (
        "deliberate_v2” is not on this machine",
        "inkpunk",
        "Clip skip 2",
        "a fox",
        "Chosen for the missing model",
    ):
        assert part in text, part
    assert changes["proposal"]["visible"] and changes["proposal_held"]["visible"]
    proposal = changes["proposed"]
    assert "width" not in proposal.values and "omega" not in proposal.values
    assert (proposal.held["width"], proposal.held["height"], proposal.held["omega"]) == (512, 768, 6.5)
    accepted, line = proposal_actions.accepted(proposal, False)
    assert "width" not in accepted and accepted["negative_prompt"] == "blurry" and "Applied" in line
    assert proposal_actions.accepted(proposal, True)[0]["width"] == 512
    assert proposal_actions.hidden()["proposal"]["visible"] is False
    assert proposal_actions.accepted(None, True) == ({}, "")


def test_a_picture_of_ours_names_its_model_and_fits(engine, values, workspace):
    rendered(engine, values)
    proposal = propose_file(workspace, workspace.outputs / "20260101-000000-abcdef-1-4.png")
    assert proposal.values["base"] == "miniature-sd15" and not proposal.missing and not proposal.held


def test_a_comfyui_picture_names_its_model_loras_and_what_has_no_counterpart(workspace, tmp_path):
    inputs = {"steps": 20, "seed": 7, "cfg": 7, "sampler_name": "euler_ancestral", "scheduler": "karras"}
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "2": {"class_type": "LoraLoader", "inputs": {"lora_name": "y.safetensors"}},
        "3": {"class_type": "KSampler", "inputs": inputs},
    }
    info = PngImagePlugin.PngInfo()
    info.add_itxt("prompt", json.dumps(graph))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    proposal = propose_file(workspace, tmp_path / "a.png")
    assert [str(sentence) for sentence in proposal.missing] == [
        "The base model “x” is not on this machine.",
        "The LoRA “y” is not applied from a prompt; it is not on this machine.",
    ]
    assert [str(sentence) for sentence in proposal.ignored] == [
        "“Sampler euler_ancestral” has no equivalent setting in this studio.",
        "“Schedule type karras” has no equivalent setting in this studio.",
    ]


def test_a_link_opens_the_dialog_and_a_damaged_one_says_so(workspace, values):
    link = to_link(preset_of({"prompt": "a bell", "beta": 1.5}, name="<b>"))
    changes = proposal_actions.from_address(workspace, link, values)
    assert "&lt;b&gt;" in changes["proposal_text"] and changes["proposed"].values["beta"] == 1.5
    assert "cut off" in proposal_actions.from_address(workspace, "AAAA", values)["status"]
    assert proposal_actions.from_address(workspace, "", values) == {}
    assert (
        "not a readable picture"
        in proposal_actions.from_file(workspace, __file__.replace(".py", ".png"), values)["status"]
    )


# --- Presets ---


def test_presets_are_chosen_saved_renamed_deleted_and_brought_back(workspace, values):
    saved = presets_actions.save(workspace, "Mine", "about", "me", False, {**values, "seed": -1})
    assert saved["preset_status"] == "Saved." and saved["rename"]["interactive"]
    assert "already" in presets_actions.save(workspace, "Mine", "", "", False, values)["preset_status"]
    assert [name for name, key in saved["presets"]["choices"]][0] == "Mine ✎"
    chosen = presets_actions.choose(workspace, "Mine", values)
    assert "Compare already has these settings" in chosen["preset"] and chosen["apply"]["interactive"]
    built_in = presets_actions.choose(workspace, "sd15/paper-training-free", values)
    assert not built_in["rename"]["interactive"] and built_in["held"]["visible"]
    renamed = presets_actions.rename(workspace, "Mine", "Yours")
    gone = presets_actions.delete(workspace, renamed["presets"]["value"])
    assert gone["preset_undo"]["interactive"] and not gone["delete"]["interactive"]
    assert presets_actions.undo(workspace, gone["preset_away"])["preset_status"] == "Restored."
    for fault in (
        presets_actions.choose(workspace, "none such", values),
        presets_actions.rename(workspace, "none such", "x"),
        presets_actions.delete(workspace, "sd15/paper-training-free"),
        presets_actions.undo(workspace, "/tmp/none"),
    ):
        assert 'role="alert"' in fault["preset_status"]


def test_a_preset_is_applied_linked_dropped_and_listed(workspace, values, tmp_path):
    path = save_preset(workspace, preset_of({"beta": 2.0}, name="Drop"))
    dropped = presets_actions.drop(workspace, str(path), values)
    assert "not saved yet" in dropped["preset_status"] and presets_actions.drop(workspace, None, values) == {}
    assert presets_actions.apply(dropped["current"], False)[0] == {"beta": 2.0}
    assert presets_actions.apply(None, False) == ({}, "Choose a preset first.")
    assert presets_actions.link(dropped["current"])["code"] and presets_actions.link(None) == {}
    assert presets_actions.file_of(dropped["current"].preset).read_text() == path.read_text()
    assert any(key == "Drop" for _, key in presets_actions.listed(workspace)["presets"]["choices"])


def test_a_preset_is_pulled_from_the_hub_and_pushed_there(workspace, values, monkeypatch):
    text = preset_of({"beta": 2.0}, name="theirs").to_json()
    monkeypatch.setattr(presets_actions.hub, "pull_preset", lambda repository: (text, "c" * 40))
    monkeypatch.setattr(presets_actions.hub, "push_preset", lambda repository, text, card: "d" * 40)
    pulled = presets_actions.pull(workspace, " a/b ", values)
    assert "cccccccccccc; not saved yet" in pulled["preset_status"] and pulled["current"].values == {"beta": 2.0}
    assert "dddddddddddd" in presets_actions.push("a/b", pulled["current"])["preset_status"]
    for fault in (presets_actions.pull(workspace, "///", values), presets_actions.push("///", pulled["current"])):
        assert 'role="alert"' in fault["preset_status"]
    assert presets_actions.push("a/b", None) == {}


# --- Grid ---


def test_a_grid_renders_cells_in_place_and_a_cell_can_be_chosen(engine, values):
    axes = [("beta", "0, 1"), ("omega", "1, 3"), ("none", "")]
    steps = list(grid_actions.render(engine, axes, values, lambda: False))
    assert steps[0]["stop_grid"]["interactive"] and not steps[0]["render_grid"]["interactive"]
    final = {}
    for step in steps:
        final |= step
    assert "Done: 4 of 4 cells" in final["grid_status"] and len(final["grid_records"]) == 4
    assert final["render_grid"]["interactive"] and "grid-" in final["sheets"]
    chosen = grid_actions.choose(final["grid_records"], 3)
    assert chosen["to_compare"]["interactive"] and (chosen["grid_chosen"]["beta"], chosen["grid_chosen"]["omega"]) == (
        1,
        3,
    )
    pair, cell = chosen["chosen"]
    assert [one.name for one in pair.cells] == ["without NPO", "with NPO"], "plain CFG of the same row stands beside it"
    assert pair.cells[0].settings["beta"] == 0 and pair.cells[0].settings["omega"] == cell.settings["omega"] == 3
    assert len(grid_actions.choose(final["grid_records"], 0)["chosen"][0].cells) == 1
    assert grid_actions.choose(final["grid_records"], 9) == {}
    fault = list(grid_actions.render(engine, [("beta", "x"), ("none", ""), ("none", "")], values, lambda: False))
    assert 'role="alert"' in fault[-1]["grid_status"] and fault[-1]["render_grid"]["interactive"]


def test_a_grid_of_several_seeds_shows_them_in_each_cell_with_their_mean_in_the_heat_map(workspace, values):
    engine = Player(workspace, judge={values["prompt"]: 0.5})
    axes = [("beta", "0, 1"), ("none", ""), ("none", "")]
    *_, last = (step for step in grid_actions.render(engine, axes, values, lambda: False, 2) if "cells" in step)
    assert [[cell.name for cell in pair.cells] for pair in last["grid_records"]] == [["seed 4", "seed 5"]] * 2
    assert "Done: 2 of 2 cells" in last["grid_status"] and last["heat"].count("<td style") == 2
    refused = list(grid_actions.render(engine, axes, values, lambda: False, 99))
    assert "Pairs is 99, outside 1 to 16" in refused[-1]["grid_status"]


# --- Train and Runs ---


def run_with(workspace, *events, **settings):
    run = create_run(workspace, TrainConfig.from_dict({"steps": 100, **settings}), "r")
    journal = Journal(run.folder)
    for event in events:
        journal.append(event)
    journal.close()
    return run


def done(step, rate=2.0):
    return StepDone(step=step, loss=1 / step, learning_rate=1e-3, gradient_norm=1, rate=rate, memory=2**30)


STARTED = RunStarted(steps=100, device="cpu", processes=1, trainable_parameters=1, row_forwards_per_sample=8)


def test_a_plan_tells_the_time_of_the_first_run_from_the_speed_of_rendering(engine):
    values = train_actions.recipe_values("studio")
    form = {name: values[name] for name in train_actions.CONTROLS}
    changes = train_actions.forecast(engine, "miniature-sd15", "studio", form)
    assert "from the speed of rendering" in changes["plan"] and changes["start_run"]["interactive"]
    engine.seconds = None
    assert "known after" in train_actions.forecast(engine, "miniature-sd15", "studio", form)["plan"]
    wrong = train_actions.forecast(engine, "miniature-sd15", "studio", {**form, "steps": None})
    assert "Steps is empty" in wrong["plan"] and not wrong["start_run"]["interactive"]


def test_recipe_profile_and_rank_fill_the_form(workspace):
    paper = train_actions.choose_recipe("paper")
    assert set(train_actions.CONTROLS) < set(paper) and paper["former_rank"] == paper["rank"]
    small = train_actions.choose_profile(workspace, "miniature-sd15", "8")
    assert set(small) == {"meaning"} and train_actions.choose_profile(workspace, "miniature-sd15", "") == {}
    assert 'role="alert"' in train_actions.choose_profile(workspace, "none such", "8")["meaning"]
    assert train_actions.rank_changed(16, 8, 8) == {"former_rank": 16, "lora_alpha": 16}
    assert train_actions.rank_changed(16, 4, 8) == {"former_rank": 16}


def test_a_second_start_shows_the_first_and_a_wrong_one_says_why(engine, workspace, monkeypatch):
    started = []
    monkeypatch.setattr(process, "start_run", lambda run, cpu: started.append(run.id) or run)
    monkeypatch.setattr(train_actions, "enqueue", lambda workspace, run, cpu: started.append(run.id) or run)
    values = train_actions.recipe_values("studio")
    form = {name: values[name] for name in train_actions.CONTROLS}
    first = train_actions.start(engine, "miniature-sd15", "studio", form)
    assert started == [first["run_id"]] and first["note"] == ""
    monkeypatch.setattr(train_actions, "_running", lambda workspace: first["run_id"])
    second = train_actions.start(engine, "miniature-sd15", "studio", form)
    assert second["run_id"] == first["run_id"] and "is already training" in second["note"] and len(started) == 1
    assert "in the queue" in train_actions.enqueue_run(engine, "miniature-sd15", "studio", form)["note"]
    assert 'role="alert"' in train_actions.start(engine, "none such", "studio", form)["note"]


def test_watching_a_run_changes_only_what_is_new_and_clears_the_note_when_it_ends(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1), done(2))
    first = train_actions.watch(workspace, run.id, curves.Shown())
    assert "<svg" in first["curve"] and "step 2 of 100" in first["run_status"] and first["resume"]["interactive"]
    again = train_actions.watch(workspace, run.id, first["seen"])
    assert set(again) == {"timer", "seen"} and not again["timer"].active
    was = dataclasses.replace(first["seen"], status="running")
    assert train_actions.watch(workspace, run.id, was)["note"] == ""
    assert "No run chosen" in train_actions.watch(workspace, "", curves.Shown())["run_status"]
    assert 'role="alert"' in train_actions.watch(workspace, "none", curves.Shown())["run_status"]


def test_what_was_asked_of_a_run_is_told_until_it_is_done(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(3))
    assert "not running" in train_actions.ask(workspace, run.id, "pause")["run_status"]
    monkeypatch.setattr(type(run), "process", lambda self: object())
    changes = train_actions.ask(workspace, run.id, "pause")
    assert not changes["pause"]["interactive"] and get_run(workspace, run.id).requested == "pause"
    assert "pausing after this step" in curves.status_line(run, run.events()[0])
    assert not train_actions.watch(workspace, run.id, curves.Shown())["stop_run"]["interactive"]


def test_time_left_is_unknown_after_resume_until_the_first_step_of_the_new_process(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(50), dataclasses.replace(STARTED, step=50, resumed=True))
    monkeypatch.setattr(type(run), "process", lambda self: object())
    resumed = curves.status_line(run, run.events()[0])
    assert "loading" in resumed and ">left" not in resumed and "left <b>" not in resumed
    journal = Journal(run.folder)
    journal.append(done(51, rate=0.5))
    journal.close()
    assert "left <b>1 min 38 s</b>" in curves.status_line(run, run.events()[0])


def test_resume_and_attach(engine, workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1))
    monkeypatch.setattr(train_actions, "start_run", lambda run, cpu: run)
    assert "Resuming" in train_actions.resume(engine, run.id)["run_status"]
    assert 'role="alert"' in train_actions.resume(engine, "none")["run_status"]
    assert train_actions.attach(workspace, run.id, "")["run_id"] == run.id
    assert train_actions.attach(workspace, "gone", "")["run_id"] == ""
    assert train_actions.base_of(workspace, run.id) == "miniature-sd15" and train_actions.base_of(workspace, "x") == ""


def test_what_a_run_says_of_itself(workspace):
    drawing = run_with(workspace, STARTED, PoolProgress(done=3, total=9))
    assert "interrupted" in curves.status_line(drawing, drawing.events()[0])
    failed = run_with(workspace, STARTED, done(1), RunFailed(message="It <b>broke.", remedy="Repair it."))
    assert "It &lt;b&gt;broke." in curves.status_line(failed, failed.events()[0])
    Image.new("RGB", (8, 8)).save(failed.folder / "p.png")
    shown = curves.preview_board(failed, [PreviewSaved(step=4, plain=("p.png",), guided=("p.png",))])
    assert shown.count("data:image") == 2 and "with, step 4" in shown and curves.preview_board(failed, []) == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.13, 0.131), (0, 5000), (3, 3), (float("nan"), 1)])
def test_ticks_are_few_and_within(low, high):
    ticks = curves.ticks(low, high)
    assert 1 <= len(ticks) <= 7 and (len(ticks) == 1 or all(low <= tick <= high for tick in ticks))


def test_a_chart_draws_each_run_and_survives_odd_losses():
    assert curves.loss_chart({}) == curves.loss_chart({"a": [(1, float("nan"))]}) == ""
    chart = curves.loss_chart({"a": [(1, 0.5), (2, 0.25)], "b<": [(1, 0.5)]})
    assert chart.count("<polyline") == 2 and "b&lt;" in chart
    points = curves.loss_points([done(step) for step in range(1, 1001)])
    assert len(points) <= curves.POINTS and points[0][0] < points[-1][0]


def test_runs_are_looked_at_noted_compared_put_away_and_brought_back(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    one = run_with(workspace, STARTED, done(1), RunFinished(offset="o"))
    two = run_with(workspace, STARTED, done(1), done(2), rank=16)
    refreshed = runs_actions.refresh(workspace, None)
    assert len(refreshed["runs"]["choices"]) == 2 and refreshed["runs"]["value"] in (one.id, two.id)
    looked = runs_actions.look(workspace, one.id)
    assert (
        "finished" in looked["runs_status"]
        and not looked["download"]["interactive"]
        and not looked["runs_timer"].active
    )
    assert "No runs yet" in runs_actions.look(workspace, None)["runs_status"]
    (one.folder / "offset.safetensors").write_bytes(b"x")
    followed = runs_actions.follow(workspace, one.id)
    assert followed["download"]["interactive"] and followed["runs_use"]["interactive"]
    served = Path(followed["download"]["value"])
    assert served.read_bytes() == b"x" and served.is_relative_to(tmp_path / "served"), "Gradio sends nothing else"
    assert runs_actions.follow(workspace, one.id)["download"]["value"] == str(served)
    named = runs_actions.keep_notes(workspace, one.id, "The good one", "because")
    assert any(line.startswith("The good one") for line, _ in named["runs"]["choices"])
    assert read_notes(one).text == "because"
    assert "at most" in runs_actions.keep_notes(workspace, one.id, "x" * 121, "")["runs_status"]
    both = runs_actions.overlay(workspace, [one.id, two.id])
    assert both["runs_chart"].count("<polyline") == 2 and "<td>16</td>" in both["runs_table"]
    gone = runs_actions.delete(workspace, two.id, [one.id, two.id])
    assert gone["runs_chart"].count("<polyline") == 1 and gone["beside"]["value"] == [one.id]
    assert gone["runs_undo"]["interactive"] and len(gone["runs"]["choices"]) == 1
    back = runs_actions.undo(workspace, gone["runs_away"])
    assert len(back["runs"]["choices"]) == 2 and 'role="alert"' in runs_actions.undo(workspace, "/tmp/x")["runs_status"]
    again = runs_actions.duplicate(workspace, two.id)
    assert (
        again["rank"] == 16 and again["train_base"] == "miniature-sd15" and runs_actions.duplicate(workspace, "x") == {}
    )


def test_a_run_that_runs_is_followed_until_it_has_ended(workspace, monkeypatch):
    run = run_with(workspace, STARTED, done(1))
    monkeypatch.setattr(type(run), "process", lambda self: object())
    looked = runs_actions.look(workspace, run.id)
    assert looked["runs_timer"].active and not looked["delete_run"]["interactive"]
    assert "is running" in runs_actions.delete(workspace, run.id, [])["runs_status"]
    monkeypatch.setattr(type(run), "process", lambda self: None)
    assert not runs_actions.follow(workspace, run.id)["runs_timer"].active


# --- Library and Settings ---


def test_the_library_lists_and_says_what_a_file_is_or_why_not(workspace, tmp_path):
    changes = library_actions.refresh(workspace)
    assert "sd15-mini-negative" in changes["file"]["choices"] and changes["table"]["headers"][0] == "name"
    assert "diffusers" in library_actions.tell(workspace, "sd15-mini-negative")["library_status"]
    assert 'role="alert"' in library_actions.tell(workspace, None)["library_status"]
    assert 'role="alert"' in library_actions.to_kohya(workspace, None, "miniature-sd15")["library_status"]
    for action in (library_actions.extract, library_actions.merge):
        assert 'role="alert"' in action(workspace, None, "miniature-sd15", 4)["library_status"]
    assert library_actions.bring(workspace, None) == {}
    assert 'role="alert"' in library_actions.change_folder(workspace, "/none/such", added=True)["library_status"]
    (tmp_path / "models").mkdir()
    added = library_actions.change_folder(workspace, str(tmp_path / "models"), added=True)
    assert "models" in added["library_status"] and str(tmp_path) not in added["library_status"]
    removed = library_actions.change_folder(workspace, str(tmp_path / "models"), added=False)
    assert "models" not in removed["library_status"]
    assert 'role="alert"' in list(library_actions.fetch(workspace, "not a repo", ""))[-1]["library_status"]


def test_settings_keep_what_a_self_test_found_and_say_where_things_are(workspace, monkeypatch):
    monkeypatch.setattr(settings_actions.doctor, "facts", lambda workspace, **_: {"a": 1})
    monkeypatch.setattr(settings_actions.doctor, "self_test", lambda cpu: iter([("x", True, ""), ("y", False, "no")]))
    assert json.loads(settings_actions.tell(workspace, "")["report"]) == {"a": 1}
    assert settings_actions.tell(workspace, "kept")["report"] == "kept"
    report = json.loads(list(settings_actions.check(workspace, cpu=True))[-1]["report"])
    assert report["self_test"] == {"x": "ok", "y": "FAILED no"}
    assert str(workspace.runs) in settings_actions.where(workspace)


# --- Views, examples, wiring ---


def test_what_came_from_outside_is_escaped_in_every_view():
    evil = '"><script>'
    pair = Pair((Cell(evil, evil, settings={}), Cell("b", evil, video=evil)), evil, evil)
    for shown in (board([pair], chosen=0), slider(pair), flicker(pair), flicker(Pair(pair.cells[:1], "x"))):
        assert "<script>" not in shown


def test_examples_are_short_and_words_are_each_once():
    assert words_of(["a Red moon", "a red, half-moon 3"]) == ["a", "half-moon", "moon", "red"]
    assert chosen_prompts(["x" * 99, *(f"p{n}" for n in range(8))], 4) == ["p0", "p2", "p4", "p6"]


def test_damaged_files_that_a_list_leaves_out_are_named_in_it(workspace):
    for file in (workspace.outputs / "a.png", workspace.presets / "b.json", workspace.runs / "c" / "config.json"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{")
    (workspace.models / "d").mkdir(parents=True)
    (workspace.models / "d" / "model_index.json").write_text("{")
    for shown, name in (
        (history_actions.search(workspace, "", False)["summary"], "a.png"),
        (presets_actions.listed(workspace)["presets_left"], "b.json"),
        (runs_actions.refresh(workspace, None)["runs_left"], "c"),
        (library_actions.refresh(workspace)["library_left"], "d"),
    ):
        assert "Left out because damaged: 1" in shown and f"“{name}”" in shown and str(workspace.root) not in shown
    assert library_actions.left_out([]) == ""


def test_actions_are_joined_to_components_by_name():
    parts = {"a": object(), "b": object()}
    assert by_component(parts, lambda x: {"b": x})(3) == {parts["b"]: 3}
    assert list(by_component(parts, _twice)(3)) == [{parts["a"]: 3}, {parts["b"]: 3}]
    assert by_component(parts, dict)()["__type__"] == "update", "an empty answer changes nothing"


def _twice(x):
    yield {"a": x}
    yield {"b": x}
