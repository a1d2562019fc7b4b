"""Measures guidance settings on many prompts the judge has not seen: same prompts, same seeds, paired intervals.

    python -m assets.build.evaluate sample OUT SETTINGS.json --prompts 1000 --first 5000 --processes 2
    python -m assets.build.evaluate report OUT --against "CFG 3"

SETTINGS.json is a list of {"name", "omega", "alpha", "beta", "split", "late", "negative", "positive", "base", "alone"}:
`negative` and `positive` are offset files, or "random:FILE" for a control of the same norm, or several files with "+"
for their mean; `guide` is a folder with another denoiser and its text encoder (`assets.build.offsets early`), the negative network (autoguidance: `prompted` says
whether it receives the prompt); `alone` samples the base
with the negative offset in its weights, without guidance. What is sampled is kept, so settings can be added later.
"""

from __future__ import annotations

import argparse
import json
import zlib
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import Tensor

from assets.build.layout import asset
from core.evaluation.statistics import Gaussian, frechet_difference, frechet_distance, mean_difference, win_rate
from core.families import detect, get
from core.families.base import Conditioning, join
from core.generation.rendering import start_latents
from core.method.guidance import BetaSchedule, GuidanceWeights, guide
from core.miniature.judge import Scores
from core.miniature.worlds import World, world_of
from core.offsets.files import load_lora
from core.offsets.offset import Offset
from core.offsets.row_gate import row_gate

BATCH = 32


def load_offset(text: str | None) -> Any:
    """An offset as SETTINGS.json names it."""
    if not text:
        return None
    if text.startswith("random:"):
        return load_lora(Path(text.removeprefix("random:"))).random_like(seed=17)
    parts = [load_lora(Path(part)) for part in text.split("+")]
    return Offset.combine([(part, 1 / len(parts)) for part in parts])


class Sampler:
    """Samples one setting for a batch of prompts, each with a seed of its own: networks in bfloat16, the rest float32."""

    def __init__(self, base: Path, steps: int) -> None:
        self.family = get(detect(base))
        self.base = base
        self.pipe = self.family.load(base)
        self.pipe.unet.to(torch.bfloat16)
        self.steps = steps
        self.guides: dict[str, Any] = {}

    def guide(self, folder: str) -> Any:
        """Another denoiser with its own text encoder, in a pipeline with the base's other parts."""
        if folder not in self.guides:
            other = self.family.load(self.base)
            other.unet.load_state_dict({k: v.float() for k, v in load_file(f"{folder}/unet.safetensors").items()})
            text = load_file(f"{folder}/text_encoder.safetensors")
            other.text_encoder.load_state_dict({k: v.float() for k, v in text.items()})
            other.unet.to(torch.bfloat16)
            self.guides[folder] = other
        return self.guides[folder]

    @torch.no_grad()
    def sample(self, prompts: list[str], seeds: list[int], setting: dict[str, Any], offsets: dict[str, Any]) -> Tensor:
        """Pictures (prompts, 3, side, side) in [-1, 1]."""
        weights = GuidanceWeights(
            omega=setting.get("omega", 0.0),
            alpha=setting.get("alpha", 1.0),
            beta=setting.get("beta", 0.0),
            beta_schedule=BetaSchedule(split=setting.get("split", 0.0), late=setting.get("late", 1.0)),
        )
        family, pipe = self.family, self.pipe
        size = family.defaults(pipe).size
        cond = family.encode_prompt(pipe, prompts, size)
        empty = family.encode_prompt(pipe, [""] * len(prompts), size, negative=True)
        x = start_latents(seeds, family.latent_shape(pipe, size))
        scheduler = family.make_scheduler("dpmsolver++", pipe.scheduler.config)
        scheduler.set_timesteps(self.steps)

        def predict(network: Any, x: Tensor, t: Tensor, texts: Conditioning) -> Tensor:
            half = {name: tensor.bfloat16() for name, tensor in texts.items()}
            return family.predict(network, x.bfloat16(), t.expand(len(x)), half).float()

        if setting.get("alone"):
            with offsets["negative"].apply(pipe.unet):
                for t in scheduler.timesteps:
                    x = scheduler.step(predict(pipe.unet, x, t, cond), t, x).prev_sample
        elif setting.get("guide"):
            other = self.guide(setting["guide"])
            texts = family.encode_prompt(other, prompts if setting.get("prompted") else [""] * len(prompts))
            for t in scheduler.timesteps:
                low, high = predict(other.unet, x, t, texts), predict(pipe.unet, x, t, cond)
                x = scheduler.step(guide(high, low, weights.omega), t, x).prev_sample
        else:
            with row_gate(pipe.unet, offsets["positive"], offsets["negative"]) as gate:
                gate.set_columns([weights], len(prompts))
                both = join(empty, cond)
                for t in scheduler.timesteps:
                    if weights.omega:
                        low, high = predict(pipe.unet, torch.cat([x, x]), t, both).chunk(2)
                    else:
                        low = high = predict(pipe.unet, x, t, cond)
                    x = scheduler.step(guide(high, low, weights.omega), t, x).prev_sample
        with torch.autocast("cpu", torch.bfloat16):
            return family.decode_latents(pipe, x).float().clamp(-1, 1)


