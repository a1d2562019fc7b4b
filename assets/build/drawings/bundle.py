"""Everything that is bundled of the drawings, made anew from trained weights by one command.

    python -m assets.build.drawings.bundle WORK

In order: the model folder and the judges, `--count` spoilt pictures in WORK/spoilt, the negative offsets, the sheet of 64
samples, and the pairs that the page opens with. `--only` names some of these steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from assets.build import opening
from assets.build.assemble import sheet
from assets.build.drawings.assemble import SHEET_SEED, model, pipeline
from assets.build.drawings.render import Drawings, render_scene
from assets.build.layout import asset
from assets.build.offsets import negative
from core.miniature.drawings.scene import caption, sample_prompts, sample_scene

BASE = "miniature-drawings"
SPOILT, SELF_NPO = "drawings-spoilt-negative", "drawings-self-npo-negative"
SEED = 4242
OMEGA = 4.0
"""Of the sheet."""


def spoilt_pictures(work: Path, count: int) -> Path:
    """Pictures that nobody wants: spoilt scenes of trained drawings, with captions that do not say so."""
    folder = work / "spoilt"
    folder.mkdir(exist_ok=True)
    if (folder / "metadata.jsonl").exists():
        return folder
    drawings, rng = Drawings.load(work / "drawings.npy"), np.random.default_rng(SEED)
    rows = []
    for number in range(count):
        scene = sample_scene(rng, pairs=0.2, spoilt=1.0)
        name = f"{number:05d}.png"
        Image.fromarray(render_scene(scene, drawings)).save(folder / name)
        rows.append({"file_name": name, "text": caption(scene, rng, keep=0.85)})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def draw_sheet(work: Path) -> None:
    """The sheet of 64 prompts, seeds 0 to 63, none left out."""
    image = sheet(pipeline(work), sample_prompts(64, SHEET_SEED, pairs=0.2), OMEGA)
    image.save(Path(__file__).with_name("sheet.webp"), quality=80, method=6)


def main() -> None:
    """Reads the command line and makes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=1600)
    parser.add_argument("--steps", type=int, default=100, help="of the offset from spoilt pictures, 16 pictures each")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)

    def spoilt() -> None:
        folder = spoilt_pictures(options.work, options.count)
        pairs = [f"images_folder={folder}", f"steps={options.steps}", "batch_size=16", "precision=bf16"]
        negative(asset("offsets") / f"{SPOILT}.safetensors", pairs, BASE, "from-pictures")

    steps: dict[str, Callable[[], None]] = {
        "model": lambda: model(options.work, asset(BASE)),
        "spoilt": spoilt,
        "self-npo": lambda: negative(asset("offsets") / f"{SELF_NPO}.safetensors", ["precision=bf16"], BASE),
        "sheet": lambda: draw_sheet(options.work),
        "opening": opening.main,
    }
    for name, make in steps.items():
        if not options.only or name in options.only:
            print(name, flush=True)
            make()


if __name__ == "__main__":
    main()
