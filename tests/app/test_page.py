"""The journey of a newcomer in a real browser: compare, train, watch, reload, use what was trained."""

import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from core.generation.media import read_png
from tests.builders import warm
from tests.builders.studio import ROOT, settle, watched

pytestmark = pytest.mark.timeout(400)
LONG = 120_000


def set_number(page, label, value):
    field = page.get_by_label(label, exact=True)
    field.fill(str(value))
    field.press("Tab")


def train(page, steps):
    page.get_by_role("tab", name="Train").click()
    set_number(page, "steps", steps)
    set_number(page, "batch size", 2)
    page.get_by_role("button", name="Advanced").click()
    set_number(page, "pool size", 4)
    set_number(page, "preview every", steps if steps < 10 else 0)
    settle(page)
    page.get_by_role("button", name="Start training").click()


SERVED = """
import os, sys
from core.studio.comparing.engine import Engine

def warm(self, settings):
    print(sorted({"torch", "diffusers", "transformers", "peft"} & set(sys.modules)), flush=True)
    os._exit(0)

Engine.warm = warm
from app.cli import main
main(["--cpu", "--no-browser", "--port", "7890", "--workspace", sys.argv[1]])
"""


@pytest.mark.process
def test_the_page_answers_before_the_libraries_are_loaded(tmp_path):
    """They are imported by `Engine.warm`, and at that moment the address is printed already."""
    command = [sys.executable, "-c", SERVED, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    address, imported = ended.stdout.splitlines()
    assert address.startswith("Self-NPO Studio: http://127.0.0.1:") and imported == "[]", ended.stderr


def test_the_time_of_a_rendering_is_shown_before_the_first_one(page):
    expect(page.locator("#estimate")).to_have_text(re.compile(r"^\s*about \d"), timeout=LONG)


def test_compare_opens_filled_in_and_renders_a_pair_whose_files_know_their_settings(page, studio):
    expect(page.get_by_label("Prompt", exact=True)).not_to_be_empty()
    before = set((studio.workspace / "outputs").glob("*.png"))
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text("Done.").wait_for(timeout=LONG)
    first = page.locator("#sides .pair").first
    expect(first.locator(".tag")).to_have_text(["without NPO", "with NPO"])
    expect(first.locator("figcaption")).to_contain_text("seed 0")
    settings = [read_png(file) for file in set((studio.workspace / "outputs").glob("*.png")) - before]
    assert 0.0 in (betas := {each["beta"] for each in settings}) and len(betas) == 2
    assert all(each["model"] == "miniature-drawings" for each in settings)
    page.get_by_role("button", name="Settings of the chosen picture").click()
    expect(page.locator(".cm-content").first).to_contain_text("guidance_scale")
    assert not page.faults


def test_the_cfg_scale_follows_omega_without_asking_the_server(page):
    slider = page.get_by_role("spinbutton", name="number input for Strength ω")
    slider.fill("6.5")
    slider.press("Tab")
    expect(page.get_by_text("ω 6.5 = CFG 7.5")).to_be_visible()


def test_what_cannot_be_rendered_is_reported_in_the_page(page):
    page.get_by_role("button", name=re.compile("^More")).click()
    set_number(page, "Height (0: the model's own)", 33)
    page.get_by_role("button", name="Render", exact=True).click()
    alert = page.get_by_role("alert").first
    alert.wait_for(timeout=LONG)
    expect(alert).to_contain_text("not a multiple of")
    expect(alert).to_contain_text("Choose a multiple")


def test_train_watch_reload_and_use_in_compare(page, studio):
    train(page, 4)
    expect(page.get_by_text(re.compile("finished, step 4 of 4"))).to_be_visible(timeout=LONG)
    expect(page.locator("#train-previews").get_by_text("with, step 4").first).to_be_visible(timeout=LONG)
    expect(page.locator(".chart svg polyline").first).to_be_visible()
    page.reload()
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_text(re.compile("finished, step 4 of 4"))).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Use in Compare").first.click()
    expect(page.get_by_label("Negative offset δ")).to_have_value(re.compile("^run studio-"), timeout=30_000)
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text("Done.").wait_for(timeout=LONG)
    assert not page.faults


def test_pause_resume_and_stop_from_the_page_and_a_second_start_shows_the_first(page, studio, browser):
    train(page, 5000)
    expect(page.get_by_text(re.compile("running, step [1-9]"))).to_be_visible(timeout=LONG)
    other = browser.new_context().new_page()
    other.goto(studio.address)
    other.get_by_role("tab", name="Train").click()
    expect(other.get_by_text(re.compile("running, step [1-9]"))).to_be_visible(timeout=LONG)
    other.get_by_role("button", name="Start training").click()
    expect(other.get_by_text("is already training")).to_be_visible(timeout=30_000)
    other.context.close()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(re.compile(": paused, step"))).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text(re.compile(": running"))).to_be_visible(timeout=LONG)
    expect(page.get_by_text(re.compile("running, step [1-9]"))).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.get_by_text(re.compile(": stopped, step"))).to_be_visible(timeout=LONG)


def test_a_run_of_the_command_line_appears_in_the_page(page, studio):
    command = [
        sys.executable,
        "-m",
        "app",
        "train",
        "--cpu",
        "--name",
        "from-shell",
        "--workspace",
        str(studio.workspace),
    ]
    command += ["--set", "steps=2", "batch_size=2", "pool_size=2", "preview_every=0"]
    warm.run(command, cwd=ROOT)
    page.get_by_role("tab", name="Runs").click()  # opens on the newest run
    expect(page.get_by_text(re.compile("from-shell.*finished, step 2 of 2")).first).to_be_visible(timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_a_phone_shows_everything_without_scrolling_sideways(browser, studio, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = watched(context.new_page())
    page.goto(studio.address)
    page.get_by_role("button", name="Render", exact=True).wait_for()
    for tab in ("Grid", "Train", "Evaluate", "Library", "Presets", "Runs", "Settings", "Compare"):
        if page.get_by_role("tab", name=tab, exact=True).count():
            page.get_by_role("tab", name=tab, exact=True).click()
        else:
            page.locator(".overflow-menu > button").first.click()
            page.locator(".overflow-dropdown button", has_text=tab).click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 391
    context.close()
