"""In a Space: what strangers must not have is absent, not hidden; visitors do not see each other; the queue is bounded."""

import contextlib
import http.client
import json
import os
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.builders.studio import ROOT, Studio


@contextlib.contextmanager
def served(folder, **more):
    made = Studio(folder, SPACE_ID="someone/studio", **more)
    yield made.address
    made.close()


@pytest.fixture(scope="module", params=[pytest.param("cpu", marks=pytest.mark.slow), "zero"])
def space(request, tmp_path_factory, warm_starts):
    folder, zero = tmp_path_factory.mktemp("space"), request.param == "zero"
    stand_in = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "app" / "zero")))
    with served(folder, **({"SPACES_ZERO_GPU": "true", "PYTHONPATH": stand_in} if zero else {})) as address:
        yield address, folder, zero


def get(address, path):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def test_training_library_runs_and_settings_are_absent_over_http(space):
    address, *_ = space
    status, text = get(address, "/config")
    assert status == 200
    config = json.loads(text)
    labels = json.dumps(config["components"])
    for gone in (
        "Start training",
        "Add to the queue",
        "Folders to scan",
        "Download (safetensors only)",
        "Self-test",
        "History",
    ):
        assert gone not in labels
    for gone in ("Save the settings of Compare", "Push the selected preset"):
        at = [c for c in config["components"] if gone in json.dumps(c.get("props", {}).get("value", ""))]
        assert at, "the preset tab is there"
    targets = {d.get("api_name") for d in config["dependencies"]}
    assert not {
        name for name in targets if name and re.search("train|begin|fetch|import|folder|delete|keep", str(name))
    }
    assert "SELF_NPO_PRIVATE=1" in labels
    assert "/root" not in labels and str(space[1]) not in labels


def test_the_only_named_endpoint_renders(space):
    _, text = get(space[0], "/gradio_api/info")
    assert sorted(json.loads(text)["named_endpoints"]) == ["/compare"]


def test_two_visitors_render_and_neither_sees_the_others_work(space, browser):
    address, folder, zero = space
    pages = []
    for prompt in ("a red circle", "a blue square"):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.get_by_role("button", name="Render", exact=True).wait_for(timeout=60_000)
        page.get_by_label("Prompt", exact=True).fill(prompt)
        pages.append(page)
    for page in pages:
        page.get_by_role("button", name="Render", exact=True).click()
    for page in pages:
        page.get_by_text(re.compile("^Done. ω")).wait_for(timeout=240_000)
    for page, mine, other in zip(pages, ("red circle", "blue square"), ("blue square", "red circle"), strict=True):
        page.get_by_role("button", name="Settings of the chosen picture").click()
        expect(page.locator(".cm-content").first).to_contain_text(mine)
        assert other not in page.content()
        page.context.close()
    lent = folder / "lent.log"
    assert lent.exists() == zero
    if zero:
        assert lent.read_text().splitlines() == ["lent for 90 s"] * 2, "the card is asked for by renderings alone"
    assert not (folder / "runs").exists() or not any((folder / "runs").iterdir())


def test_the_readme_is_the_front_matter_of_a_space():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    head = text.split("---")[1]
    for line in ("sdk: gradio", 'python_version: "3.12"', "app_file: launch.py", "license: apache-2.0"):
        assert line in head
    version = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("gradio=="))
    assert f"sdk_version: {version.split('==')[1]}" in head


def test_the_owner_of_a_private_space_has_everything(tmp_path, warm_starts):
    with served(tmp_path, SELF_NPO_PRIVATE="1") as address:
        assert "Start training" in get(address, "/config")[1]
