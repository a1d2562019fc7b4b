"""The command line: the page's start flags, and the same engine without a page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app import bench_commands, evaluate_commands, grid_commands, job_commands, library_commands
from app.arguments import add_rendering, parse_pairs, rendering_values
from app.attention import add_attention, add_compile, add_saving
from core import __version__
from core.errors import StudioError
from core.studio.attention import choose_attention, choose_compiled, choose_saving


def _add_workspace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", metavar="DIR", help="folder of runs, offsets and pictures")


def _add_common(parser: argparse.ArgumentParser, *, dry_run: bool) -> None:
    _add_workspace(parser)
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    if dry_run:
        parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Self-NPO Studio. Without a command: the page.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--listen", action="store_true", help="answer other machines too; needs --auth")
    parser.add_argument("--port", type=int, default=7860, help="first port to try (7860)")
    parser.add_argument("--share", action="store_true", help="a public link through Gradio; needs --auth")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask for a name and a password")
    parser.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    add_attention(parser)
    add_compile(parser)
    add_saving(parser)
    parser.add_argument("--medvram", action="store_true", help="less graphics memory, somewhat slower")
    parser.add_argument("--lowvram", action="store_true", help="least graphics memory, slowest")
    parser.add_argument("--theme", choices=("system", "light", "dark"), default="system")
    parser.add_argument(
        "--preset", metavar="FILE", type=Path, help="open with the settings of a JSON file or a picture"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument(
        "--window", action="store_true", help="a window of its own instead of a tab, with Chrome, Edge or Chromium"
    )
    _add_workspace(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    train = commands.add_parser("train", help="train a negative offset")
    train.add_argument("--recipe", default="studio", help="studio, paper or official")
    train.add_argument("--base", default=None, help="a base of the library, or a folder")
    train.add_argument("--name", default="", help="name of the run")
    train.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="any setting; see --settings")
    train.add_argument("--memory-profile", metavar="PROFILE", help="8, 12 or 24 (GB of a card), or machine")
    train.add_argument("--settings", action="store_true", help="list every setting with its meaning")
    train.add_argument("--detach", action="store_true", help="start and return at once")
    job_commands.add_launcher(train, sharded=False)

    resume = commands.add_parser("resume", help="go on with a run that was paused or cut off")
    resume.add_argument("run")
    resume.add_argument("--detach", action="store_true", help="start and return at once")

    compare = commands.add_parser("compare", help="render with and without NPO")
    add_rendering(compare)
    add_compile(compare)
    add_saving(compare)
    compare.add_argument("--settings", action="store_true", help="list every setting with its range and meaning")
    compare.add_argument(
        "--input", metavar="FILE", type=Path, help="a picture to begin from; with control=NAME, to follow"
    )
    compare.add_argument("--mask", metavar="FILE", type=Path, help="white is drawn anew, black is kept")

    runs = commands.add_parser("runs", help="list the runs")
    doctor = commands.add_parser(
        "doctor", help="versions, machine, room; for a bug report: no path, name or token in it"
    )
    doctor.add_argument("--quick", action="store_true", help="without the self-test of under two minutes")
    _add_workspace(doctor)
    doctor.add_argument("--cpu", action="store_true", help="do not use a graphics card")
    add_attention(doctor)
    for command in (train, resume, compare, runs):
        _add_common(command, dry_run=command is not runs)
    for command in (train, resume, compare):
        command.add_argument("--cpu", action="store_true", help="do not use a graphics card")
        add_attention(command)
    for add in (
        grid_commands.add_grid,
        grid_commands.add_score,
        evaluate_commands.add_evaluate,
        evaluate_commands.add_gallery,
        library_commands.add_offset,
        library_commands.add_library,
        bench_commands.add_bench,
    ):
        add(commands, _add_common)
    return parser


def _say_fault(error: StudioError) -> None:
    """One damaged thing among many: it is reported, and the rest continues."""
    print(f"Left out: {error}", file=sys.stderr)


def _workspace(options: argparse.Namespace) -> Any:
    from core.studio.workspace import Workspace

    return Workspace(options.workspace)


def _print(options: argparse.Namespace, data: Any, text: str) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False) if getattr(options, "json", False) else text)


def _follow(run: Any, options: argparse.Namespace) -> int:
    """Prints a run's events until it ends; Ctrl-C asks it to pause and waits for its checkpoint."""
    from core.events import CheckpointSaved, Notice, PoolProgress, RunFailed, RunStarted, StepDone, to_json

    as_json, offset, asked = getattr(options, "json", False), run.events()[1], False
    while True:
        try:
            alive = run.process() is not None
            events, offset = run.events(offset)
            for event in events:
                if as_json:
                    print(json.dumps(to_json(event)), flush=True)
                elif isinstance(event, RunStarted):
                    print(f"{run.id} on {event.device}: {event.row_forwards_per_sample:g} row-forwards a sample")
                elif isinstance(event, PoolProgress):
                    print(f"\rown samples {event.done}/{event.total} ", end="", flush=True)
                elif isinstance(event, StepDone):
                    steps = run.config.steps
                    left = (steps - event.step) / event.rate if event.rate else 0
                    line = f"step {event.step}/{steps}  loss {event.loss:.4g}  {event.rate:.2f}/s  {left:.0f} s left"
                    print(f"\r{line}   ", end="", flush=True)
                elif isinstance(event, CheckpointSaved | Notice):
                    print(f"\n{getattr(event, 'message', '') or 'saved ' + getattr(event, 'name', '')}")
                elif isinstance(event, RunFailed):
                    raise StudioError(event.message, event.remedy)
            if not alive:
                break
            time.sleep(0.2)
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            run.request("pause")
            print("\nPausing after a checkpoint…", file=sys.stderr)
    if not as_json:
        print(f"\n{run.id}: {run.status}" + (f", offset {run.offset.name}" if run.offset else ""))
    return 0 if run.status in ("finished", "paused", "stopped") else 1


