"""The language chosen in Settings stands for the browser's: in the page's first script, and in each request."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from app.page.language import ChosenLanguage, chosen_language
from tests.builders.coroutines import finished

PAGE = "<!doctype html><html><head><title>page</title></head><body>语言</body></html>"


async def page(_: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def wanted(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.headers.get("accept-language", "none"))


def answer(path: str, **headers: str) -> tuple[dict[str, str], str]:
    """Headers and text of the answer to a GET behind the middleware."""
    app = ChosenLanguage(Starlette(routes=[Route("/", page), Route("/wanted", wanted)]))
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b""}

    async def send(message: dict) -> None:
        sent.append(message)

    finished(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}, body.decode()


def test_without_a_choice_nothing_changes():
    assert answer("/")[1] == PAGE
    assert answer("/wanted", accept_language="de")[1] == "de"


def test_a_choice_comes_before_every_other_script_and_goes_with_each_request():
    headers, text = answer("/", cookie="theme=dark; self_npo_language=zh", accept_language="en")
    assert text.startswith("<!doctype html><html><head><script>for (const [name, value] of [['language', 'zh-CN']")
    assert text.replace(text[text.index("<script>") : text.index("</script>") + 9], "") == PAGE
    assert int(headers["content-length"]) == len(text.encode())
    assert answer("/wanted", cookie="self_npo_language=en", accept_language="zh-CN")[1] == "en-US"


@pytest.mark.parametrize(
    "cookie", ["self_npo_language=<script>", "self_npo_language=", "=;=;", "self_npo_language=de", ""]
)
def test_no_other_language_gets_into_the_page(cookie):
    assert chosen_language({"cookie": [cookie]}) == ""
    assert answer("/", cookie=cookie)[1] == PAGE
