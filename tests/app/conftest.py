"""A running studio and a real browser for the tests of the page."""

import os

import pytest

from tests.builders.studio import ARGUMENTS, NO_BROWSER, Studio, at_rest, chromium, watched


@pytest.fixture(scope="session")
def studio(tmp_path_factory, warm_starts):
    made = Studio(tmp_path_factory.mktemp("space"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = chromium()
    if not path:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NO_BROWSER)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, studio):
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    opened = watched(context.new_page())
    opened.set_default_timeout(15_000)
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("console", lambda message: opened.faults.append(message.text) if message.type == "error" else None)
    opened.goto(studio.address)
    opened.get_by_role("button", name="Render", exact=True).wait_for()
    at_rest(opened, 0.7)  # what the page asks when it is opened is answered
    yield opened
    context.close()
