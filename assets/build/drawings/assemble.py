"""Puts the trained parts of the drawings together, and shows and measures what they draw.

    python -m assets.build.drawings.assemble measure WORK --judge choosing --omega 2 4 6 8 --prompts 192
    python -m assets.build.drawings.assemble measure WORK --judge reporting --omega 6 --prompts 1000 --first 5000
    python -m assets.build.drawings.assemble sheet WORK sheet.png --omega 6
    python -m assets.build.drawings.assemble model WORK miniature-drawings

`measure` samples prompts and lets a judge read them: tune with the choosing one, report with the other, on other
prompts (`--first`), once more with `--held-out`. `sheet` draws 64 prompts, seeds 0 to 63, none left out. `model` writes
the diffusers folder in float16 with its prompts and logs, and copies the judges that WORK has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file

from assets.build.assemble import sheet
from assets.build.drawings.latents import PatchBasis
from assets.build.drawings.layout import Miniature, make_vae
from assets.build.layout import asset, make_scheduler
from core.evaluation.statistics import Gaussian, frechet_distance
from core.miniature.drawings.judge import READERS, SIDE
from core.miniature.drawings.scene import LANGUAGE, parse, sample_prompts
from core.miniature.judge import Judge, Scores
from core.miniature.worlds import DRAWINGS

PROMPT_SEED = 777
SHEET_SEED = 12


def pipeline(work: Path) -> Any:
    """The averaged weights in WORK as a stock pipeline, float32."""
    basis = PatchBasis.load(work / "basis.safetensors")
    vae = make_vae(basis.scaling_factor)
    vae.load_state_dict(load_file(work / "vae.safetensors"))
    miniature = Miniature()
    miniature.load_state_dict(torch.load(work / "state.pt", weights_only=True)["average"])
    pipe = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=miniature.text_encoder.eval(),
        tokenizer=miniature.tokenizer,
        unet=miniature.unet.eval(),
        # from the noisiest level: at a lower one pure noise reads as a wrong ground, and the prompt is then ignored
        scheduler=make_scheduler("trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def measure(options: argparse.Namespace) -> None:
    """Samples the prompts at each omega and prints what the judge reads."""
    pipe = pipeline(options.work)
    judge = Judge.load(options.work / "judge" / options.judge, READERS[options.judge], LANGUAGE, SIDE)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    count = options.first + options.prompts
    prompts = sample_prompts(count, PROMPT_SEED, pairs=options.pairs, held_out=options.held_out)[options.first :]
    for omega in options.omega:
        started, scores = time.process_time(), []
        for start in range(0, len(prompts), 32):
            texts = prompts[start : start + 32]
            seeds = [1_000_000 + options.first + start + index for index in range(len(texts))]
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            with torch.autocast("cpu", torch.bfloat16):
                images = pipe(
                    texts, guidance_scale=omega + 1, num_inference_steps=25, generator=generators, output_type="np"
                ).images
            pixels = torch.from_numpy(np.asarray(images, np.float32)).permute(0, 3, 1, 2) * 2 - 1
            scores.append(judge.score(pixels, [parse(text) for text in texts]))
        whole = vars(Scores.join(scores))
        features = whole.pop("features")
        row: dict[str, Any] = {"omega": omega, "n": len(prompts), "judge": options.judge, "held_out": options.held_out}
        row |= {name: round(float(value.double().mean()), 4) for name, value in whole.items()}
        row["FD"] = round(frechet_distance(Gaussian.of(features), judge.clean), 2)
        row["cpu_seconds"] = round(time.process_time() - started)
        print(json.dumps(row), flush=True)


def model(work: Path, folder: Path) -> None:
    """Writes the folder of the bundled model, and the judges beside it."""
    pipeline(work).to(torch.float16).save_pretrained(folder)
    (folder / "world.json").write_text('{"world": "drawings"}\n')
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in sample_prompts(2000, 11)))
    state = torch.load(work / "state.pt", weights_only=True)
    log = [*state["log"], {"step": state["step"], "cpu_seconds": state["seconds"]}]
    (folder / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    shutil.copy(work / "vae.jsonl", folder)
    for purpose, name in DRAWINGS.judges.items():
        for ending in ("safetensors", "json"):
            shutil.copyfile(work / "judge" / f"{purpose}.{ending}", asset("judge") / f"{name}.{ending}")
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)  # weights are saved for their owner alone


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    reading = commands.add_parser("measure")
    drawing = commands.add_parser("sheet")
    writing = commands.add_parser("model")
    for command in (reading, drawing, writing):
        command.add_argument("work", type=Path)
    reading.add_argument("--judge", choices=("choosing", "reporting"), required=True)
    reading.add_argument("--omega", type=float, nargs="+", default=[2.0, 4.0, 6.0, 8.0])
    reading.add_argument("--prompts", type=int, default=192)
    reading.add_argument("--first", type=int, default=0, help="skip so many prompts: report on others than chosen by")
    reading.add_argument("--pairs", type=float, default=0.2, help="share of prompts with two things")
    reading.add_argument("--held-out", action="store_true", help="things in styles that were never trained together")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("--omega", type=float, default=6.0)
    drawing.add_argument("--held-out", action="store_true")
    writing.add_argument("name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "measure":
        measure(options)
    elif options.command == "sheet":
        prompts = sample_prompts(64, SHEET_SEED, pairs=0.2, held_out=options.held_out)
        sheet(pipeline(options.work), prompts, options.omega).save(options.out, optimize=True)
    else:
        model(options.work, asset(options.name))


if __name__ == "__main__":
    main()
