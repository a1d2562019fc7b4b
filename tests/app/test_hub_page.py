"""Presets and models through the Hub, from the page, against a stand-in of its API."""

import base64
import json
import re

import pytest
from playwright.sync_api import expect

from core.families import get
from core.studio.presets.reading import parse_preset
from tests.builders.hub import serving
from tests.builders.studio import Studio

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def connected(browser, tmp_path_factory):
    """A studio whose Hub is the stand-in. The libraries read its address when they are imported: a cold start."""
    folder = tmp_path_factory.mktemp("online")
    with serving() as (hub, address):
        studio = Studio(
            folder,
            HF_ENDPOINT=address,
            HF_HUB_OFFLINE="0",
            HF_TOKEN="hf_secretsecretsecret",
            HF_HOME=str(folder / "hub"),
        )
        yield hub, studio
        studio.close()


@pytest.fixture
def online(browser, connected):
    """(page, repository, studio), the repository empty."""
    hub, studio = connected
    hub.files, hub.status, hub.posted = {}, 200, []
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(studio.address)
    page.get_by_role("button", name="Render", exact=True).wait_for()
    yield page, hub, studio
    context.close()


def open_hub(page, tab):
    page.get_by_role("tab", name=tab, exact=True).click()
    page.get_by_role("button", name="From the Hugging Face Hub").filter(visible=True).click()
    return page.get_by_label("Repository").filter(visible=True)


def test_a_preset_is_pushed_with_a_card_pulled_and_nothing_happens_without_a_click(online):
    page, hub, _ = online
    repository = open_hub(page, "Presets")
    page.locator("#presets-list label", has_text="SDXL").first.click()
    expect(page.locator("#preset h3")).to_contain_text("SDXL")
    repository.fill("a/b")
    assert not hub.posted, "choosing and typing sends nothing"
    page.get_by_role("button", name="Push the selected preset").click()
    page.get_by_text(f"Pushed: commit {hub.sha[:12]}").wait_for()
    lines = [json.loads(line) for body in hub.posted for line in body.splitlines() if b"encoding" in line]
    sent = {line["value"]["path"]: base64.b64decode(line["value"]["content"]).decode() for line in lines}
    assert set(sent) == {"preset.json", "README.md"}
    assert parse_preset(sent["preset.json"]).name == "SDXL · Self-NPO as published"
    assert "SDXL" in sent["README.md"] and not any(b"secret" in body for body in hub.posted)

    hub.files = {"preset.json": sent["preset.json"].replace('"SDXL', '"Pulled').encode()}
    page.get_by_role("button", name="Pull", exact=True).click()
    expect(page.locator("#preset h3")).to_contain_text("Pulled")
    page.get_by_text(f"Pulled at commit {hub.sha[:12]}; not saved yet").wait_for()
    hub.status = 500
    page.get_by_role("button", name="Pull", exact=True).click()
    page.get_by_text(re.compile("The Hub answered 500")).wait_for()
    repository.fill("../etc")
    page.get_by_role("button", name="Pull", exact=True).click()
    page.get_by_text(re.compile("is not the name of a Hub repository")).wait_for()


def test_a_model_is_fetched_in_the_library_and_appears_in_its_list(online, tmp_path):
    page, hub, studio = online
    made = tmp_path / "made"
    get("sd15").tiny().save_pretrained(made)
    hub.files = {str(p.relative_to(made)): p.read_bytes() for p in made.rglob("*") if p.is_file()}
    open_hub(page, "Library").fill("a/b")
    page.get_by_role("button", name="Download (safetensors only)").click()
    status_and_row = page.get_by_text(f"a--b@{hub.sha[:12]}").filter(visible=True)
    expect(status_and_row).to_have_count(2, timeout=60_000)
    assert (studio.workspace / "models" / f"a--b@{hub.sha[:12]}" / "model_index.json").is_file()
