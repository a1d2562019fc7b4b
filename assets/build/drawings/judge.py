"""Trains one of the two judges of the drawings on renderings, and measures it on held-out ones.

    python -m assets.build.drawings.judge WORK choosing
    python -m assets.build.drawings.judge WORK reporting

WORK is the folder of `assets.build.drawings.denoiser`, with the trained VAE. A part of the pictures (`--decoded`) went
through the VAE, the rest (`--drawn`) is as drawn, which is far cheaper; everything is measured through the VAE. The two
judges have other networks, other pictures and other seeds. No held-out drawing is among the pictures. The state is
kept, so the same command goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from assets.build.drawings.denoiser import save
from assets.build.drawings.latents import PatchBasis
from assets.build.drawings.layout import make_vae
from assets.build.drawings.muon import Muon
from assets.build.drawings.render import Drawings, as_input, render
from core.evaluation.statistics import Gaussian, frechet_distance
from core.miniature.drawings.judge import READERS, SIDE
from core.miniature.drawings.scene import LANGUAGE, sample_scene
from core.miniature.drawings.words import ATTRIBUTES, FLAWS
from core.miniature.judge import Judge, Scores
from core.miniature.language import Scene

RATE = 2e-3
SEEDS = {"choosing": 101, "reporting": 202}


class World:
    """Scenes as pictures, as drawn or through the VAE."""

    def __init__(self, work: Path) -> None:
        self.drawings = Drawings.load(work / "drawings.npy")
        self.basis = PatchBasis.load(work / "basis.safetensors")
        self.vae: AutoencoderKL = make_vae(self.basis.scaling_factor).eval()
        self.vae.load_state_dict(load_file(work / "vae.safetensors"))

    @torch.no_grad()
    def pictures(self, scenes: list[Scene], *, decoded: bool) -> Tensor:
        """(scenes, 3, 96, 96) uint8."""
        parts = []
        for start in range(0, len(scenes), 50):
            images = render(scenes[start : start + 50], self.drawings)
            if decoded:
                latents = self.basis.encode(as_input(images))
                with torch.autocast("cpu", torch.bfloat16):
                    picture = self.vae.decode(latents).sample
                images = ((picture.float().clamp(-1, 1) + 1) * 127.5).round().byte()
            parts.append(images)
        return torch.cat(parts)


def labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """Class indices of every attribute and of the flaw; -100 where the scene has no second thing."""
    indices = {
        name: torch.tensor([values.index(s.attributes[name]) if name in s.attributes else -100 for s in scenes])
        for name, values in ATTRIBUTES.items()
    }
    return indices | {"flaw": torch.tensor([FLAWS.index(s.flaw) for s in scenes])}


def loss_of(reader: torch.nn.Module, images: Tensor, wanted: dict[str, Tensor]) -> Tensor:
    """The sum of the heads' cross-entropies; a head that no picture of the batch asks is left out."""
    with torch.autocast("cpu", torch.bfloat16):
        _, logits, flaw = reader(images)
    loss = F.cross_entropy(flaw.float(), wanted["flaw"], label_smoothing=0.02)
    for name, value in logits.items():
        if bool((wanted[name] >= 0).any()):
            loss = loss + F.cross_entropy(value.float(), wanted[name], label_smoothing=0.02)
    return loss


def shifted(images: Tensor, random: torch.Generator) -> Tensor:
    """A shift of some pixels changes nothing a caption says."""
    across, down = torch.randint(-3, 4, (2,), generator=random).tolist()
    return torch.roll(F.pad(images, (3,) * 4, mode="replicate"), (down, across), (2, 3))[:, :, 3:-3, 3:-3]


