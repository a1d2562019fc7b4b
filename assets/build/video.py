"""The moving miniature, in the layout of CogVideoX: its latents, networks, VAE, judge, and putting it together.

    python -m assets.build.video vae WORK --steps 1500
    python -m assets.build.denoiser WORK --layout cogvideox --steps 4000 --processes 2
    python -m assets.build.video judge WORK
    python -m assets.build.video assemble WORK/average-4000.safetensors WORK

Latents are defined as for the pictures: leading principal components, partly whitened, of 4 x 4 patches of the first
frame and of 4 x 4 x 4 blocks of each four frames after it, which is how the causal VAE sees time.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from assets.build.latents import WHITENING
from assets.build.layout import asset
from core.families import get
from core.generation.rendering import Comparison, render
from core.method.guidance import GuidanceWeights
from core.miniature.video_judge import VideoJudge, VideoReader
from core.miniature.world.video import (
    ATTRIBUTES,
    FLAWS,
    FRAMES,
    SIDE,
    VideoScene,
    parse,
    render_video,
    sample_prompts,
    sample_video,
    vocabulary,
)
from core.offsets.files import load_lora

CHANNELS, TOKENS, TEXT_WIDTH, SPOILT = 12, 14, 96, 0.35


@dataclass(frozen=True)
class BlockBasis:
    """Means and bases of first-frame patches (48 numbers) and of four-frame blocks (192), and the scale to unit variance."""

    means: tuple[Tensor, Tensor]
    bases: tuple[Tensor, Tensor]
    scaling_factor: float

    def encode(self, videos: Tensor) -> Tensor:
        """Raw latents (batch, CHANNELS, 3, 12, 12) of videos (batch, frames, 3, side, side) in [-1, 1]."""
        parts = [
            (blocks(videos, first) - m) @ b for first, m, b in zip((True, False), self.means, self.bases, strict=True)
        ]
        grid = SIDE // 4
        first = parts[0].reshape(len(videos), 1, grid, grid, CHANNELS)
        rest = parts[1].reshape(len(videos), FRAMES // 4, grid, grid, CHANNELS)
        return torch.cat([first, rest], 1).permute(0, 4, 1, 2, 3)


def blocks(videos: Tensor, first: bool) -> Tensor:
    """Patches of the first frame (batch, 144, 48), or blocks of the others (batch, groups, 144, 192)."""
    if first:
        return F.unfold(videos[:, 0], 4, stride=4).transpose(1, 2)
    groups = videos[:, 1:].reshape(len(videos), -1, 12, SIDE, SIDE)  # four frames stacked as channels
    return F.unfold(groups.flatten(0, 1), 4, stride=4).transpose(1, 2).unflatten(0, groups.shape[:2])


def fit_basis(seed: int = 0) -> BlockBasis:
    """The basis of the unfiltered moving world; the same seed gives the same basis."""
    rng = np.random.default_rng(seed)
    videos = torch.cat([render_video([sample_video(rng, spoilt=SPOILT) for _ in range(64)]) for _ in range(8)]) * 2 - 1
    means, bases, spreads = [], [], []
    for first in (True, False):
        data = blocks(videos, first).flatten(0, -2).double()
        mean = data.mean(0)
        power, vectors = torch.linalg.eigh((data - mean).T @ (data - mean) / len(data))
        power, vectors = power.flip(0)[:CHANNELS], vectors.flip(1)[:, :CHANNELS]
        vectors = vectors * torch.where(vectors.sum(0) < 0, -1.0, 1.0)
        means.append(mean.float())
        bases.append((vectors / power.sqrt() ** WHITENING).float())
        spreads.append(float((power ** (1 - WHITENING)).mean()))
    return BlockBasis((means[0], means[1]), (bases[0], bases[1]), 1 / math.sqrt(sum(spreads) / 2))


def make_tokenizer() -> T5Tokenizer:
    """T5's unigram tokenizer with every word of the moving world as one piece; others fall into letters."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(f"▁{word}", -2.0) for word in vocabulary() if word != ","] + [("▁", -4.0)]
    vocab += [(chr(code), -4.0 if chr(code) == "," else -8.0) for code in range(33, 127)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TOKENS)


