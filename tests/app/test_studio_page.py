"""The page beyond the first pair: grids, presets and their links, the library, the history, languages, accessibility."""

import json
import re

import pytest
from playwright.sync_api import expect

from core.studio.presets.files import list_presets
from core.studio.workspace import Workspace
from tests.builders.studio import asks_the_server, at_rest, settle, watched

pytestmark = pytest.mark.timeout(400)
LONG = 120_000


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def render(page):
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=LONG)


def set_slider(page, label, value):
    field = page.get_by_role("spinbutton", name=f"number input for {label}")
    field.fill(str(value))
    field.press("Tab")


def test_a_grid_is_rendered_scored_and_a_cell_goes_to_compare_or_to_a_preset(page, studio):
    tab(page, "Grid")
    expect(page.get_by_role("button", name="Use the cell in Compare")).to_be_disabled()
    page.get_by_label("Values").nth(0).fill("0, 2")
    page.get_by_label("Values").nth(1).fill("1, 3")
    page.get_by_role("button", name="Render the grid").click()
    page.get_by_text("Done: 4 of 4 cells").wait_for(timeout=LONG)
    expect(page.locator(".heat td")).to_have_count(4)
    cells = page.locator("#grid-cells .cell")
    expect(cells).to_have_count(4)
    expect(cells.nth(3)).to_contain_text("β 2 · ω 3")
    expect(cells.nth(3).locator(".score")).to_have_text(re.compile(r"^[01]\.\d\d$"))
    cells.nth(3).click()
    page.get_by_role("button", name="Make a preset").click()
    expect(page.get_by_role("button", name="Save the settings of Compare")).to_be_visible(timeout=20_000)
    tab(page, "Grid")
    page.get_by_role("button", name="Use the cell in Compare").click()
    expect(page.get_by_role("spinbutton", name="number input for Strength ω")).to_have_value("3", timeout=20_000)
    assert not page.faults


def test_a_preset_is_saved_linked_and_opened_in_a_fresh_browser(page, studio, browser):
    at_rest(page)
    page.get_by_label("Prompt", exact=True).fill("a large yellow star, black background")
    set_slider(page, "Steer away β", 1.5)
    settle(page)
    tab(page, "Presets")
    page.get_by_label("Name", exact=True).fill("Stern <b>&")
    page.get_by_role("button", name="Save the settings of Compare").click()
    page.get_by_text("Saved.").wait_for(timeout=20_000)
    kept = next(k for k in list_presets(Workspace(studio.workspace)) if not k.built_in)
    preset = json.loads(kept.path.read_text())
    assert preset["guidance"]["beta"] == 1.5 and len(preset["negative"]["sha256"]) == 64
    page.get_by_text("Compare already has these settings.").wait_for(timeout=20_000)
    page.get_by_role("button", name="Make a link").click()
    box = page.locator("#preset-link textarea, #preset-link input")
    expect(box).to_have_value(re.compile(r"\?preset="), timeout=20_000)
    context = browser.new_context()
    other = context.new_page()
    other.goto(box.input_value())
    dialog = other.locator("#proposal")
    expect(dialog).to_contain_text("Stern <b>&", timeout=30_000)
    expect(other.get_by_label("Prompt", exact=True)).not_to_have_value(re.compile("yellow star"))
    dialog.get_by_role("button", name="Apply", exact=True).click()
    expect(other.get_by_label("Prompt", exact=True)).to_have_value(re.compile("yellow star"), timeout=30_000)
    expect(other.get_by_text("Press Render to see it")).to_be_visible()
    beta = other.get_by_role("spinbutton", name="number input for Steer away β")
    expect(beta).to_have_value("1.5")
    expect(dialog).to_be_hidden()
    context.close()
    assert not page.faults


def test_a_preset_of_a_missing_model_leaves_the_form_alone_unless_asked(page):
    prompt = page.get_by_label("Prompt", exact=True)
    omega = page.get_by_role("spinbutton", name="number input for Strength ω")
    prompt.fill("a ring")
    set_slider(page, "Strength ω", 4)
    tab(page, "Presets")
    page.get_by_role("radio", name="SD1.5 · training-free").click()
    expect(page.locator("#preset")).to_contain_text("is not on this machine", timeout=20_000)
    expect(page.locator("#preset")).to_contain_text("from the paper, not measured here")
    page.get_by_role("button", name="Apply to Compare").click()
    expect(page.get_by_text("Nothing was changed")).to_be_visible(timeout=20_000)
    page.locator("#held input").check()
    page.get_by_role("button", name="Apply to Compare").click()
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_visible(timeout=20_000)
    expect(omega).to_have_value("6.5", timeout=20_000)
    expect(prompt).to_have_value("a ring")


