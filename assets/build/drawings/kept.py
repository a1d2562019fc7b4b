"""Takes the training of the drawings up again from what is bundled.

    python -m assets.build.drawings.kept WORK

The averaged weights of the bundled model (float16), the latents' basis and the judges are put where the build's commands go on
from them: `denoiser WORK` continues with a fresh optimiser and a short warm-up.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from assets.build.drawings.denoiser import save
from assets.build.drawings.layout import Miniature
from assets.build.layout import asset
from core.miniature.worlds import DRAWINGS

BASIS = Path(__file__).with_name("basis.safetensors")


def unpack(model: Path, work: Path) -> None:
    """Puts a model folder, the basis and the judges where the build's commands go on from them."""
    if (work / "state.pt").exists() or (work / "vae.safetensors").exists():
        raise SystemExit(f"{work} already holds a training")
    (work / "judge").mkdir(parents=True, exist_ok=True)
    parts = {
        "text_encoder": CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32),
        "unet": UNet2DConditionModel.from_pretrained(model / "unet"),
    }
    weights = {f"{name}.{key}": t for name, part in parts.items() for key, t in part.state_dict().items()}
    Miniature().load_state_dict(weights)  # fails here rather than after the first chunk is drawn
    log = [json.loads(line) for line in (model / "training.jsonl").read_text().splitlines()]
    state = {"model": weights, "average": weights, "log": log, "step": log[-1]["step"]}
    save(work / "state.pt", state | {"seconds": log[-1]["cpu_seconds"]})
    vae = AutoencoderKL.from_pretrained(model / "vae").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in vae.items()}, work / "vae.safetensors")
    shutil.copy(model / "vae.jsonl", work)
    shutil.copy(BASIS, work)
    for purpose, name in DRAWINGS.judges.items():
        for ending in ("safetensors", "json"):
            shutil.copy(asset("judge") / f"{name}.{ending}", work / "judge" / f"{purpose}.{ending}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    unpack(asset("miniature-drawings"), parser.parse_args().work)


if __name__ == "__main__":
    main()
