"""The training loop: an iterator of typed events over a run folder. The caller draws the bar and writes the journal.

To resume is to call it again: it continues from the newest whole checkpoint, with losses identical to the
uninterrupted run's on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.events import TrainEvent
from core.families.base import FamilySpec
from core.training.clock import Clock
from core.training.config import TrainConfig
from core.training.keeping import Keeper
from core.training.material import gather
from core.training.narration import beginning, step_done
from core.training.previews import Preview, Shows
from core.training.ranking import Score
from core.training.resume import check_same_run
from core.training.reward import Reward
from core.training.sources import Source
from core.training.trainer import Stop, Trainer, make_accelerator


def train(
    config: TrainConfig,
    folder: Path,
    pipe: Any,
    family: FamilySpec,
    prompts: Sequence[str],
    *,
    stop: Stop = lambda: None,
    preview: Preview | None = None,
    score: Score | None = None,
    reward: Reward | None = None,
    cpu: bool = False,
) -> Iterator[TrainEvent]:
    """Trains an offset.

    Args:
        config: the settings; on resume the same as before.
        folder: the run folder; checkpoints, own samples, previews and the offset go there.
        pipe: a pipeline of the family; its denoiser is changed in place.
        prompts: texts to train with; not needed for start = images, nor with caption_dropout = 1.
        stop: asked every step: None, "pause" or "stop".
        preview: draws previews; None draws none.
        score: the scorer of method = ranking; `reward`: that of method = reward, with a gradient.
        cpu: stay on the CPU.

    Cost: `row_forwards_per_sample(config)`, which RunStarted reports; previews come on top.

    Raises:
        DiskFull: a checkpoint found no room; the run can be resumed.
        StudioError: what a person must know: settings that changed, a loss that became NaN.
    """
    clock = Clock()
    accelerator = make_accelerator(config, cpu)
    if accelerator.is_main_process:
        check_same_run(folder, config)
    pipe.to(accelerator.device)
    material = gather(config, folder, pipe, family, prompts, accelerator)
    trainer = Trainer(config, family, family.denoiser(pipe), accelerator)
    restored = trainer.restore(folder)
    shows = Shows(folder, trainer, preview if accelerator.is_main_process else None, clock)
    keeper = Keeper(trainer, folder, material, clock, restored, shows)
    source = Source(trainer, folder, pipe, material, clock, stop, score, reward)
    yield from beginning(trainer, restored, clock)
    yield from shows.base()
    clock.pass_over()
    while trainer.steps_done < config.steps:
        objective, request = yield from source.objective()
        if objective is None:
            yield from keeper.end_early(request, reason="while own samples were drawn", drawing=True)
            return
        if request := trainer.shared_request(stop):
            yield from keeper.end_early(request)
            return
        yield from step_done(trainer, trainer.step(objective), clock)
        yield from keeper.checkpoint_when_due()
        yield from shows.when_due()
        clock.pass_over()
    points = yield from source.last_points()
    yield from keeper.finish(points)