def test_a_damaged_link_is_reported_and_nothing_is_filled(browser, studio):
    page = browser.new_context().new_page()
    page.goto(f"{studio.address}/?preset=AAAA")
    page.get_by_text("The link is cut off or damaged").wait_for(timeout=30_000)
    expect(page.get_by_label("Prompt", exact=True)).not_to_be_empty()
    page.context.close()


def test_what_compare_was_set_to_is_remembered_by_the_browser(page):
    page.get_by_label("Prompt", exact=True).fill("a purple moon")
    set_slider(page, "Strength ω", 4.5)
    kept = "localStorage.getItem('self-npo-compare') || ''"
    page.wait_for_function(f"() => ({kept}).includes('a purple moon') && ({kept}).includes('4.5')", timeout=20_000)
    tab(page, "Library")
    tab(page, "Compare")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a purple moon")
    page.reload()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a purple moon", timeout=30_000)
    expect(page.get_by_role("spinbutton", name="number input for Strength ω")).to_have_value("4.5")


def test_a_pair_of_the_history_is_searched_marked_deleted_and_brought_back(page, studio):
    page.get_by_label("Prompt", exact=True).fill("a small green ring, brown background")
    render(page)
    tab(page, "History")
    search = page.get_by_placeholder("Search prompts, seeds, offsets")
    search.press_sequentially("green ring brown")  # no Enter
    pairs = page.locator("#history .pair")
    expect(pairs.filter(has_not_text="a small green ring, brown background")).to_have_count(0, timeout=20_000)
    expect(page.get_by_text(re.compile(r"^\d+ found, newest first"))).to_be_visible(timeout=20_000)
    expect(pairs.first).to_contain_text("a small green ring, brown background")
    before = pairs.count()
    pairs.first.locator(".cell").nth(1).click()
    page.get_by_role("button", name="Favourite", exact=True).click()
    expect(page.locator("#history figcaption", has_text="★").first).to_be_visible(timeout=20_000)
    delete = page.get_by_role("button", name="Delete", exact=True)
    box = delete.bounding_box()
    delete.dblclick()
    expect(pairs).to_have_count(before - 1, timeout=20_000)
    undo = page.get_by_role("button", name="Undo delete")
    place = undo.bounding_box()
    assert not (
        place["x"] < box["x"] + box["width"] and box["x"] < place["x"] + place["width"] and place["y"] == box["y"]
    )
    undo.click()
    expect(pairs).to_have_count(before, timeout=20_000)
    search.fill("nothing like this")
    expect(page.get_by_text("Nothing found.")).to_be_visible(timeout=20_000)
    assert not page.faults


def test_a_picture_dropped_anywhere_is_shown_first_and_then_restores_its_settings(page, studio):
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a white cross, teal background")
    render(page)
    files = sorted((studio.workspace / "outputs").glob("*-1-*.png"), key=lambda path: path.stat().st_mtime)
    prompt.fill("something else")
    carried = page.evaluate_handle(
        """([bytes, name]) => { const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' })); return carried; }""",
        [list(files[-1].read_bytes()), files[-1].name],
    )
    page.dispatch_event("#brand", "drop", {"dataTransfer": carried})
    dialog = page.locator("#proposal")
    expect(dialog).to_contain_text("a white cross, teal background", timeout=30_000)
    expect(prompt).to_have_value("something else")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden(timeout=20_000)
    page.locator("#dropped input[type=file]").set_input_files(files[-1])
    dialog.get_by_role("button", name="Apply", exact=True).click()
    expect(prompt).to_have_value("a white cross, teal background", timeout=30_000)


