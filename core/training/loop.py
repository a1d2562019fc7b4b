"""The training loop: an iterator of typed events over a run folder. The caller draws the bar and writes the journal.

To resume is to call it again: it goes on from the newest whole checkpoint, with losses identical to the
uninterrupted run's on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import Sentence
from core.events import (
    CheckpointSaved,
    Notice,
    PreviewDue,
    PreviewSaved,
    RunFinished,
    RunPaused,
    RunStarted,
    RunStopped,
    StepDone,
    TrainEvent,
)
from core.families.base import Conditioning, FamilySpec
from core.training.clock import Clock
from core.training.config import TrainConfig
from core.training.cost import row_forwards_per_sample
from core.training.dose import SAMPLES, Dose, measure_dose
from core.training.material import Material, gather
from core.training.methods import objective_of
from core.training.objective import Objective
from core.training.previews import Preview, draw_base, draw_previews
from core.training.ranking import Score, round_of
from core.training.recipes import RECIPE_FAMILY
from core.training.resume import check_same_run
from core.training.run_offset import OFFSET, RunOffset
from core.training.sources import Source
from core.training.start_points import StartPoints, draw_own_samples
from core.training.trainer import Stop, Trainer, make_accelerator


@dataclass
class Shows:
    """Draws the previews of a run and says so: the base's at the beginning, with the offset later.

    Args:
        preview: draws them; None draws none. `every`: steps between them, 0 for none.
    """

    folder: Path
    trainer: Trainer
    preview: Preview | None
    every: int
    clock: Clock
    shown_at: int = -1

    def base(self) -> Iterator[TrainEvent]:
        """Before the first step: the offset does nothing yet, both kinds are the base's."""
        if self.preview is None or not self.every:
            return
        yield PreviewDue(**self.clock.at(0))
        if pictures := draw_base(self.folder, self.trainer.student, self.preview):
            yield PreviewSaved(**self.clock.at(0), plain=pictures, guided=pictures)

    def of_step(self, step: int, kind: str = "guided") -> Iterator[TrainEvent]:
        """After a step, where this one is not shown already."""
        if self.preview is None or not self.every or self.shown_at == step:
            return
        yield PreviewDue(**self.clock.at(step))
        if pictures := draw_previews(self.folder, step, self.trainer.student, self.preview, kind):
            self.shown_at = step
            yield PreviewSaved(**self.clock.at(step), plain=pictures[0], guided=pictures[1])


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something that happens each `every` steps and after the last one happens now; 0 is never."""
    return bool(every) and (step % every == 0 or step == last)


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
        score: the scorer of method = ranking.
        cpu: stay on the CPU.

    Cost: `row_forwards_per_sample(config)`, told by RunStarted; previews come on top.

    Raises:
        DiskFull: a checkpoint found no room; the run can be resumed.
        StudioError: what a person must know: settings that changed, a loss that became NaN.
    """
    clock = Clock()
    accelerator = make_accelerator(config, cpu)
    main = accelerator.is_main_process
    if main:
        check_same_run(folder, config)
    pipe.to(accelerator.device)
    material = gather(config, folder, pipe, family, prompts, accelerator)
    trainer = Trainer(config, family, family.denoiser(pipe), accelerator)
    offset = RunOffset(folder, config, family.name, material.base, trainer.student)
    restored = trainer.restore(folder)
    if names := ", ".join(restored.damaged):
        after = (
            Sentence("goes on from {name}", name=restored.checkpoint)
            if restored.checkpoint
            else Sentence("begins anew")
        )
        message = Sentence("Checkpoint {names} is damaged; the run {after}.", names=names, after=after)
        yield Notice(**clock.at(0), message=message)
    if note := family_note(config, family):
        yield Notice(**clock.at(trainer.steps_done), message=note)
    if main:
        offset.write_of_step(trainer.steps_done)  # a kill between a checkpoint and its offset
    yield RunStarted(
        **clock.at(trainer.steps_done),
        steps=config.steps,
        device=str(accelerator.device),
        processes=accelerator.num_processes,
        trainable_parameters=sum(parameter.numel() for parameter in trainer.student.parameters),
        row_forwards_per_sample=row_forwards_per_sample(config),
        resumed=bool(restored.checkpoint),
    )
    shows = Shows(folder, trainer, preview if main else None, config.preview_every, clock)
    if not trainer.steps_done:
        yield from shows.base()
    source = Source(trainer, folder, pipe, material, clock, stop, score)
    points, objective, drawn_for = StartPoints(), None, None
    saved_at = trainer.steps_done if restored.checkpoint else -1
    clock.pass_over()
    while trainer.steps_done < config.steps:
        saved = saved_at == trainer.steps_done
        if objective is None or drawn_for != round_of(config, trainer.steps_done):
            drawn_for = round_of(config, trainer.steps_done)
            drawn, request = yield from source.points(drawn_for)
            if drawn is None:
                reason = "while own samples were drawn"
                yield from _ended_early(
                    trainer, offset, clock, request, saved=saved or not trainer.steps_done, reason=reason
                )
                return
            points, objective = drawn, objective_of(config, material, drawn, accelerator.num_processes)
            clock.pass_over()
        if request := trainer.shared_request(stop):
            yield from _ended_early(trainer, offset, clock, request, saved=saved, shows=shows)
            return
        yield from _one_step(trainer, objective, clock)
        step = trainer.steps_done
        if main and is_due(step, config.checkpoint_every, config.steps):
            yield _checkpoint(trainer, offset, clock)
            saved_at = step
        if is_due(step, config.preview_every, config.steps):
            yield from shows.of_step(step)
        clock.pass_over()
    if objective is None:  # it had finished before
        drawn, _ = yield from source.points(round_of(config, config.steps - 1))
        points = drawn or points
    if main:
        share = offset.write(config.steps, dose=_dose(trainer, material, points))
        if config.weights == "full":
            message = Sentence(
                "The offset of rank {rank} captures {share:.0%} of what was trained.", rank=config.rank, share=share
            )
            yield Notice(**clock.at(config.steps), message=message)
    accelerator.wait_for_everyone()
    spent = row_forwards_per_sample(config) * config.batch_size * accelerator.num_processes * config.steps
    yield RunFinished(**clock.at(config.steps), offset=OFFSET, row_forwards=spent)


