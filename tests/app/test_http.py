"""Who may ask: the studio's own page, under the studio's own names."""

import pytest

from tests.builders import pages

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pages.served(tmp_path_factory.mktemp("http")) as opened:
        yield opened


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "127.0.0.1:7960.evil.example",
        "127.0.0.1@evil.example",
        "localhost.evil.example",
        "localhost:abc",
        "localhost:",
        "localhost:0",
        "localhost:99999",
        "10.0.0.1",
        "[",
        "[::1",
        "[evil.example]",
        "\xff",
        "",
        None,
        ["127.0.0.1", "evil.example"],
    ],
)
@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/file=x.png"])
def test_fault_60_a_foreign_or_malformed_host_name_is_refused(page, host, path):
    assert page.ask("GET", path, {"Host": host})[0] == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:7960", "[::1]:7960"])
def test_its_own_names_are_answered(page, host):
    assert page.ask("GET", "/", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("https://127.0.0.1", 403),
        ("http://localhost:1", 403),
        ("http://[", 400),
        ("http://localhost:abc", 400),
        ("ftp://{host}", 400),
        ("http://{host}/x", 400),
        ("http://{host}@evil.example", 400),
        ("http://me@{host}", 400),
        ("\xff", 400),
        ("", 400),
        (["http://{host}", "http://evil.example"], 400),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/config"),
        ("GET", "/gradio_api/file=x.png"),
        ("OPTIONS", "/gradio_api/upload"),
        ("POST", "/gradio_api/upload"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/run/compare"),
        ("POST", "/login"),
    ],
)
def test_fault_60_a_request_from_another_site_is_refused(page, origin, status, method, path):
    origins = [text.format(host=page.host) for text in (origin if isinstance(origin, list) else [origin])]
    headers = {"Origin": origins, "Content-Type": "application/json", "Access-Control-Request-Method": "POST"}
    answer = page.ask(method, path, headers, b"{}")
    assert answer[0] == status
    assert not [name for name in answer[1] if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/pwa_icon/192"), ("GET", "/config"), ("POST", "/gradio_api/upload"), ("POST", "/gradio_api/run/x")],
)
def test_a_request_from_another_site_is_refused_without_an_origin_too(page, site, method, path):
    assert page.ask(method, path, {"Sec-Fetch-Site": site})[0] == 403
    assert page.ask(method, path, {"Sec-Fetch-Site": site, **NAVIGATION})[0] == 403


def test_a_link_to_the_page_can_be_followed_from_anywhere(page):
    for site in ("cross-site", "same-site", "same-origin", "none"):
        assert page.ask("GET", "/?preset=x", {"Sec-Fetch-Site": site, **NAVIGATION})[0] == 200


def test_the_page_is_shown_in_no_frame_of_another_site(page):
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert page.ask("GET", "/", framed)[0] == 403
    headers = page.ask("GET", "/")[1]
    assert headers["x-frame-options"] == "DENY" and "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/config", "/assets/none.js", "/nowhere"])
def test_every_answer_says_what_the_browser_may_make_of_it(page, path):
    headers = page.ask("GET", path)[1]
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["object-src"] == "'none'"
    assert not [part for part in policy.values() if "http" in part or "*" in part]


def test_its_own_page_is_served(page):
    assert page.ask("GET", "/", {"Origin": page.address, "Sec-Fetch-Site": "same-origin"})[0] == 200


def test_in_a_space_its_host_may_frame_the_page(tmp_path):
    with pages.served(tmp_path, SPACE_ID="someone/studio") as page:
        framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
        status, headers, _ = page.ask("GET", "/", {"Host": "someone-studio.hf.space", **framed})
        assert status == 200 and "x-frame-options" not in headers
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
        upload = page.ask(
            "POST", "/gradio_api/upload", {"Host": "someone-studio.hf.space", "Sec-Fetch-Site": "cross-site"}
        )
        assert upload[0] == 403


def test_on_a_network_a_password_is_asked_for_and_no_path_of_the_machine_is_shown(tmp_path):
    with pages.served(tmp_path, "--listen", "--auth", "me:secret") as page:
        for path in ("/config", "/gradio_api/info", "/gradio_api/file=x.png", "/gradio_api/queue/data?session_hash=x"):
            assert page.ask("GET", path)[0] == 401
        assert page.ask("POST", "/gradio_api/upload")[0] == 401
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, headers, _ = page.ask("POST", "/login", form, b"username=me&password=secret")
        assert status == 200
        cookie = {"Cookie": headers["set-cookie"].split(";")[0].replace("access-token-", "access-token-unsecure-", 1)}
        cookie = {"Cookie": cookie["Cookie"].replace("unsecure-unsecure", "unsecure")}
        for path in ("/", "/config"):
            status, _, body = page.ask("GET", path, cookie)
            assert status == 200 and b"Start training" in body
            assert str(page.workspace).encode() not in body and b"/gradio_api/file=/" not in body


def test_the_start_does_not_depend_on_a_proxy_of_the_network(tmp_path):
    """Gradio asks itself whether it has started; once it did so through the proxy, and gave up."""
    with pages.served(tmp_path, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9") as page:
        assert page.ask("GET", "/")[0] == 200


@pytest.mark.parametrize("flag", ["--listen", "--share"])
@pytest.mark.parametrize("auth", [[], ["--auth", "me"], ["--auth", ":secret"], ["--auth", "me:"]])
def test_fault_72_without_a_password_nothing_is_served_to_others(tmp_path, flag, auth):
    from core.errors import StudioError

    with pytest.raises(StudioError, match="--auth|others can use"), pages.served(tmp_path, flag, *auth):
        raise AssertionError("it is served")


def test_fault_27_values_out_of_range_are_refused_by_the_server_itself(page):
    from gradio_client import Client

    client = Client(page.address, verbose=False)
    parameters = client.view_api(return_format="dict")["named_endpoints"]["/compare"]["parameters"]
    names = {p["label"]["key"]: p["parameter_name"] for p in parameters}
    small = {"picture": None, names["Steps"]: 2, names["Pairs"]: 1}
    assert "Done." in str(client.predict(api_name="/compare", **small))
    for label, value in (("Strength ω", 99), ("Steps", 10_000), ("Pairs", 500), ("Base model θ", "../../etc")):
        try:
            answer = str(client.predict(api_name="/compare", **{**small, names[label]: value}))
        except Exception as error:  # a list says so itself
            answer = str(error)
        assert label in answer and ("outside" in answer or "is not in the list" in answer), answer


def test_a_window_of_its_own_is_asked_of_the_browser_that_can(monkeypatch, tmp_path):
    from app import window

    browser = tmp_path / "chromium"
    browser.touch()
    opened = []
    monkeypatch.setattr(window, "installed_browsers", lambda: [None, str(tmp_path / "gone"), str(browser)])
    monkeypatch.setattr(window.subprocess, "Popen", lambda command, **options: opened.append(command))
    assert window.open_window("http://127.0.0.1:1") and opened[0][:2] == [str(browser), "--app=http://127.0.0.1:1"]
    monkeypatch.setattr(window, "installed_browsers", lambda: [None])
    assert not window.open_window("http://127.0.0.1:1")