def test_a_picture_is_the_start_and_a_model_that_cannot_inpaint_says_so(page, studio, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), (20, 60, 200)).save(tmp_path / "start.png")
    page.get_by_role("button", name="Input image").click()
    editor = page.locator("#input-image")
    editor.locator("canvas").first.wait_for()  # built when the editor is first shown; what is dropped before is lost
    settle(page)
    editor.locator("input[type=file]").first.set_input_files(tmp_path / "start.png")
    editor.get_by_role("button", name="Brush", exact=True).wait_for(timeout=60_000)
    page.get_by_text("Rendering begins from this picture, 64 x 64").wait_for(timeout=60_000)
    render(page)
    page.get_by_role("button", name="Settings of the chosen picture").click()
    expect(page.locator(".cm-content").first).to_contain_text('"inpainted": false')
    editor.scroll_into_view_if_needed()
    canvas = editor.locator("canvas").first.bounding_box()
    page.mouse.move(canvas["x"] + canvas["width"] / 2 - 20, canvas["y"] + canvas["height"] / 2)
    page.mouse.down()
    page.mouse.move(canvas["x"] + canvas["width"] / 2 + 20, canvas["y"] + canvas["height"] / 2, steps=8)
    page.mouse.up()
    page.get_by_text("Only the painted area is redrawn").wait_for(timeout=60_000)
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text("needs a network with 4 or 9 input channels").wait_for(timeout=LONG)
    assert not page.faults


def test_more_columns_the_slider_and_the_flicker_show_the_pair(page):
    page.get_by_role("button", name=re.compile("^More")).first.click()
    page.get_by_label("More columns: other values of β").fill("0.5, 1")
    render(page)
    expect(page.locator("#sides .pair").first.locator(".tag")).to_have_text(
        ["without NPO", "with NPO, β 0.5", "with NPO, β 1"]
    )
    tab(page, "Flicker or play")
    expect(page.locator(".flicker img")).to_have_count(2)
    assert page.locator(".flicker img").first.evaluate("i => i.complete && i.naturalWidth > 0")
    tab(page, "Slider")
    page.locator("#pair input[type=range]").fill("80")
    assert page.locator("#pair .stage").evaluate("e => e.style.getPropertyValue('--cut')") == "80%"
    assert not page.faults


def test_the_base_changes_quickly_and_nothing_fails_on_the_way(page):
    for name in ("miniature-cogvideox", "miniature-sdxl", "miniature-sd15") * 2:
        page.get_by_label("Base model θ").click()
        page.get_by_role("option", name=name, exact=True).click()
        expect(page.get_by_label("Base model θ")).to_have_value(name)
    expect(page.get_by_label("Negative offset δ")).to_have_value("sd15-mini-negative", timeout=20_000)
    assert not page.faults


def test_two_windows_render_in_turn_the_second_sees_that_it_waits_and_its_stop_works(page, studio, browser):
    context = browser.new_context()
    other = context.new_page()
    other.goto(studio.address)
    other.get_by_role("button", name="Render", exact=True).wait_for(timeout=30_000)
    set_slider(page, "Pairs", 8)
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text(re.compile(r"^Step \d+ of")).wait_for(timeout=LONG)
    other.get_by_role("button", name="Render", exact=True).click()
    expect(other.get_by_text("Waiting for the rendering before this one.")).to_be_visible(timeout=20_000)
    other.get_by_role("button", name="Stop", exact=True).click()
    expect(other.get_by_text("Stopped.")).to_be_visible(timeout=5_000)
    other.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=LONG)
    other.get_by_text(re.compile("^Done. ω")).wait_for(timeout=LONG)
    expect(page.locator("#sides .cell")).to_have_count(16)
    expect(other.locator("#sides .cell")).to_have_count(8)
    context.close()
    assert not page.faults


def test_the_diagram_follows_the_sliders_without_the_server(page):
    drawn = page.locator("#diagram svg")
    expect(drawn).to_be_visible(timeout=20_000)
    at_rest(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if asks_the_server(request) else None)
    before = drawn.inner_html()
    set_slider(page, "Strength ω", 9)
    page.wait_for_function("before => document.querySelector('#diagram svg').innerHTML !== before", arg=before)
    settle(page)
    assert not asked


def test_the_library_lists_and_describes_a_file(page):
    tab(page, "Library")
    expect(page.locator("#library")).to_contain_text("sd15-mini-negative")
    page.get_by_label("File", exact=True).click()
    page.get_by_role("option", name="sd15-mini-negative").click()
    page.get_by_role("button", name="What is it?").click()
    expect(page.get_by_text("diffusers").first).to_be_visible(timeout=20_000)
    assert not page.faults


