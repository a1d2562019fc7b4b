"""What the training process does once its libraries are there: loads the model, trains, draws previews.

The one room of this wing that imports torch; only the worker imports it, late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from core.errors import StudioError
from core.events import TrainEvent
from core.families import get
from core.families.base import FamilySpec
from core.families.full_size import decode_in_tiles
from core.generation.rendering import Comparison, encode, render
from core.generation.watch import Cancelled, Watch
from core.method.guidance import GuidanceWeights
from core.miniature.scorer_cards import CARDS
from core.miniature.scorers import JudgeScorer
from core.miniature.worlds import World, world_of
from core.offsets.offset import Offset
from core.studio.library.choose import family_of_base, find_base, prompts_of
from core.studio.library.load import load_base
from core.studio.memory import architecture
from core.studio.runs.run import Run
from core.studio.workspace import ASSETS, Workspace
from core.training.config import TrainConfig
from core.training.loop import train
from core.training.material import size_of
from core.training.previews import Preview

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def train_run(run: Run, *, cpu: bool, stop: Callable[[], str | None]) -> Iterator[TrainEvent]:
    """Trains the run of a folder, event by event; see `core.training.loop.train`.

    Args:
        stop: asked every step: None, "pause" or "stop".

    Raises:
        StudioError: the base or the prompts are missing, or training was refused.
    """
    config = run.config
    base = find_base(Workspace(run.root), config.base)
    family = get(family_of_base(base))
    pipe = load_base(base, dtype=torch.float32 if config.weights == "full" else _DTYPES[config.precision])
    if architecture(base):
        decode_in_tiles(pipe.vae)  # previews must not need more than the steps
    prompts = prompts_of(base, config.prompts_file)
    shown = config.preview_prompts or tuple(prompts[:4])
    preview = preview_of(pipe, family, config, shown, stop) if shown else None
    scorer = scorer_of(config.scorer, world_of(base)) if config.method in ("ranking", "reward") else None
    score = scorer.score if scorer and config.method == "ranking" else None
    reward = scorer.reward if scorer and config.method == "reward" else None
    yield from train(
        config, run.folder, pipe, family, prompts, stop=stop, preview=preview, score=score, reward=reward, cpu=cpu
    )


def scorer_of(name: str, world: World | None) -> JudgeScorer:
    """A scorer by its name, for training: the bundled judges.

    Args:
        world: that the base draws.

    Raises:
        StudioError: there is none of that name, or the base draws none of the judges' worlds.
    """
    if name not in CARDS:
        raise StudioError(
            "“{name}” is not a scorer that training can use.",
            "Choose {names}.",
            name=name[:40],
            names=", ".join(CARDS),
        )
    if world is None:
        raise StudioError(
            "The bundled judges cannot read pictures of this base model.",
            "Train on pairs, or choose a bundled miniature as the base model.",
        )
    return JudgeScorer(world.judge(ASSETS), name)


def preview_of(
    pipe: Any, family: FamilySpec, config: TrainConfig, prompts: Sequence[str], stop: Callable[[], str | None]
) -> Preview:
    """How previews are drawn: each prompt at its own seed, through the stock pipeline and the row gate.

    Cost: 50 row-forwards a picture.
    """

    size = size_of(config, family.defaults(pipe).size)
    # encoded now: a large text encoder is freed when training begins
    texts = {prompt: encode(pipe, family, prompt, "", size) for prompt in prompts}
    asked = Watch(cancelled=lambda: stop() is not None)
    after_stop = Watch(cancelled=lambda: stop() == "pause")

    def preview(low_rank: Offset, kind: str) -> list[Image.Image] | None:
        device = next(family.denoiser(pipe).parameters()).device
        beta = 0.0 if kind == "plain" else config.preview_beta
        watch = after_stop if kind == "last" else asked
        pictures = []
        for index, prompt in enumerate(prompts):
            comparison = Comparison(
                prompt=prompt,
                seeds=(config.preview_seed + index,),
                columns=(GuidanceWeights(omega=config.preview_omega, beta=beta),),
                height=config.height,
                width=config.width,
                frames=config.frames,
            )
            try:
                encoded = texts[prompt].to(device)
                images = render(pipe, family, comparison, negative=low_rank, texts=encoded, watch=watch)
            except Cancelled:
                return None
            pictures += [image.image for image in images]
        return pictures

    return preview