def family_note(config: TrainConfig, family: FamilySpec) -> str:
    """What to say where a recipe was written for another family; empty where it was not."""
    meant = RECIPE_FAMILY.get(config.recipe, family.name)
    if meant == family.name:
        return ""
    other = next((name for name, its in RECIPE_FAMILY.items() if its == family.name), "")
    better = Sentence("the recipe {other} is", other=other) if other else Sentence("no script was published")
    return Sentence(
        "The recipe {recipe} is the published script for {meant}; for {family} {better}.",
        recipe=config.recipe,
        meant=meant,
        family=family.name,
        better=better,
    )


def _one_step(trainer: Trainer, objective: Objective, clock: Clock) -> Iterator[TrainEvent]:
    before = trainer.overflows
    done = trainer.step(objective)
    yield StepDone(
        **clock.at(done.step),
        loss=done.loss,
        learning_rate=done.learning_rate,
        gradient_norm=done.gradient_norm,
        rate=clock.tick(),
        memory=trainer.memory(),
        overflows=done.overflows,
    )
    if done.overflows > before and done.overflows in (1, 10, 100, 1000):
        message = Sentence(
            "The gradient has overflowed fp16 in {count} of {steps} steps; those changed nothing.",
            count=done.overflows,
            steps=done.step,
        )
        yield Notice(**clock.at(done.step), message=message)


def _dose(trainer: Trainer, material: Material, points: StartPoints) -> Dose:
    """How strong the finished offset is, measured on the start points; where there are none, on a few own samples."""
    x_0 = points.x_0
    if x_0 is None:  # start = noise
        few = replace(trainer.config, batch_size=SAMPLES, start="own", method="self-npo", flaws="")
        with trainer.base() as predict:
            *_, drawn = draw_own_samples(predict, material.first(SAMPLES), few, trainer.accelerator.device)
        assert isinstance(drawn, StartPoints) and drawn.x_0 is not None
        x_0 = drawn.x_0

    def base(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        with trainer.base() as predict:
            return predict(x, t, cond)

    return measure_dose(trainer.predict_unwrapped, base, material, x_0, trainer.config.seed)


def _checkpoint(trainer: Trainer, offset: RunOffset, clock: Clock) -> CheckpointSaved:
    name = trainer.save(offset.folder)
    offset.write_of_step(trainer.steps_done)
    return CheckpointSaved(**clock.at(trainer.steps_done), name=name)


def _ended_early(
    trainer: Trainer,
    offset: RunOffset,
    clock: Clock,
    request: str | None,
    *,
    saved: bool,
    reason: str = "",
    shows: Shows | None = None,
) -> Iterator[TrainEvent]:
    """A pause or a stop: a checkpoint, the offset so far, after a stop what it draws, and the last event."""
    step = trainer.steps_done
    if trainer.accelerator.is_main_process:
        if not saved:
            yield _checkpoint(trainer, offset, clock)
        # a paused LoRA can be tried at once; what all weights changed is factored when the run is stopped
        if step and (request == "stop" or trainer.config.weights == "lora"):
            offset.write(step)
        if step and request == "stop" and shows is not None:
            yield from shows.of_step(step, "last")
    if request == "pause":
        yield RunPaused(**clock.at(step), reason=reason)
    else:
        yield RunStopped(**clock.at(step), offset=OFFSET if step else "")
