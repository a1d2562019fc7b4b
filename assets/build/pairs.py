"""A sheet of pairs, without and with NPO, of every bundled miniature: `python -m assets.build.pairs`.

Settings and offset are those that Compare opens with; prompts are drawn, the seeds are 1, 2, 3, …; nothing is chosen.
Written to `assets/<miniature>/pairs.png`: without on the left, with on the right; of a video three of its frames.
"""

from __future__ import annotations

import json

from PIL import Image, ImageDraw

from assets.build.layout import asset
from core.families import detect, get
from core.generation.rendering import Comparison, render
from core.generation.watch import RenderedImage
from core.miniature.worlds import world_of
from core.offsets.files import load_lora
from core.studio.comparing.settings import comparison_of
from core.studio.library.choose import prompts_of

PAIRS, SIDE = 12, 128


def strip(image: RenderedImage) -> Image.Image:
    """The picture; of a video its first, middle and last frame."""
    count = len(image.frames)
    frames = image.frames if count == 1 else [image.frames[at] for at in (0, count // 2, count - 1)]
    made = Image.new("RGB", (SIDE * len(frames), SIDE))
    for place, frame in enumerate(frames):
        made.paste(frame.resize((SIDE, SIDE)), (place * SIDE, 0))
    return made


def main() -> None:
    """Draws the sheets."""
    for folder in sorted(asset("").glob("miniature-*")):
        family = get(detect(folder))
        pipe, facts = family.load(folder), json.loads((folder / "studio.json").read_text(encoding="utf-8"))
        negative = load_lora(asset("offsets") / f"{facts['negative']}.safetensors", family=family.name)
        columns = comparison_of(facts).columns
        world = world_of(folder)
        prompts = world.sample(PAIRS, 77) if world else prompts_of(folder)[-PAIRS:]
        rows = []
        for seed, prompt in enumerate(prompts, start=1):
            wanted = Comparison(prompt=prompt, seeds=(seed,), columns=columns)
            rows.append([strip(image) for image in render(pipe, family, wanted, negative=negative)])
        width, height = rows[0][0].width, SIDE + 22
        sheet = Image.new("RGB", (2 * (2 * width + 20), (PAIRS // 2) * height), "white")
        pen = ImageDraw.Draw(sheet)
        for place, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            left, top = (place % 2) * (2 * width + 20), (place // 2) * height
            for column, picture in enumerate(row):
                sheet.paste(picture, (left + column * (width + 2), top))
            pen.text((left + 2, top + SIDE + 4), prompt[: width // 3], fill="black")
        sheet.quantize(200, dither=Image.Dither.NONE).save(folder / "pairs.png", optimize=True)
        print(folder.name, sheet.size, flush=True)


if __name__ == "__main__":
    main()