def measure(judge: Judge, world: World, seed: int, count: int) -> dict[str, float]:
    """What the judge reads right of pictures through the VAE that it has not seen."""

    def scored(**options) -> Scores:
        rng = np.random.default_rng([seed, len(facts)])
        scenes = [sample_scene(rng, **options) for _ in range(count)]
        pictures = as_input(world.pictures(scenes, decoded=True))
        parts = [
            judge.score(pictures[start : start + 100], [s.attributes for s in scenes[start : start + 100]])
            for start in range(0, count, 100)
        ]
        return Scores.join(parts)

    facts: dict[str, float] = {}
    clean = scored()
    facts["things_right"] = float(clean.named.mean())
    facts["accuracy"] = float(clean.accuracy.mean())
    facts["clean_called_clean"] = float((clean.cleanliness > 0.5).double().mean())
    facts[f"frechet_floor_{count}"] = frechet_distance(Gaussian.of(clean.features), judge.clean)
    held = scored(held_out=True, pairs=0.0)
    facts["held_out_pairs_things_right"] = float(held.named.mean())
    facts["held_out_pairs_accuracy"] = float(held.accuracy.mean())
    spoilt = scored(spoilt=1.0)
    facts["spoilt_called_spoilt"] = float((spoilt.cleanliness < 0.5).double().mean())
    facts["spoilt_things_right"] = float(spoilt.named.mean())
    facts[f"frechet_of_spoilt_{count}"] = frechet_distance(Gaussian.of(spoilt.features), judge.clean)
    return {name: round(value, 4) for name, value in facts.items()}


def main() -> None:
    """Reads the command line, trains, measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("name", choices=tuple(READERS))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--decoded", type=int, default=6000)
    parser.add_argument("--drawn", type=int, default=14_000)
    parser.add_argument("--references", type=int, default=2000, help="clean pictures behind the Fréchet distance")
    parser.add_argument("--held-out", type=int, default=1000, help="pictures it is measured on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed, out = SEEDS[options.name], options.work / "judge"
    out.mkdir(exist_ok=True)
    world = World(options.work)
    rng = np.random.default_rng([seed, 0])
    count = options.decoded + options.drawn
    scenes = [sample_scene(rng, pairs=0.35, spoilt=0.4) for _ in range(count)]
    decoded = world.pictures(scenes[: options.decoded], decoded=True)
    images = torch.cat([decoded, world.pictures(scenes[options.decoded :], decoded=False)])
    wanted = labels(scenes)
    torch.manual_seed(seed)
    reader = READERS[options.name]()
    optimizer = Muon.of(reader, RATE)
    step, seen, state_file = 0, 0.0, options.work / f"judge-{options.name}.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        reader.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seen = state["step"], state["seconds"]
    random = torch.Generator().manual_seed(seed * 100_003 + step)
    saved, started, running = time.monotonic(), time.process_time(), 0.0
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50, (options.steps - step) / (0.5 * options.steps))
        chosen = torch.randint(0, count, (options.batch,), generator=random)
        batch = shifted(as_input(images[chosen]), random)
        loss = loss_of(reader, batch, {name: value[chosen] for name, value in wanted.items()})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        step += 1
        running += float(loss.detach()) / 100
        seconds = round(seen + time.process_time() - started, 1)
        if step % 100 == 0:
            print(json.dumps({"step": step, "loss": round(running, 4), "cpu_seconds": seconds}), flush=True)
            running = 0.0
        if time.monotonic() - saved > 240 or step == options.steps:
            saved = time.monotonic()
            state = {"model": reader.state_dict(), "optimizer": optimizer.state_dict()}
            save(state_file, state | {"step": step, "seconds": seconds})

    judge = Judge(reader, LANGUAGE, SIDE, Gaussian(torch.zeros(1), torch.zeros(1, 1)), {})
    clean_rng = np.random.default_rng([seed, 6])
    references = world.pictures([sample_scene(clean_rng) for _ in range(options.references)], decoded=True)
    features = [judge.score(as_input(part), [{}] * len(part)).features for part in references.split(100)]
    judge.clean = Gaussian.of(torch.cat(features))
    facts = measure(judge, world, seed + 8, options.held_out)
    facts |= {"references": len(references), "pictures": count, "decoded": options.decoded, "steps": options.steps}
    tensors = {name: tensor.half().contiguous() for name, tensor in reader.state_dict().items()}
    tensors |= {"clean_mean": judge.clean.mean.float(), "clean_covariance": judge.clean.covariance.float().contiguous()}
    save_file(tensors, out / f"{options.name}.safetensors")
    (out / f"{options.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
