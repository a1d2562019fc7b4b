"""What can be asked of the server is decided about, route by route."""

import pytest

from app.page.routes import ICON_SIZES, UNUSED, USED, served
from tests.builders import pages


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pages.served(tmp_path_factory.mktemp("routes")) as opened:
        yield opened


def paths_of(routes):
    """Path templates, those of included routers too, in whatever way this version of FastAPI keeps them."""
    for route in routes:
        if hasattr(route, "path"):
            yield route.path
        else:
            router = route.original_router
            assert router.routes, "a route of a kind that this test cannot look into"
            # their own prefix is already in the paths of an APIRouter
            yield from paths_of(router.routes)


def test_every_route_of_the_running_server_is_decided_about(page):
    there = set(paths_of(page.blocks.app.routes))
    assert not there - set(USED) - UNUSED, "Gradio has a route that app/page/routes.py says nothing about"
    assert not (set(USED) | UNUSED) - there, "app/page/routes.py names a route that Gradio no longer has"
    assert not set(USED) & UNUSED


def example(template: str) -> str:
    parts = {"{size}": "192", "{path_or_url:path}": "x.png", "{path:path}": "x", "{url_path:path}": "http://x.example/"}
    for part, value in parts.items():
        template = template.replace(part, value)
    return template.replace("{", "").replace("}", "")


@pytest.mark.parametrize("template", sorted(UNUSED))
def test_what_the_page_does_not_use_is_absent(page, template):
    for method in ("GET", "POST"):
        assert page.ask(method, example(template), {"Content-Type": "application/json"}, b"{}")[0] == 404


@pytest.mark.parametrize("template", sorted(USED))
def test_what_the_page_uses_is_asked_in_its_own_way_alone(template):
    path = example(template)
    assert {served(method, path) for method in USED[template]} == {200}
    assert {served(method, path) for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS"} - set(USED[template])} == {
        405
    }


@pytest.mark.parametrize("size", ["999999", "3000", "193", "0", "-1", "0192", "192/", "192.0", "", "٣", "192%20"])
def test_fault_73_the_icon_comes_in_the_sizes_of_the_manifest_alone(page, size):
    """Any web page can have a browser ask for it, without a login; its cost must not be the asker's to choose."""
    assert (
        page.ask("GET", f"/pwa_icon/{size}".encode().decode("latin-1") if size.isascii() else "/pwa_icon/%D9%A3")[0]
        == 404
    )


def test_the_icons_of_the_manifest_are_served(page):
    import json

    manifest = json.loads(page.ask("GET", "/manifest.json")[2])
    assert manifest["name"] == "Self-NPO Studio" and manifest["display"] == "standalone"
    assert [icon["src"].rsplit("/", 1)[1] for icon in manifest["icons"]] == [str(size) for size in ICON_SIZES]
    for icon in manifest["icons"]:
        status, _, body = page.ask("GET", icon["src"].removeprefix(page.address))
        assert status == 200 and body[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:9/",
        "https://example.com/x.png",
        "HTTP://example.com/",
        "//example.com/share/x.png",
        "ftp://example.com/x",
        "/etc/passwd",
        "../../etc/passwd",
        "/proc/self/environ",
    ],
)
def test_no_file_of_the_machine_and_no_address_of_the_network_is_served(page, path):
    assert page.ask("GET", f"/gradio_api/file={path}")[0] in (403, 404)


def test_the_named_endpoint_renders_and_nothing_else_is_offered(page):
    import json

    endpoints = json.loads(page.ask("GET", "/gradio_api/info")[2])
    assert sorted(endpoints["named_endpoints"]) == ["/compare"]
    assert not endpoints["unnamed_endpoints"]
