"""The page on which people vote: it gives nothing away, and twenty pairs can be voted on in a browser."""

import io
import json
import re

import pytest
from PIL import Image

from app.page.text import CHINESE
from app.page.voting import LINK, TEXTS
from core.studio.studying.results import results_of
from core.studio.studying.study import QUESTIONS
from core.studio.workspace import Workspace
from tests.builders import pages
from tests.builders.studies import COLOURS, make_study

SECRETS = re.compile(rb"\bCFG\b|\bNPO\b|omega|beta|secret|\bseed\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with pages.served(tmp_path_factory.mktemp("voting")) as opened:
        yield opened


@pytest.fixture
def study(page):
    return make_study(Workspace(page.workspace), items=20, reveal=True)


def ask(page, study, path, voter="", body=None, **headers):
    """Status, headers and body, with whatever JSON is in it."""
    method = "GET" if body is None else "POST"
    raw = b"" if body is None else json.dumps(body).encode()
    status, headers, answer = page.ask(method, f"/vote/{study.settings.code}{path}", {"X-Voter": voter, **headers}, raw)
    data = json.loads(answer) if "json" in headers.get("content-type", "") else None
    return status, headers, answer, data


def begin(page, study):
    return ask(page, study, "/begin", body={})[3]["voter"]


def test_nothing_that_a_voter_gets_shows_which_is_which(page, study):
    """The page, its headers, the pair, the addresses of its pictures and the pictures themselves."""
    heads = []
    status, headers, html, _ = ask(page, study, "")
    assert status == 200 and not SECRETS.search(html.replace(b"self-npo-voter-", b"")), "the page's source"
    heads.append(headers)
    voter = begin(page, study)
    lefts = []
    for position in range(20):
        _, headers, raw, pair = ask(page, study, f"/pair?at={position}", voter)
        heads.append(headers)
        assert set(pair) == {"ticket", "position", "total", "prompt", "left", "right", "answers"}
        assert not SECRETS.search(raw)
        for side in ("left", "right"):
            assert re.fullmatch(r"[0-9a-f]{32}", pair[side]), "a random name"
            status, headers, raw, _ = ask(page, study, f"/picture/{pair[side]}", voter)
            heads.append(headers)
            assert status == 200 and headers["content-type"] == "image/webp" and not SECRETS.search(raw)
            with Image.open(io.BytesIO(raw)) as picture:
                assert set(picture.info) <= {"loop", "background", "timestamp", "duration"}
                if side == "left":
                    lefts.append(picture.getpixel((0, 0)))
    told = {"content-type", "content-length", "cache-control", "date", "server"}
    guard = {"content-security-policy", "x-content-type-options", "referrer-policy", "x-frame-options"}
    assert {name for headers in heads for name in headers} <= told | guard | {"cross-origin-resource-policy"}
    assert set(lefts) == {COLOURS["CFG"], COLOURS["NPO"]}, "either column is on the left at times"
    other = begin(page, study)
    names = {
        ask(page, study, f"/pair?at={at}", each)[3][side]
        for each in (voter, other)
        for at in range(20)
        for side in ("left", "right")
    }
    assert len(names) == 80, "one picture has another name for each voter"


def test_which_was_which_is_revealed_when_all_is_answered_and_not_before(page, study):
    voter = begin(page, study)
    assert ask(page, study, "/end", voter)[0] == 400
    for position in range(20):
        pair = ask(page, study, f"/pair?at={position}", voter)[3]
        for question in QUESTIONS:
            body = {"ticket": pair["ticket"], "question": question, "answer": "left"}
            assert ask(page, study, "/answer", voter, body)[3] == {"kept": True}
    assert ask(page, study, "/pair", voter)[3] == {"done": True, "total": 20, "reveal": True}
    end = ask(page, study, "/end", voter)[3]
    assert sum(end["preferred"].values()) == 20 and len(end["pairs"]) == 20


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/pair", None, 400),
        ("/picture/../study.json", None, 404),
        ("/picture/0", None, 400),
        ("/votes.csv", None, 400),
        ("/votes.csv?key=guessed", None, 400),
        ("/answer", {"ticket": "x", "question": "overall", "answer": "left"}, 400),
        ("/answer", {"question": ["overall"]}, 400),
        ("/answer", [1], 400),
        ("/study.json", None, 404),
        ("/begin", None, 405),
    ],
)
def test_what_is_not_the_voters_is_refused_in_a_sentence(page, study, path, body, status):
    assert ask(page, study, path, body=body)[0] == status


