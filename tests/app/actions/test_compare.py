"""Actions of Compare as plain functions: no browser, no server."""

import json

from PIL import Image

from app.page import compare_actions
from core.errors import StudioError
from core.studio.comparing.grid import parse_axis, render_grid
from tests.builders.actions import rendered
from tests.builders.player import Player


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


def test_a_fault_while_rendering_is_reported_and_the_buttons_come_back(workspace, values):
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


def test_the_cost_is_shown_in_time_and_asked_again_only_while_the_engine_warms(engine, values):
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


def test_the_input_picture_and_its_mask_are_described():
    background = Image.new("RGBA", (32, 16), (9, 9, 9, 255))
    layer = Image.new("RGBA", (32, 16), (0, 0, 0, 0))
    assert compare_actions.input_line(None) == {"arrived": ""}
    line = compare_actions.input_line({"background": background, "layers": [layer]})["arrived"]
    assert line == "Rendering begins from this picture, 32 x 16."
    layer.putpixel((3, 3), (255, 255, 255, 255))
    painted = compare_actions.input_line({"background": background, "layers": [layer]})["arrived"]
    assert painted == "Only the painted area is redrawn."