def test_settings_open_with_the_report_and_no_hub_is_asked_for_it(page):
    tab(page, "Settings")
    expect(page.locator(".cm-content")).to_contain_text('"packages"', timeout=30_000)
    expect(page.get_by_text('"hub": "not asked"')).to_have_count(1)
    assert not page.faults


def test_the_language_is_chosen_in_settings_and_kept(page):
    tab(page, "Settings")
    page.get_by_role("radio", name="中文").click()
    expect(page.get_by_role("button", name="生成", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_role("tab").first).to_have_text("对比")
    page.get_by_role("button", name="生成", exact=True).click()
    page.get_by_text(re.compile(r"^第 \d+ 步，共 25 步")).wait_for(timeout=LONG)
    page.get_by_role("button", name="停止", exact=True).click()
    page.get_by_role("tab", name="设置").click()
    expect(page.get_by_role("radio", name="中文")).to_be_checked()
    page.get_by_role("radio", name="跟随浏览器").click()
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_visible(timeout=30_000)


def test_a_chinese_browser_reads_chinese(browser, studio):
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(studio.address)
    page.get_by_role("button", name="生成", exact=True).wait_for(timeout=30_000)
    tabs = [each.inner_text() for each in page.get_by_role("tab").all()]
    assert tabs[:8] == ["对比", "网格", "训练", "评估", "模型库", "预设", "运行", "设置"]
    expect(page.locator("#estimate")).to_have_text(re.compile("约 |首次生成"), timeout=20_000)
    page.get_by_role("button", name="生成", exact=True).click()
    page.get_by_text(re.compile(r"^第 \d+ 步，共 25 步")).wait_for(timeout=LONG)
    page.get_by_text(re.compile("^完成。")).wait_for(timeout=LONG)
    expect(page.locator("#sides .pair").first).to_contain_text("种子 0")
    expect(page.locator("#sides .tag").nth(1)).to_have_text("使用 NPO")
    page.get_by_role("tab", name="历史").click()
    expect(page.get_by_text(re.compile("^找到 "))).to_be_visible(timeout=20_000)
    page.get_by_role("tab", name="预设").click()
    expect(page.get_by_role("radio", name="SD1.5 · 免训练")).to_be_visible(timeout=20_000)
    page.get_by_role("tab", name="训练").click()
    expect(page.get_by_text("学习率").first).to_be_visible()
    page.get_by_role("tab", name="模型库").click()
    expect(page.get_by_role("columnheader", name="名称").first).to_be_visible(timeout=20_000)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, studio, scheme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = watched(context.new_page())
    page.goto(studio.address)
    page.get_by_role("button", name="Render", exact=True).wait_for()
    settle(page)
    violations = {}
    for name in ("Compare", "Grid", "Train", "Evaluate", "Library", "Presets", "Runs", "Settings"):
        tab(page, name)
        settle(page)
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                violations.setdefault(fault["id"], set()).add(f"{name}: {fault['nodes'][0]['html'][:140]}")
    context.close()
    assert not violations, "\n".join(f"{k}: {sorted(v)}" for k, v in violations.items())


def test_render_answers_at_once_and_by_the_keyboard(page):
    assert page.locator("#sides .pair").count() >= 1, "a rendered pair is in place"
    answered = page.evaluate(
        """() => { document.querySelector('#set-prompt textarea').dispatchEvent(
        new KeyboardEvent('keydown', { key: 'Enter', ctrlKey: true, bubbles: true }));
        return document.querySelector('#render').classList.contains('pressed'); }"""
    )
    assert answered, "the button answers before the server does"
    expect(page.get_by_role("button", name="Rendering…")).to_be_disabled(timeout=10_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text(re.compile("^Stopped"))).to_be_visible(timeout=LONG)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_disabled()


def test_a_number_outside_its_range_is_named_at_its_field_while_it_is_typed(page):
    page.get_by_label("First seed", exact=True).fill("-5")
    line = page.locator("#set-seed .out-of-range")
    expect(line).to_contain_text("First seed goes from -1")
    expect(page.get_by_label("First seed", exact=True)).to_have_attribute("aria-invalid", "")
    page.get_by_label("First seed", exact=True).fill("-1")
    expect(line).to_have_count(0)


def test_what_is_queued_while_something_renders_comes_next(page):
    expect(page.get_by_role("button", name="Queue", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_role("button", name="Queue", exact=True).click()
    row = page.locator("#waiting li")
    expect(row).to_have_count(1, timeout=20_000)
    page.get_by_label("Prompt", exact=True).fill("a blue ring")
    page.get_by_role("button", name="Queue", exact=True).click()
    expect(row).to_have_count(2, timeout=20_000)
    row.nth(1).get_by_role("button", name="Move up").click()
    expect(row.first).to_contain_text("a blue ring")
    row.nth(1).get_by_role("button", name="Remove").click()
    expect(row).to_have_count(1)
    page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=LONG)
    expect(page.locator("#sides .pair").first).to_have_attribute("title", re.compile("a blue ring"), timeout=LONG)
    expect(page.get_by_role("button", name="Render", exact=True)).to_be_enabled(timeout=LONG)


def test_the_lists_of_dropdowns_close_behind_the_tab_key(page):
    page.get_by_label("Base model θ").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.locator("[role=listbox]")).to_have_count(0)


@pytest.mark.parametrize(("omega", "alpha", "beta"), [(0, 1, 0), (3, 1, 1), (5.5, 1, 1), (15, 0, 3), (15, 1, -1)])
def test_the_drawing_keeps_its_directions_and_its_labels_inside(page, omega, alpha, beta):
    page.evaluate(
        "([o, a, b]) => { document.querySelector('#diagram').innerHTML = npoDiagram(o, a, b, 'eta'); }",
        [omega, alpha, beta],
    )
    outside, crossing, bent = page.evaluate(
        """() => {
        const svg = document.querySelector('#diagram svg'), frame = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect());
        const out = boxes.filter((b) => b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 2 || b.bottom > frame.bottom + 2);
        const hits = boxes.filter((a, i) => boxes.some((b, j) => j > i && a.left + 1 < b.right && b.left + 1 < a.right && a.top + 4 < b.bottom && b.top + 4 < a.bottom));
        const line = (kind) => { const l = svg.querySelector(`line.${kind}`); return l && Math.atan2(l.y2.baseVal.value - l.y1.baseVal.value, l.x2.baseVal.value - l.x1.baseVal.value); };
        const neg = line('neg'), npo = line('npo');
        return [out.length, hits.length, npo === null ? 0 : Math.abs(neg - npo)];
    }"""
    )
    assert (outside, crossing) == (0, 0) and bent < 0.03


def test_alpha_is_disabled_while_there_is_no_positive_offset(page):
    expect(page.locator("#set-alpha")).to_be_hidden()
    with_eta, without = page.evaluate("() => [npoDiagram(4, 0.2, 1, 'eta'), npoDiagram(4, 0.2, 1, 'none')]")
    assert with_eta != without and without.replace("0.2", "1") == page.evaluate("() => npoDiagram(4, 1, 1, 'none')")


def test_pairs_are_enlarged_and_turned_over_by_the_keyboard(page):
    page.locator("#sides .enlarge").first.click()
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    title = viewer.locator(".title")
    first = title.inner_text()
    page.keyboard.press("ArrowRight")
    expect(title).not_to_have_text(first)
    page.keyboard.press("+")
    assert viewer.locator(".room").evaluate("e => +e.style.getPropertyValue('--zoom')") > 1
    for key, kind in (("2", "slide"), ("3", "flicker"), ("1", "pairs")):
        page.keyboard.press(key)
        expect(viewer.locator(f".stage.{kind}")).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    assert not page.faults


def test_a_word_that_the_model_never_met_is_named_and_an_example_is_a_click(page):
    page.get_by_label("Prompt", exact=True).fill("a green zebra")
    expect(page.locator("#examples .unknown u")).to_have_text("zebra")
    expect(page.locator("#set-prompt .npo-mirror u")).to_have_text("zebra")
    page.locator("#examples .example").first.click()
    expect(page.locator("#examples .unknown u, #set-prompt .npo-mirror u")).to_have_count(0)


def test_a_pair_is_shared_as_a_picture_an_animation_and_a_link(page, studio):
    render(page)
    page.get_by_role("button", name="Share this pair").click()
    expect(page.locator(".shared-picture img").first).to_be_visible(timeout=60_000)
    made = {path.suffix for path in (studio.workspace / "outputs" / "shared").iterdir()}
    assert {".png", ".gif", ".mp4"} <= made
    expect(page.locator(".share-link textarea").first).to_have_value(re.compile(r"\?preset="), timeout=20_000)
    assert not page.faults
