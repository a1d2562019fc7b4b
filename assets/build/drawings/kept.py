"""Carries what is trained from one machine or day to the next, in float16.

    python -m assets.build.drawings.kept pack WORK assets/build/drawings/state
    python -m assets.build.drawings.kept unpack assets/build/drawings/state WORK

The latents' basis, the VAE and the judges trained so far are always carried; the denoiser only with `--denoiser`, since it is
large and changes as long as it is trained. Of it only the averaged weights are kept, matrices in 8 bits with a scale for each
row: training continues from them with a fresh optimiser and a short warm-up.
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


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors in float16, the others as they are."""
    return {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in tensors.items()}


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors in float32, the others as they are."""
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


SCALE = ".scale"


def coarse(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and convolutions in int8, each row (output channel) with a float32 scale of its own; the rest in float16."""
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.ndim >= 2:
            rows = tensor.float().flatten(1)
            scale = rows.abs().amax(1).clamp(min=1e-12) / 127
            packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape).contiguous()
            packed[name + SCALE] = scale
        else:
            packed |= halved({name: tensor})
    return packed


def fine(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `coarse` has packed, in float32."""
    tensors = {}
    for name, tensor in packed.items():
        if name + SCALE in packed:
            tensors[name] = (tensor.float().flatten(1) * packed[name + SCALE][:, None]).view(tensor.shape)
        elif not name.endswith(SCALE):
            tensors |= widened({name: tensor})
    return tensors


def pack(work: Path, folder: Path, *, denoiser: bool) -> None:
    """Writes the kept files of WORK into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halved(load_file(work / "vae.safetensors")), folder / "vae.safetensors")
    shutil.copy(work / "vae.jsonl", folder)
    shutil.copy(work / "basis.safetensors", folder)
    for file in sorted((work / "judge").glob("*.*")):
        shutil.copy(file, folder / f"judge-{file.name}")
    if denoiser:
        state = torch.load(work / "state.pt", weights_only=True)
        save_file(coarse(state["average"]), folder / "denoiser.safetensors")
        facts = {"step": state["step"], "cpu_seconds": state["seconds"], "log": state["log"]}
        (folder / "training.json").write_text(json.dumps(facts) + "\n")


def unpack(folder: Path, work: Path) -> None:
    """Puts the kept files where the build's commands go on from them."""
    (work / "judge").mkdir(parents=True, exist_ok=True)
    if (work / "state.pt").exists() or (work / "vae.safetensors").exists():
        raise SystemExit(f"{work} already holds a training")
    if (folder / "denoiser.safetensors").exists():
        weights = fine(load_file(folder / "denoiser.safetensors"))
        Miniature().load_state_dict(weights)  # fails here rather than after the first chunk is drawn
        facts = json.loads((folder / "training.json").read_text())
        state = {"model": weights, "average": weights, "step": facts["step"], "log": facts["log"]}
        save(work / "state.pt", state | {"seconds": facts["cpu_seconds"]})
    save_file(widened(load_file(folder / "vae.safetensors")), work / "vae.safetensors")
    shutil.copy(folder / "vae.jsonl", work)
    shutil.copy(folder / "basis.safetensors", work)
    for file in sorted(folder.glob("judge-*")):
        shutil.copy(file, work / "judge" / file.name.removeprefix("judge-"))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--denoiser", action="store_true", help="pack it too")
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.source, options.target, denoiser=options.denoiser)
    else:
        unpack(options.source, options.target)


if __name__ == "__main__":
    main()
