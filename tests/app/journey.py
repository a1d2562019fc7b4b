"""The first ten minutes in a real browser: its figures and its pictures.

    python -m tests.app.journey figures
    python -m tests.app.journey pictures OUT

Needs what `python launch.py test` installs. Figures are printed as JSON; each is the median of the repetitions named.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from playwright.sync_api import Page, sync_playwright

from tests.builders.studio import ARGUMENTS, Studio, asks_the_server, at_rest, chromium

PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
CLICK = """([pressed, until]) => new Promise((done) => {
  const began = performance.now(), there = new Function('return ' + until);
  const look = () => there() ? done((performance.now() - began) / 1000) : requestAnimationFrame(look);
  document.querySelector(pressed).click();
  requestAnimationFrame(look);
})"""
"""Seconds from a click until the page shows what it is for, taken in the page: a driver's own looking would cost more."""
BEFORE = "() => { window.opening = document.querySelector('#sides img')?.src; }"
PREVIEW = (
    "(() => { const image = document.querySelector('#sides img'); "
    "return image && image.src !== window.opening && image.complete && image.naturalWidth; })()"
)
"""The page opens with rendered pairs: the first preview is the first other picture in their place."""
SCALE = 2
"""Pixels of a picture for each of the page's."""
WAIT = 600_000
LOADED = 15_000
"""Milliseconds after which torch and the bundled model are loaded, in the background of the open page."""
CLICKS = 100


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_timeout(900)


def opened(browser: Any, address: str, **options: Any) -> Page:
    page: Page = browser.new_context(viewport={"width": 1280, "height": 720}, **options).new_page()
    page.goto(address)
    page.get_by_role("button", name="Render", exact=True).wait_for()
    return page


def render(page: Page) -> None:
    page.get_by_role("button", name="Render", exact=True).click()
    page.get_by_text(re.compile(r"^Step \d+ of")).wait_for(timeout=WAIT)
    page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=WAIT)


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "p95": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 3),
        "worst": round(ordered[-1], 3),
        "times": len(ordered),
    }


def start_training(page: Page, steps: int, **others: int) -> None:
    """Starts a training of so many steps; `others` are settings of the form, spaces written as underscores."""
    tab(page, "Train")
    if others:
        page.get_by_role("button", name="Advanced").click()
    for name, value in {"steps": steps, **others}.items():
        page.get_by_label(name.replace("_", " "), exact=True).fill(str(value))
        page.get_by_label(name.replace("_", " "), exact=True).press("Tab")
    page.get_by_role("button", name="Start training").click()


def figures(browser: Any, rounds: int) -> dict[str, Any]:
    """Ready, first paint, click to first preview, requests of a slider, and the page's answers beside a training."""
    seconds: dict[str, list[float]] = {}
    for number in range(2 * rounds):
        studio = Studio(Path(tempfile.mkdtemp()))
        seconds.setdefault("server_ready", []).append(studio.seconds)
        page = opened(browser, studio.address)
        seconds.setdefault("first_paint", []).append(page.evaluate(PAINT))
        if number % 2:
            page.wait_for_timeout(LOADED)

        name = "click_to_preview" if number % 2 else "click_at_once_to_preview"
        seconds.setdefault(name, []).append(page.evaluate(CLICK, ["#render", PREVIEW]))
        page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=WAIT)
        studio.close()
    studio = Studio(Path(tempfile.mkdtemp()))
    page = opened(browser, studio.address)
    at_rest(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if asks_the_server(request) else None)
    slider = page.get_by_role("spinbutton", name="number input for Strength ω")
    for value in range(1, 11):
        slider.fill(str(value))
        slider.press("Tab")
    page.wait_for_timeout(500)
    requests = len(asked)
    answers = {}
    for name in ("idle", "training"):
        if name == "training":
            start_training(page, 4000)
            page.get_by_text(re.compile("running, step [1-9]")).wait_for(timeout=WAIT)
        tab(page, "Presets")
        times = []
        names = page.locator("#presets-list label").all_inner_texts()
        for n in range(CLICKS):
            label = f"#presets-list label:nth-of-type({n % 4 + 1}) input"
            shown = f"document.querySelector('#preset h3')?.innerText === {json.dumps(names[n % 4].strip())}"
            times.append(page.evaluate(CLICK, [label, shown]))
        answers[name] = spread(times[1:])
    tab(page, "Train")
    page.get_by_role("button", name="Stop and keep").click()
    page.get_by_text(re.compile(": stopped, step")).wait_for(timeout=WAIT)
    studio.close()
    return {
        **{name: spread(values) for name, values in seconds.items()},
        "requests_of_ten_slider_moves": requests,
        **{f"choosing_a_preset_{name}": value for name, value in answers.items()},
        "unit": "seconds",
    }


def pictures(browser: Any, out: Path) -> None:
    """The journey as a stranger takes it: pair, grid, training, offset in use, preset, phone, dark, Chinese."""
    out.mkdir(parents=True, exist_ok=True)
    studio = Studio(Path(tempfile.mkdtemp()))
    page = opened(browser, studio.address, device_scale_factor=SCALE)

    def shot(name: str) -> None:
        page.wait_for_timeout(900)
        page.mouse.move(2, 2)
        page.evaluate("scrollTo(0, 0)")  # the driver scrolls to what it clicks
        page.screenshot(path=out / f"{name}.png")

    at_rest(page)
    shot("opening")
    render(page)
    shot("compare")
    tab(page, "Slider")
    shot("slider")
    tab(page, "Side by side")
    tab(page, "Grid")
    page.get_by_role("button", name="Render the grid").click()
    page.get_by_text("Done: ").wait_for(timeout=WAIT)
    shot("grid")
    start_training(page, 60, batch_size=4, pool_size=8, preview_every=20)  # small: it is the page that is shown
    page.get_by_text(re.compile(r"running, step (2[1-9]|[3-6]\d)")).wait_for(timeout=WAIT)
    shot("train")
    page.get_by_text(re.compile("finished, step")).wait_for(timeout=WAIT)
    page.get_by_role("button", name="Use in Compare").first.click()
    page.wait_for_timeout(1500)
    render(page)
    shot("trained")
    for name in ("Library", "Presets", "Runs", "Settings"):
        tab(page, name)
        if name == "Presets":
            page.locator("#presets-list label").first.click()
        shot(name.lower())
    for name, options in (("dark", {"color_scheme": "dark"}), ("chinese", {"locale": "zh-CN"})):
        other = browser.new_context(
            viewport={"width": 1280, "height": 720}, device_scale_factor=SCALE, **options
        ).new_page()
        other.goto(studio.address)
        other.wait_for_timeout(2500)
        other.screenshot(path=out / f"{name}.png")
    phone = browser.new_context(viewport={"width": 390, "height": 844}, device_scale_factor=SCALE).new_page()
    phone.goto(studio.address)
    phone.wait_for_timeout(2500)
    phone.screenshot(path=out / "phone.png")
    studio.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("figures").add_argument("--rounds", type=int, default=3)
    commands.add_parser("pictures").add_argument("out", type=Path)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        if options.command == "figures":
            print(json.dumps(figures(browser, options.rounds), indent=1))
        else:
            pictures(browser, options.out)
        browser.close()


if __name__ == "__main__":
    main()
