"""Carries the training from one machine or day to the next: what is needed to go on, in float16.

    python -m assets.build.drawings.kept pack WORK assets/build/drawings/state
    python -m assets.build.drawings.kept unpack assets/build/drawings/state WORK

Of the denoiser and text encoder only the averaged weights are kept: training goes on from them with a fresh optimiser and a
short warm-up, which costs less than twice the size would.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from assets.build.drawings.denoiser import save
from assets.build.drawings.layout import Miniature

JUDGES = ("choosing", "reporting")


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors in float16, the others as they are."""
    return {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in tensors.items()}


def pack(work: Path, folder: Path) -> None:
    """Writes the kept files of WORK into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(work / "state.pt", weights_only=True)
    save_file(halved(state["average"]), folder / "denoiser.safetensors")
    save_file(halved(load_file(work / "vae.safetensors")), folder / "vae.safetensors")
    facts = {"step": state["step"], "cpu_seconds": state["seconds"], "log": state["log"]}
    (folder / "training.json").write_text(json.dumps(facts) + "\n")
    shutil.copy(work / "basis.safetensors", folder)
    for judge in JUDGES:
        for ending in ("safetensors", "json"):
            shutil.copy(work / "judge" / f"{judge}.{ending}", folder)


def unpack(folder: Path, work: Path) -> None:
    """Puts the kept files where the build's commands go on from them."""
    (work / "judge").mkdir(parents=True, exist_ok=True)
    if (work / "state.pt").exists():
        raise SystemExit(f"{work} already holds a training")
    weights = {
        name: t.float() if t.is_floating_point() else t
        for name, t in load_file(folder / "denoiser.safetensors").items()
    }
    Miniature().load_state_dict(weights)  # fails here rather than after the first chunk is drawn
    facts = json.loads((folder / "training.json").read_text())
    state = {"model": weights, "average": weights, "step": facts["step"], "log": facts["log"]}
    save(work / "state.pt", state | {"seconds": facts["cpu_seconds"]})
    vae = {name: tensor.float() for name, tensor in load_file(folder / "vae.safetensors").items()}
    save_file(vae, work / "vae.safetensors")
    shutil.copy(folder / "basis.safetensors", work)
    for judge in JUDGES:
        for ending in ("safetensors", "json"):
            shutil.copy(folder / f"{judge}.{ending}", work / "judge")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    (pack if options.command == "pack" else unpack)(options.source, options.target)


if __name__ == "__main__":
    main()