def _train(options: argparse.Namespace) -> int:
    from core.studio.library.choose import OPENING, find_base
    from core.studio.runs.forecast import plan
    from core.studio.runs.process import begin_run
    from core.training.config import FIELDS, recipe
    from core.training.cost import row_forwards_per_sample

    if options.settings:
        rows = [{"name": f.name, "default": f.default, "meaning": f.help} for f in FIELDS.values()]
        _print(options, rows, "\n".join(f"{r['name']} = {r['default']!r}\n    {r['meaning']}" for r in rows))
        return 0
    changes = {"base": OPENING, **parse_pairs(options.set)}
    if options.base:
        changes["base"] = options.base
    workspace = _workspace(options)
    if options.memory_profile:
        from core.studio.runs.memory import profile

        base = find_base(workspace, changes["base"])
        changes = {**profile(base, options.memory_profile), **changes}
    config = recipe(options.recipe, **changes)
    base = find_base(workspace, config.base)
    if Path(config.base).is_dir():
        config = dataclasses.replace(config, base=str(base.resolve()))
    if options.dry_run:
        cost = plan(workspace, config)
        resolved = {
            **config.to_dict(),
            "row_forwards_per_sample": row_forwards_per_sample(config),
            "seconds": cost.seconds and round(cost.seconds),
            "measured_in": cost.like,
        }
        _print(options, resolved, "\n".join(f"{key} = {value!r}" for key, value in resolved.items()))
        return 0
    run = begin_run(workspace, config, options.name, cpu=options.cpu)
    if options.detach:
        _print(options, {"run": run.id}, run.id)
        return 0
    return _follow(run, options)


def _resume(options: argparse.Namespace) -> int:
    from core.studio.runs.process import start_run
    from core.studio.runs.run import get_run

    run = get_run(_workspace(options), options.run)
    if options.dry_run:
        print("\n".join(f"{key} = {value!r}" for key, value in run.config.to_dict().items()))
        return 0
    start_run(run, cpu=options.cpu)
    if options.detach:
        print(run.id)
        return 0
    return _follow(run, options)