def make_text_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A T5 encoder of two layers, untrained."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=24,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
        )
    )


def make_transformer() -> CogVideoXTransformer3DModel:
    """Six blocks over 3 x 6 x 6 patches of latents, untrained."""
    return CogVideoXTransformer3DModel(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        time_embed_dim=96,
        text_embed_dim=TEXT_WIDTH,
        num_layers=6,
        sample_width=SIDE // 4,
        sample_height=SIDE // 4,
        sample_frames=FRAMES,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=TOKENS,
        spatial_interpolation_scale=1.0,
    )


def make_vae(scaling_factor: float) -> AutoencoderKLCogVideoX:
    """Three levels, 9 frames of 48 px to 3 x 12 x 12 latents, untrained."""
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(16, 24, 32),
        latent_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        temporal_compression_ratio=4,
        sample_height=SIDE,
        sample_width=SIDE,
        scaling_factor=scaling_factor,
    )


def make_scheduler() -> CogVideoXDDIMScheduler:
    """The noise schedule of CogVideoX: v-prediction, zero terminal SNR, trailing steps."""
    return CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


class MiniatureVideo(nn.Module):
    """Transformer and text encoder as one module, so that they are trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(self.tokenizer)
        self.transformer = make_transformer()

    def forward(self, x_t: Tensor, t: Tensor, captions: list[str]) -> Tensor:
        tokens = self.tokenizer(
            captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        hidden = self.text_encoder(tokens).last_hidden_state  # no mask, as the pipeline has it
        return self.transformer(x_t, hidden, t).sample


def draw_videos(count: int, seed: int, basis: BlockBasis) -> tuple[list[VideoScene], Tensor]:
    """`count` videos and their scaled latents (count, frames, CHANNELS, height, width) in float16."""
    rng = np.random.default_rng(seed)
    scenes: list[VideoScene] = []
    latents = []
    for _ in range(0, count, 64):
        batch = [sample_video(rng, spoilt=SPOILT) for _ in range(64)]
        scenes += batch
        latents.append((basis.encode(render_video(batch) * 2 - 1) * basis.scaling_factor).transpose(1, 2).half())
    return scenes, torch.cat(latents)


def train_vae(work: Path, steps: int, batch: int, seed: int = 0) -> None:
    """The encoder is a regression onto the defined latents, the decoder learns the way back."""
    work.mkdir(parents=True, exist_ok=True)
    basis = fit_basis()
    rng = np.random.default_rng(seed + 77)
    videos = torch.cat([render_video([sample_video(rng, spoilt=SPOILT) for _ in range(64)]) for _ in range(24)])
    torch.manual_seed(seed)
    vae = make_vae(basis.scaling_factor)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    started, log, sums = time.monotonic(), [], [0.0, 0.0]
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, step / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        clip = videos[torch.randint(0, len(videos), (batch,))] * 2 - 1
        target = basis.encode(clip)
        noisy = target + 0.02 / basis.scaling_factor * torch.randn_like(target)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.encode(clip.transpose(1, 2)).latent_dist
            picture = vae.decode(noisy).sample
        encoder = (moments.mean.float() - target).square().mean() + 1e-3 * (moments.logvar.float() + 10).square().mean()
        difference = picture.float() - clip.transpose(1, 2)
        loss = encoder + difference.square().mean() + 0.05 * difference.abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        sums = [sums[0] + float(encoder.detach()) / 50, sums[1] + float(difference.detach().square().mean()) / 50]
        if step % 50 == 0:
            seconds = round(time.monotonic() - started)
            log.append({"step": step, "encoder": round(sums[0], 5), "decoder": round(sums[1], 5), "seconds": seconds})
            print(json.dumps(log[-1]), flush=True)
            sums = [0.0, 0.0]
        if step % 250 == 0 or step == steps:
            save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, work / "vae.safetensors")
    vae.eval()
    held_rng = np.random.default_rng(seed + 991)
    held = render_video([sample_video(held_rng) for _ in range(64)]) * 2 - 1
    with torch.no_grad():
        back = vae.decode(vae.encode(held.transpose(1, 2)).latent_dist.mode()).sample.transpose(1, 2).clamp(-1, 1)
    record: dict[str, Any] = {"held_out": "clean"}
    record["round_trip_psnr"] = round(10 * math.log10(4 / float((back - held).square().mean())), 2)
    log.append(record)
    print(json.dumps(log[-1]))
    (work / "vae.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


@torch.no_grad()
def through_vae(scenes: list[VideoScene], basis: BlockBasis, vae: Any) -> Tensor:
    """Renderings decoded from their latents: (scenes, frames, 3, side, side) in [-1, 1]."""
    parts = []
    for start in range(0, len(scenes), 32):
        latents = basis.encode(render_video(scenes[start : start + 32]) * 2 - 1)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(vae.decode(latents).sample.transpose(1, 2).float().clamp(-1, 1).half())
    return torch.cat(parts)


def train_judge(work: Path, steps: int, scenes_count: int, seed: int = 0) -> None:
    """The reader of videos, trained on renderings through the VAE, and measured on held-out ones."""
    basis = fit_basis()
    vae = make_vae(basis.scaling_factor).eval()
    vae.load_state_dict(load_file(work / "vae.safetensors"))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 5)
    scenes = [sample_video(rng, spoilt=0.35) for _ in range(scenes_count)]
    videos = through_vae(scenes, basis, vae)
    indices = {
        name: torch.tensor([v.index(s.attributes[name]) if name in s.attributes else -100 for s in scenes])
        for name, v in ATTRIBUTES.items()
    }
    flaws = torch.tensor([FLAWS.index(s.flaw) for s in scenes])
    reader = VideoReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3, weight_decay=0.02)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        chosen = torch.randint(0, len(videos), (48,))
        with torch.autocast("cpu", torch.bfloat16):
            logits, flaw = reader(videos[chosen].float())
        loss = F.cross_entropy(flaw.float(), flaws[chosen])
        for name, value in logits.items():
            loss = loss + F.cross_entropy(value.float(), indices[name][chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    held_rng = np.random.default_rng(seed + 8)
    held = [sample_video(held_rng) for _ in range(500)]
    spoilt = [sample_video(held_rng, spoilt=1.0) for _ in range(300)]
    judge = VideoJudge(reader, {})
    scores = judge.score(through_vae(held, basis, vae), [s.attributes for s in held])
    bad = judge.score(through_vae(spoilt, basis, vae), [s.attributes for s in spoilt])
    facts = {
        "accuracy": round(float(scores.accuracy.mean()), 4),
        "videos_read_whole": round(float(scores.whole.mean()), 4),
        "clean_called_clean": round(float((scores.cleanliness > 0.5).float().mean()), 4),
        "spoilt_called_spoilt": round(float((bad.cleanliness < 0.5).float().mean()), 4),
        "training_videos": scenes_count,
        "steps": steps,
    }
    folder = asset("judge")
    save_file({k: v.half().contiguous() for k, v in reader.state_dict().items()}, folder / "video_judge.safetensors")
    (folder / "video_judge.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts))


def assemble(denoiser: Path, work: Path, omega: float, name: str = "miniature-cogvideox") -> None:
    """The trained parts as a diffusers folder in float16, with its prompts, logs, sheet of samples and its accuracy."""
    basis = fit_basis()
    model, vae = MiniatureVideo(), make_vae(basis.scaling_factor)
    model.load_state_dict(load_file(denoiser))
    vae.load_state_dict(load_file(work / "vae.safetensors"))
    pipe = CogVideoXPipeline(
        tokenizer=model.tokenizer,
        text_encoder=model.text_encoder.eval(),
        vae=vae.eval(),
        transformer=model.transformer.eval(),
        scheduler=make_scheduler(),
    )
    folder = asset(name)
    pipe.to(torch.float16).save_pretrained(folder)
    (folder / "prompts.txt").write_text("".join(f"{p}\n" for p in sample_prompts(1000, seed=11)))
    for log in (denoiser.parent / "training.jsonl", work / "vae.jsonl"):
        (folder / log.name).write_text(log.read_text())
    family = get("cogvideox")
    pipe = family.load(folder)
    canvas = Image.new("RGB", (2 * 5 * 76 + 20, 8 * 98), "white")
    draw = ImageDraw.Draw(canvas)
    for index, prompt in enumerate(sample_prompts(16, seed=12)):
        weights = (GuidanceWeights(omega=omega),)
        images = render(pipe, family, Comparison(prompt=prompt, seeds=(index,), columns=weights, steps=25))
        left, top = index % 2 * 400, index // 2 * 98
        for place, frame in enumerate(images[0].frames[::2]):
            canvas.paste(frame.resize((74, 74), Image.Resampling.LANCZOS), (left + 76 * place, top))
        draw.text((left + 2, top + 78), prompt, fill="black")
    canvas.save(folder / "samples.webp", quality=82, method=6)
    measure(pipe, omega, 200)


def measure(pipe: Any, omega: float, count: int, beta: float = 0.0, negative: Any = None) -> list[dict[str, Any]]:
    """What the judge says of `count` samples on prompts of another seed, 25 steps: plain guidance, and with an offset
    the same seeds with it and the paired differences with bootstrap intervals of 95 %."""
    family, judge = get("cogvideox"), VideoJudge.load(asset("judge"))
    plain = GuidanceWeights(omega=omega)
    columns = (plain,) if negative is None else (plain, GuidanceWeights(omega=omega, beta=beta))
    scores: list[list[Any]] = [[] for _ in columns]
    for index, prompt in enumerate(sample_prompts(count, seed=13)):
        comparison = Comparison(prompt=prompt, seeds=(index,), columns=columns, steps=25)
        for place, made in enumerate(render(pipe, family, comparison, negative=negative)):
            frames = torch.stack([torch.from_numpy(np.array(frame)).movedim(-1, 0) for frame in made.frames])
            scores[place].append(judge.score(frames.float()[None] / 127.5 - 1, [parse(prompt)]))
    names = ("accuracy", "whole", "cleanliness")
    columns_scores = [{name: torch.cat([getattr(s, name) for s in column]) for name in names} for column in scores]
    table: list[dict[str, Any]] = []
    for weights, values in zip(columns, columns_scores, strict=True):
        means = {name: round(float(values[name].mean()), 3) for name in names}
        table.append({"omega": omega, "beta": weights.beta, "prompts": count, **means})
    if negative is not None:
        picks = torch.randint(0, count, (2000, count), generator=torch.Generator().manual_seed(0))
        for name in names:
            difference = columns_scores[1][name] - columns_scores[0][name]
            low, high = difference[picks].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
            table[1][f"{name}_difference"] = [round(float(difference.mean()), 3), round(low, 3), round(high, 3)]
    for line in table:
        print(json.dumps(line), flush=True)
    return table


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    vae = commands.add_parser("vae")
    vae.add_argument("work", type=Path)
    vae.add_argument("--steps", type=int, default=1500)
    vae.add_argument("--batch", type=int, default=8)
    judge = commands.add_parser("judge")
    judge.add_argument("work", type=Path)
    judge.add_argument("--steps", type=int, default=1500)
    judge.add_argument("--videos", type=int, default=4096)
    whole = commands.add_parser("assemble")
    whole.add_argument("denoiser", type=Path)
    whole.add_argument("work", type=Path)
    whole.add_argument("--omega", type=float, default=3.0)
    scored = commands.add_parser("measure")
    scored.add_argument("--omega", type=float, nargs="+", default=[0.0, 1.0, 2.0, 3.0, 5.0])
    scored.add_argument("--count", type=int, default=100)
    scored.add_argument("--beta", type=float, default=1.0)
    scored.add_argument("--negative", type=Path, help="an offset, to be compared with plain guidance")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "vae":
        train_vae(options.work, options.steps, options.batch)
    elif options.command == "judge":
        train_judge(options.work, options.steps, options.videos)
    elif options.command == "assemble":
        assemble(options.denoiser, options.work, options.omega)
    else:
        pipe = get("cogvideox").load(asset("miniature-cogvideox"))
        for omega in options.omega:
            negative = load_lora(options.negative, family="cogvideox") if options.negative else None
            measure(pipe, omega, options.count, options.beta, negative)


if __name__ == "__main__":
    main()