def test_a_closed_study_takes_no_votes_and_says_so_in_the_voters_language(page, study):
    voter = begin(page, study)
    ticket = ask(page, study, "/pair", voter)[3]["ticket"]
    study.set_open(False)
    status, _, _, data = ask(page, study, "/begin", body={}, **{"Accept-Language": "zh-CN"})
    assert status == 400 and data["message"] == "本研究已不再接受投票。"
    body = {"ticket": ticket, "question": "overall", "answer": "left"}
    assert ask(page, study, "/answer", voter, body)[0] == 400 and study.ballot.counts() == (0, 0)


def test_the_votes_are_fetched_with_the_studys_key(page, study):
    status, _, raw, _ = ask(page, study, f"/votes.csv?key={study.settings.key}")
    assert status == 200 and raw.startswith(b"ticket,voter,item,")


def test_the_link_may_be_followed_from_elsewhere_and_nothing_else_of_it(page, study):
    code, elsewhere = study.settings.code, {"Sec-Fetch-Site": "cross-site"}
    assert LINK.fullmatch(f"/vote/{code}")
    navigation = {**elsewhere, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert page.ask("GET", f"/vote/{code}", navigation)[0] == 200
    assert page.ask("GET", f"/vote/{code}/pair", navigation)[0] == 403
    assert page.ask("POST", f"/vote/{code}/begin", elsewhere)[0] == 403
    assert page.ask("GET", "/vote/nothing")[0] == 404


def test_every_text_of_the_voting_page_has_its_chinese(page, study):
    assert not [text for text in (*TEXTS.values(), *QUESTIONS.values()) if text not in CHINESE]
    html = ask(page, study, "", **{"Accept-Language": "zh-CN,zh;q=0.9"})[2].decode()
    assert '<html lang="zh">' in html and "色彩与光照" in html and "Colour and lighting" not in html


def test_a_title_cannot_become_script(page):
    study = make_study(Workspace(page.workspace), items=1)
    text = (study.folder / "study.json").read_text()
    (study.folder / "study.json").write_text(text.replace("Which is better?", "</title><script>alert(1)</script>"))
    assert b"<script>alert" not in ask(page, study, "")[2]


@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 720}, {"width": 390, "height": 844}])
def test_twenty_pairs_are_voted_on_in_a_browser(browser, page, study, viewport):
    """With the keys 1, 2, 3 and by touch, over a reload in the middle; the revealed end and the results agree."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport=viewport)
    opened = context.new_page()
    faults = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(f"{page.address}/vote/{study.settings.code}")
    opened.get_by_role("button", name="Begin").click()
    for number in range(20):
        opened.locator("#count", has_text=f"{number + 1} / 20").wait_for()
        if number == 0:
            assert opened.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            assert not Axe().run(opened).response["violations"]
        if number == 7:
            opened.keyboard.press("1")
            opened.locator(".row").nth(0).locator("button[aria-pressed=true]").wait_for()
            opened.wait_for_function("() => document.querySelector('#fault').textContent === ''")
            opened.reload()
            opened.locator("#count", has_text="8 / 20").wait_for()
        for row in range(5):
            if viewport["width"] > 640:
                if not opened.locator(".row").nth(row).locator("[aria-pressed=true]").count():
                    opened.keyboard.press("3")
            else:
                opened.locator(".row").nth(row).get_by_role("button", name="Right").click()
    opened.get_by_text("All 20 pairs are answered.").wait_for()
    opened.locator("#revealed table tr").nth(2).wait_for()
    assert opened.locator("#all figure").count() == 20 and not faults
    context.close()
    figures = results_of(study, draws=50)
    pair = figures["questions"]["overall"]["pairs"][0]
    assert figures["votes"] == 100 and pair["better"] + pair["worse"] == 20
    shown = [vote for vote in study.ballot.votes() if vote.question == "overall"]
    assert pair["better"] == sum(vote.right == "CFG" for vote in shown), "the right one was always chosen"


def test_a_space_shows_the_link_of_its_study_and_no_way_to_change_it(tmp_path):
    from app.serve import bring_study
    from core.studio.studying.study import list_studies

    source = make_study(Workspace(tmp_path / "made"), items=1).folder
    storage = Workspace(tmp_path / "storage")
    bring_study(storage, source, hosted=False)
    assert not list_studies(storage), "at home nothing is brought"
    bring_study(storage, source, hosted=True)
    (study,) = list_studies(storage)
    with pages.served(storage.root, SPACE_ID="someone/space") as opened:
        config = json.loads(opened.ask("GET", "/config")[2])
        links = [part["props"].get("link") for part in config["components"]]
        assert f"/vote/{study.settings.code}" in links
        assert ask(opened, study, "")[0] == 200 and ask(opened, study, "/votes.csv?key=")[0] == 400
        assert not any("study" in str(part["props"].get("elem_id", "")) for part in config["components"])