def _compare(options: argparse.Namespace) -> int:
    from core.generation.settings import FIELDS, Settings
    from core.studio.comparing.engine import Engine
    from core.studio.comparing.events import Note, Saved
    from core.studio.comparing.settings import comparison_of
    from core.studio.library.choose import find_offset

    if options.settings:
        rows = [{"name": f.name, "default": f.default, "range": f.span, "meaning": f.help} for f in FIELDS.values()]
        lines = (f"{r['name']} = {r['default']!r}  {r['range']}".rstrip() + f"\n    {r['meaning']}" for r in rows)
        _print(options, rows, "\n".join(lines))
        return 0
    workspace = _workspace(options)
    settings = Settings.from_values(rendering_values(options, workspace))
    if options.mask and not options.input:
        raise StudioError("--mask requires --input.", "Name the picture that it belongs to.")
    comparison = comparison_of(settings.values(), options.input, options.mask)
    find_offset(workspace, comparison.negative)
    find_offset(workspace, comparison.positive)
    if options.dry_run:
        cost = {"rows_of_largest_step": comparison.rows, "row_forwards": comparison.row_forwards}
        facts = {**settings.values(), **cost}
        _print(options, facts, "\n".join(f"{key} = {value!r}" for key, value in facts.items()))
        return 0
    saved: list[Saved] = []
    for event in Engine(workspace, cpu=options.cpu).compare(comparison):
        if isinstance(event, Saved):
            saved.append(event)
        elif isinstance(event, Note):
            print(event.text, file=sys.stderr)
    _print(
        options,
        [{"file": str(s.path), **s.settings} for s in saved],
        "\n".join(f"{'with   ' if s.column else 'without'} seed {s.seed}: {s.path}" for s in saved),
    )
    return 0


def _runs(options: argparse.Namespace) -> int:
    from core.studio.runs.run import list_runs

    runs = [dataclasses.asdict(run) for run in list_runs(_workspace(options), _say_fault)]
    rows = [f"{r['id']:44} {r['status']:12} {r['step']:>6}/{r['steps']:<6} {r['base']}" for r in runs]
    _print(options, runs, "\n".join(rows) or "There is no run yet.")
    return 0


def _files(run: Callable[..., int]) -> Callable[[argparse.Namespace], int]:
    """A command of `library_commands` with its workspace and its way to print."""
    return lambda options: run(options, _workspace(options), lambda data, text: _print(options, data, text))


def _doctor(options: argparse.Namespace) -> int:
    from core.studio import doctor

    workspace = _workspace(options)
    print(json.dumps(doctor.facts(workspace), indent=2), flush=True)
    if options.quick:
        return 0
    well = True
    for name, right, words in doctor.self_test(cpu=options.cpu):
        print(f"{'ok    ' if right else 'FAILED'} {name} {words}", flush=True)
        well &= right
    return 0 if well else 1


def _serve(options: argparse.Namespace) -> int:
    from app.serve import serve

    serve(options)
    return 0


COMMANDS: dict[str | None, Callable[[argparse.Namespace], int]] = {
    None: _serve,
    "train": _train,
    "resume": _resume,
    "compare": _compare,
    "runs": _runs,
    "grid": _files(grid_commands.run_grid),
    "score": _files(grid_commands.run_score),
    "evaluate": _files(evaluate_commands.run_evaluate),
    "gallery": _files(evaluate_commands.run_gallery),
    "offset": _files(library_commands.run_offset),
    "library": _files(library_commands.run_library),
    "doctor": _doctor,
    "bench": _files(bench_commands.run_bench),
}


def _check_text(argument: str) -> None:
    """Refuses bytes that are not text: a terminal hands them over as lone surrogates, which no file could store."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError as error:
        shown = argument[:40].encode("utf-8", "replace").decode("utf-8")
        raise StudioError("“{text}” is not valid Unicode text.", "Write it in UTF-8.", text=shown) from error


def main(arguments: list[str]) -> int:
    """Does what the command line says; faults are one line each, and exit code 1."""
    options = _parser().parse_args(arguments)
    try:
        for argument in arguments:
            _check_text(argument)
        if getattr(options, "launcher", None):
            return job_commands.write(options, arguments)
        choose_attention(getattr(options, "attention_by", None))
        choose_compiled(getattr(options, "compiled", False))
        choose_saving(getattr(options, "saved_by", None))
        return COMMANDS[options.command](options)
    except StudioError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
