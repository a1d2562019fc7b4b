"""Commands of blind studies: `evaluate study …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.files import read_text, write_text

MOST_BYTES = 2**28
"""Of a CSV file of votes."""


def add_study(actions: Any, common: Callable[..., None]) -> None:
    """`evaluate study create | list | results | export | import | open | close | serve`."""
    study = actions.add_parser("study", help="a blind study: people vote on pairs without knowing which is which")
    ways = study.add_subparsers(dest="way", required=True)
    create = ways.add_parser("create", help="from an evaluation, or from folders of pictures with the same names")
    create.add_argument("sources", nargs="+", metavar="SOURCE", help="an evaluation's id, or two folders or more")
    create.add_argument("--columns", default="", metavar="NAMES", help="of an evaluation, separated by commas")
    create.add_argument(
        "--title", default="Which picture is better?", help="what voters read; it must give nothing away"
    )
    create.add_argument("--questions", default="", metavar="NAMES", help="colour,detail,composition,alignment,overall")
    create.add_argument("--pairs", type=int, default=0, help="how many pairs a voter sees (all)")
    create.add_argument("--shared", type=int, default=10, help="how many of them all voters see (10)")
    create.add_argument("--reveal", action="store_true", help="tell voters at the end which was which")
    listed = ways.add_parser("list", help="the studies there are, with their links")
    results = ways.add_parser("results", help="who was preferred, with intervals, and how far voters agree")
    export = ways.add_parser("export", help="all votes as CSV")
    importing = ways.add_parser("import", help="take over the votes of a copy of the study")
    opened, closed = (
        ways.add_parser("open", help="take votes again"),
        ways.add_parser("close", help="take no more votes"),
    )
    for command in (results, export, importing, opened, closed):
        command.add_argument("study", help="its id")
    for command in (export, importing):
        command.add_argument("file", type=Path, help="the CSV file")
    serve = ways.add_parser("serve", help="serve the voting page alone, without the studio")
    serve.add_argument("--listen", action="store_true", help="answer other machines and phones, too")
    serve.add_argument("--port", type=int, default=7870, help="first port to try (7870)")
    for command in (create, listed, results, export, importing, opened, closed, serve):
        common(command, dry_run=False)


def run_study(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `evaluate study …` says."""
    return _WAYS[options.way](options, workspace, show)


def _create(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.sources import items_of_folders
    from core.studio.studying.study import QUESTIONS, StudySettings, create_study

    folders = [Path(source).expanduser() for source in options.sources]
    if len(folders) > 1:
        columns, items = items_of_folders(folders)
    else:
        columns, items = items_of_evaluation(workspace, options.sources[0], _names(options.columns))
    settings = StudySettings(
        title=options.title,
        columns=columns,
        questions=_names(options.questions) or tuple(QUESTIONS),
        pairs=options.pairs,
        shared=options.shared,
        reveal=options.reveal,
    )
    study = create_study(workspace, settings, items)
    facts = {"study": study.id, "link": f"/vote/{study.settings.code}", "key": study.settings.key, "items": len(items)}
    lines = [
        study.id,
        f"{len(items)} prompts, columns {', '.join(columns)}",
        f"the studio serves it at {facts['link']}",
    ]
    show(facts, "\n".join(lines))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def items_of_evaluation(
    workspace: Any, evaluation_id: str, columns: tuple[str, ...]
) -> tuple[tuple[str, ...], list[Any]]:
    """The columns and items of an evaluation's kept pictures; without columns, its setting and CFG at the same ω."""
    from core.studio.evaluating.folder import get_evaluation
    from core.studio.evaluating.kept import kept_pictures
    from core.studio.evaluating.settings import NPO, cfg_name
    from core.studio.studying.study import Item

    evaluation = get_evaluation(workspace, evaluation_id)
    columns = columns or (NPO, cfg_name(evaluation.settings.omega))
    kept = kept_pictures(evaluation, columns)
    return columns, [Item(one.prompt, one.pictures, f"seed {one.seed}") for one in kept]


def _list(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.study import list_studies

    rows: list[dict[str, Any]] = []
    for study in list_studies(workspace):
        try:
            settings, (voters, votes) = study.settings, study.ballot.counts()
        except StudioError as error:
            rows.append({"study": study.id, "error": error.message})
            continue
        rows.append(
            {
                "study": study.id,
                "link": f"/vote/{settings.code}",
                "open": settings.open,
                "voters": voters,
                "votes": votes,
            }
        )
    lines = [
        f"{row['study']:50} {row.get('voters', '?')} voters  {row.get('votes', '?')} votes  {row.get('link', '')}"
        for row in rows
    ]
    show(rows, "\n".join(lines) or "There is no study yet.")
    return 0


def _results(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.results import results_of
    from core.studio.studying.study import QUESTIONS, get_study

    figures = results_of(get_study(workspace, options.study))
    lines = [f"{figures['voters']} voters, {figures['votes']} votes, {figures['items']} prompts"]
    for name, question in figures["questions"].items():
        lines.append(QUESTIONS[name])
        for pair in question["pairs"]:
            rate = pair["rate"]
            lines.append(
                f"  {pair['first']} against {pair['second']}: {rate['value']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}]"
                f"  better {pair['better']}, draw {pair['draw']}, worse {pair['worse']}"
                + ("" if pair["clear"] else "  no clear difference")
            )
        for column, strength in question.get("strengths", {}).items():
            lines.append(
                f"  strength of {column}: {strength['value']:+.2f} [{strength['low']:+.2f}, {strength['high']:+.2f}]"
            )
        if agreed := question["agreement"]:
            lines.append(
                f"  agreement: alpha {agreed['alpha']:.2f}, {agreed['equal']:.0%} equal answers, {agreed['pairs']} pairs"
            )
    show(figures, "\n".join(lines))
    return 0


def _export(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.results import to_csv
    from core.studio.studying.study import get_study

    text = to_csv(get_study(workspace, options.study))
    write_text(options.file.expanduser(), text)
    show({"file": options.file.name, "votes": text.count("\n") - 1}, f"written to {options.file.name}")
    return 0


def _import(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.results import from_csv
    from core.studio.studying.study import get_study

    text = read_text(options.file.expanduser(), limit=MOST_BYTES)
    new = from_csv(get_study(workspace, options.study), text)
    show({"new": new}, f"{new} new votes")
    return 0


def _set_open(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.studying.study import get_study

    study = get_study(workspace, options.study)
    study.set_open(options.way == "open")
    show(
        {"study": study.id, "open": study.settings.open}, f"{study.id} is {'open' if study.settings.open else 'closed'}"
    )
    return 0


def _serve(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    import uvicorn

    from app.serve import free_port
    from app.voting_server import voting_app
    from core.studio.studying.study import list_studies

    address = "0.0.0.0" if options.listen else "127.0.0.1"  # noqa: S104
    port = free_port(options.port, address)
    for study in list_studies(workspace):
        print(
            f"http://{'this-machine' if options.listen else '127.0.0.1'}:{port}/vote/{study.settings.code}   {study.id}"
        )
    print("Ctrl-C ends it.", file=sys.stderr, flush=True)
    uvicorn.run(voting_app(workspace, any_host=options.listen), host=address, port=port, log_level="warning")
    return 0


_WAYS = {
    "create": _create,
    "list": _list,
    "results": _results,
    "export": _export,
    "import": _import,
    "open": _set_open,
    "close": _set_open,
    "serve": _serve,
}
