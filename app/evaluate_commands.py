"""Commands that measure what an offset does: `evaluate …`, and `gallery` for other programs' measures."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.attention import add_attention
from app.job_commands import add_launcher
from app.search_commands import add_search, preset, score, search
from app.study_commands import add_study, run_study
from core.errors import StudioError

EXAMPLE = "launch.py evaluate run --negative sd15-mini-negative --prompts 200"


def add_evaluate(commands: Any, common: Callable[..., None]) -> None:
    """`evaluate run | resume | stop | report | merge | list | dose | scorers`."""
    evaluate = commands.add_parser(
        "evaluate", help="does an offset help? paired scores, controls, and a verdict", epilog=f"For example: {EXAMPLE}"
    ).add_subparsers(dest="action", required=True)
    run = evaluate.add_parser("run", help="compare a setting with tuned CFG and with controls, over many prompts")
    run.add_argument("--base", default=None, help="a base of the library, or a folder")
    run.add_argument("--negative", default=None, help="the negative offset: of the library, or a file")
    run.add_argument("--positive", default=None, help="the positive offset")
    run.add_argument(
        "--prompts",
        default=None,
        metavar="FILE_OR_COUNT",
        help="PartiPrompts, HPDv2, Pick-a-Pic, DrawBench, GenEval, VBench or text; or how many of the miniature's own",
    )
    run.add_argument("--scorers", default=None, metavar="NAMES", help="separated by commas; the first decides")
    run.add_argument("--cfg", default=None, metavar="OMEGAS", help="ω of the plain columns, for example 1,2,4,6,8")
    run.add_argument("--x", dest="sweep_x", metavar="KEY=VALUES", help="sweep one setting, for example beta=0,0.5,1")
    run.add_argument("--y", dest="sweep_y", metavar="KEY=VALUES", help="and another, for example omega=1:4:0.5")
    run.add_argument(
        "--column",
        action="append",
        metavar="KEY=VALUE,…",
        help="a further column, for example name=older,negative=my-older-offset; as often as you like",
    )
    run.add_argument("--name", default="", help="name of the evaluation")
    run.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="omega, alpha, beta, count, seeds, steps, controls, …"
    )
    run.add_argument("--create", action="store_true", help="make the folder and its id alone; `resume` does the work")
    resume = evaluate.add_parser("resume", help="go on with an evaluation, alone or beside other processes")
    report = evaluate.add_parser("report", help="the verdict and the report of what is done so far")
    merge = evaluate.add_parser("merge", help="take over what other machines did of the same evaluation")
    stop = evaluate.add_parser("stop", help="stop an evaluation after the chunk it is at; `resume` goes on")
    for command in (resume, stop, report, merge):
        command.add_argument("evaluation", help="its id, or its folder")
    merge.add_argument("others", nargs="+", metavar="FOLDER", help="folders copied back from other machines")
    for command in (run, resume):
        command.add_argument("--shard", default=None, metavar="3/16", help="do this share of the chunks alone")
    add_launcher(resume, sharded=True)
    resume.add_argument("--detach", action="store_true", help="in processes of its own, which outlive this one")
    resume.add_argument("--processes", type=int, default=0, metavar="N", help="with --detach: how many share the work")
    add_search(evaluate, common)
    listed = evaluate.add_parser("list", help="the evaluations there are")
    dose = evaluate.add_parser("dose", help="how strong an offset is, from a few prompts")
    dose.add_argument("offset", help="of the library, or a file")
    dose.add_argument("--base", default=None, help="a base of the library, or a folder")
    dose.add_argument("--omega", type=float, default=2.0, help="the strength of guidance it is used at (2)")
    dose.add_argument("--prompts", type=int, default=8, help="how many prompts are measured (8)")
    scorers = evaluate.add_parser("scorers", help="the scorers: what they need, and whether it is here")
    scorers.add_argument("fetch", nargs="?", choices=("fetch",), help="fetch one from the Hub")
    scorers.add_argument("names", nargs="*", metavar="NAME")
    add_study(evaluate, common)
    for command in (run, resume, stop, report, merge, listed, dose, scorers):
        common(command, dry_run=command is run)
    for command in (run, resume, dose):
        command.add_argument("--cpu", action="store_true", help="do not use a graphics card")
        add_attention(command)


def add_gallery(commands: Any, common: Callable[..., None]) -> None:
    """`gallery`."""
    gallery = commands.add_parser(
        "gallery",
        help="two folders of numbered pictures with their prompts, without and with NPO, for other scoring scripts",
    )
    gallery.add_argument("prompts", help="a file of prompts, in any format that `evaluate` reads")
    gallery.add_argument("out", help="the folder; `without` and `with` are made in it")
    gallery.add_argument("--base", default=None, help="a base of the library, or a folder")
    gallery.add_argument("--negative", default=None, help="the negative offset: of the library, or a file")
    gallery.add_argument("--positive", default=None, help="the positive offset")
    gallery.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="omega, alpha, beta, count, seed, …")
    add_launcher(gallery, sharded=True)
    gallery.add_argument("--shard", default=None, metavar="3/16", help="do this share of the prompts alone")
    gallery.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    add_attention(gallery)
    gallery.set_defaults(scorers=None, cfg=None)
    common(gallery, dry_run=False)


def run_gallery(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `gallery` says."""
    from core.studio.evaluating.gallery import write_gallery
    from core.studio.evaluating.work import device_of, shard_of

    out = Path(options.out).expanduser()
    shard = shard_of(options.shard) if options.shard else (int(os.environ.get("RANK", "0")), _processes())
    device = device_of(cpu=options.cpu, rank=int(os.environ.get("LOCAL_RANK", "0")))
    count = 0
    for count in write_gallery(workspace, settings_of(options), out, shard=shard, device=device):
        print(f"\r{count} prompts ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    show({"folder": out.name, "prompts": count}, f"{count} prompts in {out.name}/without and {out.name}/with")
    return 0


def _processes() -> int:
    """How many processes `accelerate launch` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def run_evaluate(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `evaluate …` says."""
    return _ACTIONS[options.action](options, workspace, show)


def settings_of(options: argparse.Namespace) -> Any:
    """The settings that a command line names.

    Raises:
        StudioError: an unknown setting, or a value outside its range.
    """
    from app.cli import parse_pairs
    from core.studio.evaluating.settings import EvaluationSettings

    values: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("base", "negative", "positive", "scorers", "cfg")
        if getattr(options, key) is not None
    }
    if options.prompts is not None:
        values["count" if options.prompts.isdigit() else "prompts"] = (
            int(options.prompts) if options.prompts.isdigit() else options.prompts
        )
    values |= parse_pairs(options.set)
    for axis in ("sweep_x", "sweep_y"):
        if getattr(options, axis, None):
            values[axis] = getattr(options, axis)
    if columns := getattr(options, "column", None):
        values["columns"] = [parse_pairs(text.split(",")) for text in columns]
    if values.get("prompts") and "count" not in values:
        values["count"] = 1_000_000  # all of them: the folder keeps how many there were
    return EvaluationSettings.from_dict(values)


