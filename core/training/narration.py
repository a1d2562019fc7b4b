"""What a training tells while it runs: facts of its trainer as events."""

from __future__ import annotations

from collections.abc import Iterator

from core.errors import Sentence
from core.events import Notice, RunStarted, StepDone, TrainEvent
from core.training.clock import Clock
from core.training.config import TrainConfig
from core.training.cost import row_forwards_per_sample
from core.training.recipes import RECIPE_FAMILY
from core.training.trainer import Restored, StepResult, Trainer

TELLING = (1, 10, 100, 1000)
"""The counts of overflowed steps at which a notice appears; between them it would only repeat itself."""


def beginning(trainer: Trainer, restored: Restored, clock: Clock) -> Iterator[TrainEvent]:
    """The first events of a run: what was damaged, whether the recipe was meant for this family, and what starts."""
    config = trainer.config
    if names := ", ".join(restored.damaged):
        after = (
            Sentence("continues from {name}", name=restored.checkpoint)
            if restored.checkpoint
            else Sentence("starts again from the beginning")
        )
        message = Sentence("Checkpoint {names} is damaged; the run {after}.", names=names, after=after)
        yield Notice(**clock.at(0), message=message)
    if note := family_note(config, trainer.family.name):
        yield Notice(**clock.at(trainer.steps_done), message=note)
    yield RunStarted(
        **clock.at(trainer.steps_done),
        steps=config.steps,
        device=str(trainer.accelerator.device),
        processes=trainer.accelerator.num_processes,
        trainable_parameters=sum(parameter.numel() for parameter in trainer.student.parameters),
        row_forwards_per_sample=row_forwards_per_sample(config),
        resumed=bool(restored.checkpoint),
    )


def step_done(trainer: Trainer, done: StepResult, clock: Clock) -> Iterator[TrainEvent]:
    """A step, and a notice where the gradient overflowed once more."""
    yield StepDone(
        **clock.at(done.step),
        loss=done.loss,
        learning_rate=done.learning_rate,
        gradient_norm=done.gradient_norm,
        rate=clock.tick(),
        memory=trainer.memory(),
        overflows=done.overflows,
    )
    if done.overflowed and done.overflows in TELLING:
        message = Sentence(
            "The gradient has overflowed fp16 in {count} of {steps} steps; those steps changed nothing.",
            count=done.overflows,
            steps=done.step,
        )
        yield Notice(**clock.at(done.step), message=message)


def family_note(config: TrainConfig, family: str) -> str:
    """What to say where a recipe was written for another family; empty where it was not."""
    meant = RECIPE_FAMILY.get(config.recipe, family)
    if meant == family:
        return ""
    other = next((name for name, its in RECIPE_FAMILY.items() if its == family), "")
    better = Sentence("the recipe {other} is", other=other) if other else Sentence("no script was published")
    return Sentence(
        "The recipe {recipe} is the published script for {meant}; for {family} {better}.",
        recipe=config.recipe,
        meant=meant,
        family=family,
        better=better,
    )