def judged(base: Path) -> World:
    """The world that a base draws."""
    world = world_of(base)
    if world is None:
        raise SystemExit(f"{base.name} draws none of the worlds")
    return world


def sample_part(rank: int, options: argparse.Namespace) -> None:
    """Samples every setting on this process's share of the prompts."""
    torch.set_num_threads(1)
    world = judged(options.base)
    prompts = world.sample(options.first + options.prompts, options.seed, pairs=options.pairs)[options.first :]
    mine = range(rank, len(prompts), options.processes)
    sampler, judge = Sampler(options.base, options.steps), world.judge(asset(""), options.judge)
    for setting in json.loads(options.settings.read_text()):
        key = f"{zlib.crc32(json.dumps(setting, sort_keys=True).encode()):08x}"
        file = options.out / f"{key}-{options.judge}-{options.first}-{options.prompts}-{rank}.pt"
        if file.exists():
            continue
        offsets = {kind: load_offset(setting.get(kind)) for kind in ("positive", "negative")}
        parts = []
        for start in range(0, len(mine), BATCH):
            rows = mine[start : start + BATCH]
            texts = [prompts[row] for row in rows]
            images = sampler.sample(texts, [1_000_000 + options.first + row for row in rows], setting, offsets)
            parts.append(judge.score(images, [world.parse(text) for text in texts]))
        scores = Scores.join(parts)
        torch.save({"setting": setting, "rows": list(mine), "scores": vars(scores)}, file)
        if rank == 0:
            means = {
                name: round(float(getattr(scores, name).mean()), 4)
                for name in ("named", "accuracy", "cleanliness", "preference")
            }
            print(json.dumps({"name": setting["name"], **means}), flush=True)


def gather(out: Path, purpose: str) -> dict[str, Scores]:
    """One judge's scores of each setting by name, in the order of the prompts."""
    results: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(out.glob(f"*-{purpose}-*.pt")):
        data = torch.load(file, weights_only=True)
        results.setdefault(data["setting"]["name"], []).append(data)
    gathered = {}
    for name, parts in results.items():
        order = torch.tensor([row for part in parts for row in part["rows"]]).argsort()
        joined = Scores.join([Scores(**part["scores"]) for part in parts])
        gathered[name] = Scores(**{key: value[order] for key, value in vars(joined).items()})
    return gathered


def report(options: argparse.Namespace) -> None:
    """A table of every setting, with paired intervals against one of them."""
    judge, scores = judged(options.base).judge(asset(""), options.judge), gather(options.out, options.judge)
    before = scores[options.against]
    rows = []
    for name, now in scores.items():
        if options.only and name not in options.only:
            continue
        row = {
            "name": name,
            "n": len(now.accuracy),
            "named": round(float(now.named.mean()), 4),
            "accuracy": round(float(now.accuracy.mean()), 4),
            "whole": round(float(now.whole.mean()), 4),
            "clean": round(float(now.cleanliness.mean()), 4),
            "preference": round(float(now.preference.mean()), 4),
            "FD": round(frechet_distance(Gaussian.of(now.features), judge.clean), 2),
        }
        if name != options.against:
            # both lists begin with the same prompts; the shorter one says how many are paired
            count = min(len(now.accuracy), len(before.accuracy))
            after, base = now.first(count), before.first(count)
            row["dFD"] = str(frechet_difference(after.features, base.features, judge.clean, draws=options.draws))
            row["d_named"] = str(mean_difference(after.named, base.named))
            row["d_accuracy"] = str(mean_difference(after.accuracy, base.accuracy))
            row["d_clean"] = str(mean_difference(after.cleanliness, base.cleanliness))
            row["d_preference"] = str(mean_difference(after.preference, base.preference))
            row["win_rate"] = str(win_rate(after.preference, base.preference))
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    (options.out / "report.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sample = commands.add_parser("sample")
    sample.add_argument("out", type=Path)
    sample.add_argument("settings", type=Path)
    sample.add_argument("--prompts", type=int, default=1000)
    sample.add_argument("--first", type=int, default=0, help="skip so many prompts: choose on others than reported")
    sample.add_argument("--pairs", type=float, default=0.25, help="share of prompts with two objects")
    sample.add_argument("--steps", type=int, default=25)
    sample.add_argument("--seed", type=int, default=2026)
    sample.add_argument("--processes", type=int, default=2)
    report_command = commands.add_parser("report")
    report_command.add_argument("out", type=Path)
    report_command.add_argument("--against", required=True)
    report_command.add_argument("--only", nargs="*", help="these settings alone")
    report_command.add_argument("--draws", type=int, default=200)
    for command in (sample, report_command):
        command.add_argument("--base", type=Path, default=asset("miniature-sd15"))
        command.add_argument("--judge", default="choosing", help="what the judge is for: choosing or reporting")
    options = parser.parse_args()
    if options.command == "report":
        report(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        sample_part(0, options)
    else:
        mp.spawn(sample_part, (options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