def _run(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.estimate import estimate_of
    from core.studio.evaluating.folder import counted, create_evaluation
    from core.studio.evaluating.settings import columns_of, row_forwards

    settings = counted(settings_of(options))
    if options.dry_run:
        cost = estimate_of(workspace, settings)
        facts = {
            **settings.to_dict(),
            "columns": [column.name for column in columns_of(settings)],
            "row_forwards": cost.row_forwards,
            "seconds": cost.seconds,
            "disk": cost.disk,
        }
        show(facts, "\n".join(f"{key} = {value!r}" for key, value in facts.items()))
        return 0
    evaluation = create_evaluation(workspace, settings, options.name)
    if options.create:
        show({"evaluation": evaluation.id}, evaluation.id)
        return 0
    print(f"{evaluation.id}: {row_forwards(evaluation.settings)} row-forwards", file=sys.stderr)
    return _work(evaluation, options, workspace, show)


def _resume(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.folder import get_evaluation
    from core.studio.evaluating.job import allow, start

    evaluation = get_evaluation(workspace, options.evaluation)
    if options.detach:
        start(evaluation, cpu=options.cpu, processes=options.processes)
        show({"evaluation": evaluation.id}, evaluation.id)
        return 0
    allow(evaluation)
    return _work(evaluation, options, workspace, show)


def _stop(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.folder import get_evaluation
    from core.studio.evaluating.job import stop

    evaluation = get_evaluation(workspace, options.evaluation)
    stop(evaluation)
    show({"evaluation": evaluation.id}, f"{evaluation.id} stops after the chunk it is at.")
    return 0


def _work(evaluation: Any, options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does this process's share; under `accelerate launch` each process takes its own."""
    from core.studio.evaluating.events import ChunkDone
    from core.studio.evaluating.share import work_through
    from core.studio.evaluating.work import shard_of

    shard = shard_of(options.shard) if options.shard else (int(os.environ.get("RANK", "0")), _processes())
    for event in work_through(workspace, evaluation, shard=shard, cpu=options.cpu):
        if isinstance(event, ChunkDone):
            print(f"\rchunk {event.number}: {event.done} of {event.total} done ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if evaluation.done() < evaluation.chunks:
        show({"evaluation": evaluation.id, "done": evaluation.done(), "chunks": evaluation.chunks}, evaluation.id)
        return 0
    return _show_report(evaluation, show)


def _report(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.folder import get_evaluation

    return _show_report(get_evaluation(workspace, options.evaluation), show)


def _show_report(evaluation: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.report import write_report

    figures = write_report(evaluation)
    lines = [figures["verdict"]["sentence"], ""]
    for table in figures["scorers"].values():
        lines.append(table["title"])
        for row in table["rows"]:
            against = row.get("npo_against_it")
            rest = ""
            if against:
                change = against["difference"]
                rest = f"  NPO {change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]"
                rest += f"  wins {against['wins']['value']:.1%}  p {against['p']:.2g}"
            lines.append(f"  {row['column']:18} {row['mean']['value']:9.4f}{rest}")
    lines += ["", f"{evaluation.id}/report.html, {figures['pairs']} of {figures['planned']} pairs"]
    lines += [f"not scored: {failure}" for failure in figures["failures"][:5]]
    show(figures, "\n".join(lines))
    return 1 if figures["failures"] else 0


def _merge(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.folder import get_evaluation, merge

    evaluation = get_evaluation(workspace, options.evaluation)
    new = merge(evaluation, [get_evaluation(workspace, str(Path(other).resolve())) for other in options.others])
    print(f"{new} chunks taken over, {evaluation.done()} of {evaluation.chunks} done", file=sys.stderr)
    return _show_report(evaluation, show)


def _list(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.state import list_states

    faults: list[StudioError] = []
    rows = [
        {"evaluation": state.id, "status": state.status, "done": state.done, "chunks": state.total}
        for state in list_states(workspace, faults.append)
    ]
    lines = [f"{row['evaluation']:60} {row['status']:12} {row['done']}/{row['chunks']} chunks" for row in rows]
    lines += [str(fault) for fault in faults]
    show(rows, "\n".join(lines) or "There is no evaluation yet.")
    return 0


def _dose(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating.dose import measure_strength
    from core.studio.evaluating.work import device_of
    from core.studio.library.choose import BUNDLED

    strength = measure_strength(
        workspace,
        options.offset,
        base=options.base or BUNDLED,
        omega=options.omega,
        prompts=options.prompts,
        device=device_of(cpu=options.cpu),
    )
    show(strength.to_dict(), strength.sentence)
    return 0


def _scorers(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    from core.studio.evaluating import scorers

    if options.fetch:
        for name in options.names:
            scorers.cards_of([name])
            for path in scorers.fetch(workspace, name):
                print(f"fetched {path.name}", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for name, card in scorers.ALL.items():
        absent = [file.name for _, file in scorers.missing(workspace, [name])]
        rows.append(
            {
                "name": name,
                "title": card.title,
                "version": card.version,
                "licence": card.licence,
                "bytes": card.size,
                "reads": card.reads,
                "range": card.range,
                "sources": [file.source for file in card.files],
                "missing": absent,
            }
        )
    lines = [
        f"{row['name']:20} {'here' if not row['missing'] else 'missing':8} {row['bytes'] / 1e9:5.2f} GB  {row['licence']:32} "
        f"{row['range']}"
        for row in rows
    ]
    show(rows, "\n".join(lines))
    return 0


_ACTIONS = {
    "run": _run,
    "resume": _resume,
    "stop": _stop,
    "search": search,
    "preset": preset,
    "score": score,
    "report": _report,
    "merge": _merge,
    "list": _list,
    "dose": _dose,
    "scorers": _scorers,
    "study": run_study,
}
