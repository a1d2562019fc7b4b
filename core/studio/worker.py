"""The detached training process: `python -m core.studio.worker RUN_FOLDER`. It alone writes the run's journal.

SIGTERM and SIGINT ask it to pause: it saves a checkpoint within one step and ends with 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from core.errors import StudioError
from core.events import RunFailed
from core.studio.bases import find_base, prompts_of
from core.studio.journal import Journal
from core.studio.runs import Run
from core.studio.workspace import Workspace


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
    main_process = os.environ.get("RANK", "0") == "0"
    journal = Journal(run.folder) if main_process else None
    step = 0
    try:
        import torch

        from core.families import get
        from core.generation.compare import Comparison, render
        from core.method.guidance import GuidanceWeights
        from core.training.loop import train

        config = run.config
        base = find_base(Workspace(run.folder.parent.parent), config.base)
        family = get(config.family)
        half = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]
        pipe = family.load(base, dtype=torch.float32 if config.weights == "full" else half)
        prompts = prompts_of(base, config.prompts_file)
        preview_prompts = config.preview_prompts or tuple(prompts[:4])

        def preview(low_rank, kind):
            pictures = []
            for index, prompt in enumerate(preview_prompts):
                beta = config.preview_beta if kind == "guided" else 0.0
                comparison = Comparison(
                    prompt=prompt,
                    seeds=(config.preview_seed + index,),
                    columns=(GuidanceWeights(omega=config.preview_omega, beta=beta),),
                    height=config.height or None,
                    width=config.width or None,
                )
                pictures += [image.image for image in render(pipe, family, comparison, negative=low_rank)]
            return pictures

        def stop() -> str | None:
            if signalled:
                return "pause"
            try:
                return (run.folder / "wish").read_text(encoding="utf-8").strip() or None
            except OSError:
                return None

        for event in train(
            config,
            run.folder,
            pipe,
            family,
            prompts,
            stop=stop,
            preview=preview if preview_prompts else None,
            cpu=options.cpu,
        ):
            step = event.step
            if journal:
                journal.append(event)
    except StudioError as error:
        if journal:
            journal.append(RunFailed(step=step, message=error.message, remedy=error.remedy))
        return 1
    except Exception as error:
        traceback.print_exc()  # into the run's log
        memory = "out of memory" in str(error).lower() or isinstance(error, MemoryError)
        if journal:
            journal.append(
                RunFailed(
                    step=step,
                    message="The machine ran out of memory." if memory else f"Training failed: {type(error).__name__}.",
                    remedy="Lower batch_size, or turn gradient_checkpointing on, and start a new run."
                    if memory
                    else "See log.txt in the run's folder.",
                )
            )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
