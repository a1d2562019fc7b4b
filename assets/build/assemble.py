"""Puts the trained parts together as a diffusers folder, in float16, with its prompts, log and sheet of samples.

python -m assets.build.assemble WORK/base/average-11700.safetensors WORK/vae/vae.safetensors miniature-sd15
python -m assets.build.assemble WORK/xl/average-3000.safetensors WORK/vae/vae.safetensors miniature-sdxl --layout sdxl
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from assets.build.denoiser import Miniature
from assets.build.latents import fit_basis
from assets.build.layout import asset, make_scheduler, make_vae
from core.miniature.world.scene import sample_prompts


def pipeline(denoiser: Path, vae_file: Path, layout: str, *, seed: int = 0, spoilt: float = 0.45) -> Any:
    """The trained parts as a stock pipeline, float32."""
    vae = make_vae(fit_basis(seed, spoilt=spoilt).scaling_factor)
    vae.load_state_dict(load_file(vae_file))
    if layout == "sdxl":
        from assets.build.sdxl import MiniatureXL

        model = MiniatureXL()
        model.load_state_dict(load_file(denoiser))
        return model.pipeline(vae)
    miniature = Miniature()
    miniature.load_state_dict(load_file(denoiser))
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=miniature.text_encoder,
        tokenizer=miniature.tokenizer,
        unet=miniature.unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sheet(pipe: Any, prompts: list[str], omega: float, columns: int = 8) -> Image.Image:
    """Samples at one omega, 25 steps of DPM-Solver++, seeds 0, 1, 2…; each prompt below its picture."""
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
    images = pipe(prompts, guidance_scale=omega + 1, num_inference_steps=25, generator=generators).images
    cell, text = 160, 62
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (columns * cell, rows * (cell + text)), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        left, top = index % columns * cell, index // columns * (cell + text)
        canvas.paste(image.resize((cell - 4, cell - 4), Image.Resampling.LANCZOS), (left + 2, top + 2))
        words, lines = prompt.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 24:
                lines.append("")
            lines[-1] += f"{word} "
        draw.multiline_text((left + 4, top + cell), "\n".join(lines), fill="black", spacing=1)
    return canvas


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("denoiser", type=Path)
    parser.add_argument("vae", type=Path)
    parser.add_argument("name")
    parser.add_argument("--layout", choices=("sd15", "sdxl"), default="sd15")
    parser.add_argument("--omega", type=float, default=3.0, help="of the sheet")
    parser.add_argument("--prompts", type=int, default=2000, help="in prompts.txt, which Self-NPO trains with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = asset(options.name)
    pipe = pipeline(options.denoiser, options.vae, options.layout)
    pipe.to(torch.float16).save_pretrained(folder)
    pipe.to(torch.float32)
    (folder / "prompts.txt").write_text("".join(f"{p}\n" for p in sample_prompts(options.prompts, seed=11)))
    sheet(pipe, sample_prompts(40, seed=12), options.omega).save(folder / "samples.webp", quality=82, method=6)
    for log in (options.denoiser.parent / "training.jsonl", options.vae.parent / "vae.jsonl"):
        (folder / log.name).write_text(log.read_text())


if __name__ == "__main__":
    main()
