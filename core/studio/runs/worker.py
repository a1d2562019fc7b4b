"""The detached training process: `python -m core.studio.runs.worker RUN_FOLDER`. It alone writes the run's journal.

SIGTERM and SIGINT ask it to pause: it saves a checkpoint within one step and ends with 0. A second one on the same
folder ends at once with 1 and changes nothing.
"""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil

from core.errors import StudioError
from core.events import RunPaused, RunStopped, TrainEvent, to_json
from core.studio.library.choose import family_of_base, find_base, prompts_of
from core.studio.locks import holding
from core.studio.runs.journal import Journal
from core.studio.runs.run import LOCK, QUEUED, ROOT, Run
from core.studio.workspace import ASSETS, Workspace
from core.training.faults import events_of_fault

if TYPE_CHECKING:
    from PIL import Image

    from core.families.base import FamilySpec
    from core.offsets.offset import Offset
    from core.training.config import TrainConfig
    from core.training.previews import Preview
    from core.training.ranking import Score


def _stand_back(by: int = 5) -> None:
    """Lets the page go first on the CPU; Linux weighs whole sessions against each other, so the session is told too."""
    with suppress(AttributeError, OSError):  # not on Windows
        os.nice(by)
        Path("/proc/self/autogroup").write_text(str(by))


def main(arguments: list[str] | None = None) -> int:
    """Trains the run of the folder to its end, its pause or its failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args(arguments)
    run = Run(options.folder.resolve())
    signalled: list[int] = []

    def asked(number: int, frame: FrameType | None) -> None:
        signalled.append(number)

    # before the slow imports: a signal that comes during them is not lost
    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    if not run.folder.is_dir():
        print(f"There is no run folder “{run.id}”.", file=sys.stderr)
        return 1
    if os.environ.get("RANK", "0") != "0":
        return _train(run, options.cpu, signalled, None)
    with holding(run.folder / LOCK) as mine:
        if not mine:
            print(f"Another process trains {run.id} already.", file=sys.stderr)
            return 1
        if run.process() is None:
            run.record(psutil.Process())  # started by hand
        journal = Journal(run.folder)
        try:
            return _train(run, options.cpu, signalled, journal)
        finally:
            journal.close()
            atexit.register(_next_in_queue, run)


def _next_in_queue(run: Run) -> None:
    """This process still lives and counts as running, so the next one is started by a process of its own."""
    code = "import sys, time; from core.studio.runs.run import start_next; from core.studio.workspace import ASSETS, Workspace\n"
    code += "for _ in range(40):\n    time.sleep(0.25)\n    if start_next(Workspace(sys.argv[1])): break\n"
    if any(run.folder.parent.glob(f"*/{QUEUED}")):
        command = [sys.executable, "-c", code, str(run.folder.parent.parent)]
        subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL)


def _train(run: Run, cpu: bool, signalled: list[int], journal: Journal | None) -> int:
    """Trains, with a journal on the main process alone."""
    step = 0

    def stop() -> str | None:
        if signalled:
            return "pause"
        try:
            return (run.folder / "wish").read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def end(*events: TrainEvent) -> int:
        for event in events:
            try:
                if journal:
                    journal.append(event)
            except OSError as error:  # the disk that is full holds the journal too
                print(f"{to_json(event)} could not be written: {error}", file=sys.stderr)
        return 0 if isinstance(events[-1], RunPaused) else 1

    try:
        import torch

        from core.families import get
        from core.families.full_size import decode_in_tiles
        from core.studio.library.load import load_base
        from core.studio.memory import architecture
        from core.training.loop import train

        config = run.config
        base = find_base(Workspace(run.folder.parent.parent), config.base)
        family = get(family_of_base(base))
        half = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]
        pipe = load_base(base, dtype=torch.float32 if config.weights == "full" else half)
        if architecture(base):
            decode_in_tiles(pipe.vae)  # previews must not need more than the steps
        prompts = prompts_of(base, config.prompts_file)
        shown = config.preview_prompts or tuple(prompts[:4])
        preview = preview_of(pipe, family, config, shown, stop) if shown else None
        score = score_of(config.scorer) if config.method == "ranking" else None
        for event in train(config, run.folder, pipe, family, prompts, stop=stop, preview=preview, score=score, cpu=cpu):
            step = event.step
            if journal:
                journal.append(event)
                if isinstance(event, RunPaused | RunStopped):
                    (run.folder / "wish").unlink(missing_ok=True)  # followed: the same command goes on
    except Exception as error:
        if not isinstance(error, StudioError):
            traceback.print_exc()  # into the run's log
        return end(*events_of_fault(error, step))
    return 0


def score_of(name: str) -> Score:
    """A scorer by its name, for training by ranking: the bundled judges.

    Raises:
        StudioError: there is none of that name.
    """
    from core.miniature.judge import Judge
    from core.miniature.scorer_cards import CARDS
    from core.miniature.scorers import JudgeScorer

    if name not in CARDS:
        raise StudioError(
            "There is no scorer “{name}” that training can use.",
            "Choose {names}.",
            name=name[:40],
            names=", ".join(CARDS),
        )
    return JudgeScorer(Judge.load(ASSETS / "judge"), name.removeprefix("judge-")).score


def preview_of(
    pipe: Any, family: FamilySpec, config: TrainConfig, prompts: Sequence[str], stop: Callable[[], str | None]
) -> Preview:
    """How previews are drawn: each prompt at a seed of its own, through the stock pipeline and the row gate.

    Cost: 50 row-forwards a picture.
    """
    from core.families.base import Size
    from core.generation.compare import Cancelled, Comparison, Watch, encode, render
    from core.method.guidance import GuidanceWeights

    standard = family.defaults(pipe).size
    size = Size(config.height or standard.height, config.width or standard.width, config.frames or standard.frames)
    # encoded now: a large text encoder is freed when training begins
    texts = {prompt: encode(pipe, family, prompt, "", size) for prompt in prompts}
    watch = Watch(cancelled=lambda: stop() is not None)

    def preview(low_rank: Offset, kind: str) -> list[Image.Image] | None:
        device = next(family.denoiser(pipe).parameters()).device
        beta = config.preview_beta if kind == "guided" else 0.0
        pictures = []
        for index, prompt in enumerate(prompts):
            comparison = Comparison(
                prompt=prompt,
                seeds=(config.preview_seed + index,),
                columns=(GuidanceWeights(omega=config.preview_omega, beta=beta),),
                height=config.height,
                width=config.width,
                frames=config.frames,
            )
            try:
                encoded = texts[prompt].to(device)
                images = render(pipe, family, comparison, negative=low_rank, texts=encoded, watch=watch)
            except Cancelled:
                return None
            pictures += [image.image for image in images]
        return pictures

    return preview


if __name__ == "__main__":
    _stand_back()
    sys.exit(main())
