"""Commands about files: offsets and the library."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import StudioError

Adder = Callable[..., argparse.ArgumentParser]


def add_offset(commands: Any, common: Callable[..., None]) -> None:
    """`offset info | convert | extract | merge | workflow`."""
    offset = commands.add_parser("offset", help="about offset files").add_subparsers(dest="action", required=True)
    info = offset.add_parser("info", help="what an offset file is")
    convert = offset.add_parser("convert", help="another dialect; a pickle as safetensors")
    convert.add_argument("--to", choices=("diffusers", "kohya"), default="diffusers")
    extract = offset.add_parser("extract", help="a low-rank offset from a tuned network's whole weights")
    extract.add_argument("--rank", type=int, default=None, help="of every layer")
    extract.add_argument("--error", type=float, default=None, help="or the smallest rank whose relative error is below")
    merge = offset.add_parser("merge", help="base + scale * offset as whole weights, as Neon does")
    merge.add_argument("--scale", type=float, required=True, help="for example -0.3")
    for command in (info, convert, extract, merge):
        command.add_argument("file", help="a file, or an offset of the library")
        common(command, dry_run=command is not info)
    for command in (convert, extract, merge):
        command.add_argument("--base", default=None, help="a base of the library, or a folder")
    for command in (convert, extract, merge):
        command.add_argument("--out", default="", metavar="FILE", help="default: the workspace's offsets folder")
    workflow = offset.add_parser(
        "workflow", help="a picture's settings as a ComfyUI workflow with the offset on the negative model"
    )
    workflow.add_argument("file", help="a picture of the studio")
    workflow.add_argument("--out", default="", metavar="FILE", help="default: beside the picture")
    common(workflow, dry_run=False)


def add_library(commands: Any, common: Callable[..., None]) -> None:
    """`library list | add | remove | fetch`."""
    library = commands.add_parser("library", help="models and offsets there are").add_subparsers(
        dest="action", required=True
    )
    listed = library.add_parser("list", help="name, kind, family, size")
    listed.add_argument("--hash", action="store_true", help="sha256 too")
    add = library.add_parser("add", help="look in this folder too")
    remove = library.add_parser("remove", help="no longer look in this folder; nothing in it is touched")
    fetch = library.add_parser("fetch", help="a model of the Hugging Face Hub, safetensors alone, pinned by commit")
    fetch.add_argument("repo", metavar="OWNER/NAME")
    fetch.add_argument("--revision", default=None, help="branch, tag or commit")
    for command in (add, remove):
        command.add_argument("folder")
    for command in (listed, add, remove, fetch):
        common(command, dry_run=command is fetch)


def _text(facts: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in facts.items() if key != "captured_by_layer")


def run_offset(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `offset …` says."""
    from core.studio.library import weights
    from core.studio.library.choose import BUNDLED

    if options.action == "workflow":
        from core.studio.comparing.workflow import export_workflow

        out = Path(options.out).expanduser() if options.out else None
        facts = {"workflow": export_workflow(Path(options.file).expanduser(), out).name}
    elif options.action == "info":
        facts = weights.offset_info(workspace, options.file)
    elif options.action == "convert":
        facts = weights.convert_offset(
            workspace, options.file, to=options.to, base=options.base, out=options.out, dry_run=options.dry_run
        )
    elif options.action == "merge":
        facts = weights.merge(
            workspace,
            options.file,
            scale=options.scale,
            base=options.base or BUNDLED,
            out=options.out,
            dry_run=options.dry_run,
        )
    else:
        if (options.rank is None) == (options.error is None):
            raise StudioError("Give a rank or an error.", "For example --rank 64, or --error 0.3.")
        facts = weights.extract(
            workspace,
            options.file,
            base=options.base or BUNDLED,
            rank=options.rank,
            error=options.error,
            out=options.out,
            dry_run=options.dry_run,
            on_layer=lambda done, total: print(f"\rlayer {done}/{total} ", end="", file=sys.stderr, flush=True),
        )
        print(file=sys.stderr)
    show(facts, _text(facts))
    return 0


def run_library(options: argparse.Namespace, workspace: Any, show: Callable[[Any, str], None]) -> int:
    """Does what `library …` says."""
    from core.studio.library import entries as library
    from core.studio.library import hub

    if options.action in ("add", "remove"):
        if options.action == "add":
            library.add_folder(workspace, Path(options.folder))
        else:
            library.remove_folder(workspace, options.folder)
        names = [folder.name for folder in library.folders(workspace)]
        show(names, "\n".join(names) or "No folder is searched besides the workspace.")
        return 0
    if options.action == "fetch":
        hub.check_repo_id(options.repo)
        if options.dry_run:
            show({"would_fetch": options.repo, "revision": options.revision}, f"would fetch {options.repo}")
            return 0
        for step in hub.fetch_model(workspace, options.repo, options.revision):
            text = f"\r{step.done / 1e6:.0f} of {step.total / 1e6:.0f} MB  {step.file[:50]:50}"
            print(text, end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        assert step.folder is not None
        show({"name": step.folder.name}, f"fetched as {step.folder.name}")
        return 0
    rows = []
    for entry in library.entries(workspace, lambda fault: print(f"Left out: {fault}", file=sys.stderr)):
        row: dict[str, Any] = {
            "name": entry.name,
            "kind": entry.kind,
            "family": entry.family,
            "bytes": entry.size,
            "source": entry.source,
        }
        rows.append({**row, "sha256": library.hash_of(workspace, entry.path)} if options.hash else row)
    lines = [
        f"{row['name'][:48]:48} {row['kind']:8} {row['family'] or '?':10} {row['bytes'] / 1e6:10.1f} MB  {row['source']}"
        + (f"  {row['sha256'][:16]}" if options.hash else "")
        for row in rows
    ]
    show(rows, "\n".join(lines))
    return 0
