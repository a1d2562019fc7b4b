"""What a run keeps: its checkpoints, the offset of each, and the offset that it ends with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from core.errors import Sentence
from core.events import CheckpointSaved, Notice, RunFinished, RunPaused, RunStopped, TrainEvent
from core.families.base import Conditioning
from core.method.dose import SAMPLES, Dose
from core.training.clock import Clock, is_due
from core.training.cost import row_forwards_per_sample
from core.training.dose import measure_dose
from core.training.material import Material
from core.training.previews import Shows
from core.training.run_offset import OFFSET, RunOffset
from core.training.start_points import StartPoints, draw_own_samples
from core.training.trainer import Restored, Trainer


class Keeper:
    """Keeps what a training reaches, in the main process alone.

    Args:
        restored: what the run continues from; that step is kept already.
        shows: draws what an offset does after a stop.
    """

    def __init__(
        self, trainer: Trainer, folder: Path, material: Material, clock: Clock, restored: Restored, shows: Shows
    ) -> None:
        self.trainer, self.material, self.clock, self.shows = trainer, material, clock, shows
        self.main = trainer.accelerator.is_main_process
        self.offset = RunOffset(folder, trainer.config, trainer.family.name, material.base, trainer.student)
        self.saved_at = trainer.steps_done if restored.checkpoint else -1
        if self.main:
            self.offset.write_of_step(trainer.steps_done)  # a kill between a checkpoint and its offset

    def checkpoint_when_due(self) -> Iterator[TrainEvent]:
        """Each `checkpoint_every` steps, and after the last."""
        config = self.trainer.config
        if self.main and is_due(self.trainer.steps_done, config.checkpoint_every, config.steps):
            yield self._checkpoint()

    def _checkpoint(self) -> CheckpointSaved:
        step = self.trainer.steps_done
        name = self.trainer.save(self.offset.folder)
        self.offset.write_of_step(step)
        self.saved_at = step
        return CheckpointSaved(**self.clock.at(step), name=name)

    def end_early(self, request: str | None, reason: str = "", *, drawing: bool = False) -> Iterator[TrainEvent]:
        """A pause or a stop: a checkpoint, the offset so far, after a stop what it draws, and the last event.

        Args:
            drawing: own samples were being drawn, so that before the first step there is nothing to keep.
        """
        step = self.trainer.steps_done
        if self.main:
            if self.saved_at != step and (step or not drawing):
                yield self._checkpoint()
            # a paused LoRA can be tried at once; what all weights changed is factored when the run is stopped
            if step and (request == "stop" or self.trainer.config.weights == "lora"):
                self.offset.write(step)
            if step and request == "stop" and not drawing:
                yield from self.shows.now("last")
        if request == "pause":
            yield RunPaused(**self.clock.at(step), reason=reason)
        else:
            yield RunStopped(**self.clock.at(step), offset=OFFSET if step else "")

    def finish(self, points: StartPoints) -> Iterator[TrainEvent]:
        """The finished offset with its dose, measured on start points, and the last event."""
        config, processes = self.trainer.config, self.trainer.accelerator.num_processes
        if self.main:
            share = self.offset.write(config.steps, dose=self._dose(points))
            if config.weights == "full":
                message = Sentence(
                    "The offset of rank {rank} captures {share:.0%} of what was trained.", rank=config.rank, share=share
                )
                yield Notice(**self.clock.at(config.steps), message=message)
        self.trainer.accelerator.wait_for_everyone()
        spent = row_forwards_per_sample(config) * config.batch_size * processes * config.steps
        yield RunFinished(**self.clock.at(config.steps), offset=OFFSET, row_forwards=spent)

    def _dose(self, points: StartPoints) -> Dose:
        """How strong the offset is, on the start points; where there are none, on a few own samples."""
        trainer, x_0 = self.trainer, points.x_0
        if x_0 is None:  # start = noise
            few = replace(trainer.config, batch_size=SAMPLES, start="own", method="self-npo", flaws="", rollout_steps=0)
            with trainer.base() as predict:
                first = self.material.first(SAMPLES)
                *_, drawn = draw_own_samples(predict, first, few, trainer.accelerator.device)
            assert isinstance(drawn, StartPoints) and drawn.x_0 is not None
            x_0 = drawn.x_0

        def base(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
            with trainer.base() as predict:
                return predict(x, t, cond)

        return measure_dose(trainer.predict_unwrapped, base, self.material, x_0, trainer.config.seed)
