"""The page on which people vote: one small page of its own beside the studio's, opened by a link that cannot be guessed.

It needs no password, and shows nothing but the pair to be voted on: neither the page nor what it asks for names a column before
the voter has finished. The same routes are served by the studio, by a Space, and alone by `evaluate study serve`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.page.text import CHINESE, translate
from core.errors import StudioError
from core.files import parse_json
from core.studio.studying.results import revealed, to_csv
from core.studio.studying.study import QUESTIONS, Study, comparisons, study_of_code
from core.studio.workspace import Workspace

LINK = re.compile(r"/vote/[A-Za-z0-9_-]{22}")
"""The path of a study's page."""
HTML = Path(__file__).with_name("voting.html").read_text(encoding="utf-8")
NEVER_KEPT = {"cache-control": "no-store"}
TEXTS = {
    "left": "Left",
    "right": "Right",
    "draw": "Draw",
    "back": "Back",
    "begin": "Begin",
    "keys": "Keys 1, 2, 3 answer; Backspace goes back.",
    "about": "You will see {total} pairs of pictures. For each pair, say in {questions} respects which picture is better, or that neither is.",
    "privacy": "Nobody is told which picture is which. Your answers are kept without your name; you can close this page and go on later.",
    "closed": "This study takes no more votes.",
    "thanks": "Thank you.",
    "answered": "All {total} pairs are answered. You can close this page.",
    "preferred": "How often you preferred each, over all:",
    "offline": "Not saved yet: the studio cannot be reached. Trying again.",
    "enlarge": "Enlarge: {side}",
}
"""What the page says, by the name its script uses."""


def _chinese(request: Request) -> bool:
    return request.headers.get("accept-language", "").lower().startswith("zh")


def _fault(request: Request, error: StudioError, status: int) -> JSONResponse:
    texts = [translate(text, chinese=_chinese(request)) for text in (error.message, error.remedy)]
    return JSONResponse({"message": " ".join(filter(None, texts))}, status, NEVER_KEPT)


def routes(workspace: Workspace) -> list[Route]:
    """The routes of all studies of a workspace."""

    def found(request: Request) -> Study:
        study = study_of_code(workspace, request.path_params["code"])
        if study is None:
            raise StudioError("There is no study at this address.", "Ask for the link again.")
        return study

    def answering(action: Callable[[Study, Request, dict[str, Any]], Any]) -> Any:
        """The endpoint of an action on a study: its reply as JSON, or what is wrong in the voter's language."""

        async def endpoint(request: Request) -> Response:
            raw = await request.body()

            def act() -> Response:
                try:
                    study = found(request)
                except StudioError as error:
                    return _fault(request, error, 404)
                try:
                    body = parse_json(raw.decode("utf-8", "replace"), dict, name="request") if raw else {}
                    reply = action(study, request, body)
                except StudioError as error:
                    return _fault(request, error, 400)
                return reply if isinstance(reply, Response) else JSONResponse(reply, headers=NEVER_KEPT)

            return await run_in_threadpool(act)

        return endpoint

    return [
        Route("/vote/{code}", answering(_page), methods=["GET"]),
        Route("/vote/{code}/begin", answering(_begin), methods=["POST"]),
        Route("/vote/{code}/pair", answering(_pair), methods=["GET"]),
        Route("/vote/{code}/picture/{name}", answering(_picture), methods=["GET"]),
        Route("/vote/{code}/answer", answering(_answer), methods=["POST"]),
        Route("/vote/{code}/end", answering(_end), methods=["GET"]),
        Route("/vote/{code}/votes.csv", answering(_votes), methods=["GET"]),
    ]


def _page(study: Study, request: Request, body: dict[str, Any]) -> Response:
    settings, chinese = study.settings, _chinese(request)

    def say(text: str) -> str:
        return CHINESE[text] if chinese else text

    every = comparisons(settings.columns, len(study.ballot.items()))
    values = {
        "__TITLE__": escape(settings.title),
        "__LANG__": "zh" if chinese else "en",
        "__TEXTS__": _in_script({name: say(text) for name, text in TEXTS.items()}),
        "__QUESTIONS__": _in_script([{"name": name, "text": say(QUESTIONS[name])} for name in settings.questions]),
        "__TOTAL__": str(min(settings.pairs or every, every)),
        "__OPEN__": "true" if settings.open else "false",
    }
    page = re.sub("|".join(values), lambda match: values[match[0]], HTML)
    return HTMLResponse(page, headers=NEVER_KEPT)


def _in_script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def _open(study: Study) -> None:
    if not study.settings.open:
        raise StudioError("This study takes no more votes.", "")


def _voter(request: Request) -> str:
    return request.headers.get("x-voter", "")


def _begin(study: Study, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    _open(study)
    settings = study.settings
    return {"voter": study.ballot.begin(settings.columns, settings.pairs, settings.shared)}


def _pair(study: Study, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """A pair of the voter's: the one asked for, or the first that is not answered."""
    settings, ballot, voter = study.settings, study.ballot, _voter(request)
    total, asked = ballot.total(voter), request.query_params.get("at", "")
    position = int(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else ballot.next_position(voter, settings.questions)
    row = None if position is None else ballot.showing(voter, position)
    if row is None:
        return {"done": True, "total": total, "reveal": settings.reveal}
    shown, answers = row
    return {
        "ticket": shown.ticket,
        "position": shown.position,
        "total": total,
        "prompt": shown.prompt,
        "left": shown.left_name,
        "right": shown.right_name,
        "answers": answers,
    }


def _picture(study: Study, request: Request, body: dict[str, Any]) -> Response:
    file = study.ballot.file_of(request.path_params["name"])
    if file is None:
        raise StudioError("There is no such picture.", "Open the link of the study again.")
    try:
        data = study.picture(file).read_bytes()
    except OSError as error:
        raise StudioError("A picture of the study is missing.", "Tell the person who sent you the link.") from error
    # no name, no date, no tag of the file: two pictures differ in what they show alone
    return Response(data, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})


def _answer(study: Study, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    _open(study)
    if body.get("question") not in study.settings.questions:
        raise StudioError("That is not an answer to this study.", "Open its link again.")
    study.ballot.answer(_voter(request), str(body.get("ticket")), body["question"], str(body.get("answer")))
    return {"kept": True}


def _end(study: Study, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return revealed(study, _voter(request))


def _votes(study: Study, request: Request, body: dict[str, Any]) -> Response:
    """All votes, for who has the study's key: the way to them where its folder is in a Space."""
    given = request.query_params.get("key", "")
    if not study.settings.key or not secrets.compare_digest(given.encode(), study.settings.key.encode()):
        raise StudioError("There is no study at this address.", "Ask for the link again.")
    return Response(to_csv(study), media_type="text/csv; charset=utf-8", headers=NEVER_KEPT)
