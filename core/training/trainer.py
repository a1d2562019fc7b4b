"""The trainer: one optimiser step at a time, its state saved and put back. It draws no previews and writes no offsets."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from core.errors import StudioError
from core.families.base import Conditioning, FamilySpec
from core.training.checkpoints import checkpoint_names, load_newest, save_checkpoint, set_aside
from core.training.config import TrainConfig
from core.training.objective import Objective, Predict
from core.training.resume import load_optimizer_state, optimizer_state
from core.training.run_offset import not_finite
from core.training.settings import OptimiserSettings
from core.training.student import Student

Stop = Callable[[], str | None]
"""What the run was asked: None, "pause" or "stop"."""
CHECKPOINTS = "checkpoints"
MOST_OVERFLOWS = 50
"""Steps running that fp16 may overflow in; a scale that has halved so often has nothing left to halve."""


@dataclass(frozen=True)
class StepResult:
    """An optimiser step.

    Args:
        step: steps done, this one included.
        gradient_norm: before clipping; not finite where fp16 overflowed.
        overflows: steps so far whose gradient overflowed in fp16 and changed nothing.
        overflowed: this step was one of them.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    overflows: int = 0
    overflowed: bool = False


@dataclass(frozen=True)
class Restored:
    """What a run continues from: the checkpoint's name, empty where there is none, and newer ones that are damaged."""

    checkpoint: str
    damaged: tuple[str, ...]


def learning_rate(settings: OptimiserSettings, step: int) -> float:
    """The rate of the step after `step` steps: it rises in a straight line over the warm-up and is constant then."""
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))


def make_accelerator(settings: OptimiserSettings, cpu: bool) -> Accelerator:
    """The processes and the arithmetic of a training.

    Raises:
        StudioError: the machine has no such precision.
    """
    # one process draws the own samples while the others wait, for longer than the usual timeout
    patient = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps its first run's precision
    refused = StudioError(
        "This machine cannot train with precision {precision}.",
        "Choose bf16 or no, and start a new run.",
        precision=settings.precision,
    )
    try:
        accelerator = Accelerator(mixed_precision=settings.precision, cpu=cpu, kwargs_handlers=[patient])
    except ValueError as error:
        raise refused from error
    if settings.precision == "fp16" and accelerator.device.type == "cpu":
        raise refused
    return accelerator


class Trainer:
    """A student, its optimiser and the steps done.

    Args:
        denoiser: the base's denoiser on the training device; it is changed in place.
    """

    def __init__(self, config: TrainConfig, family: FamilySpec, denoiser: nn.Module, accelerator: Accelerator) -> None:
        self.config, self.family, self.accelerator = config, family, accelerator
        self.denoiser = denoiser
        if accelerator.device.type == "cpu":
            denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster there
        if config.gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
        # dropout and the like would make the reference random; a denoiser in training mode is needed for checkpointing
        denoiser.train(config.gradient_checkpointing)
        self.student = Student(denoiser, family.lora_targets, config)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
        )
        self.wrapped, self.prepared = accelerator.prepare(denoiser, self.optimizer)
        self.steps_done = self.overflows = self.overflows_running = 0
        self.reads_late = accelerator.device.type != "cpu"
        """Whether the host leaves the numbers of a step alone until its end; on a processor to read them costs nothing."""

    def predict_student(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The output of the network in training."""
        return self.family.predict(self.wrapped, x, t, cond)

    def predict_unwrapped(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The same without the wrapper of several processes, for measuring on one of them."""
        with self.autocast():
            return self.family.predict(self.denoiser, x, t, cond).float()

    def predict_now(self, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        """The output of the network as it is, for samples of it."""
        return self.predict_unwrapped(x, t, {name: tensor.to(self.accelerator.device) for name, tensor in cond.items()})

    @contextmanager
    def base(self) -> Iterator[Predict]:
        """The output of the base, whatever was trained, for own samples."""

        def predict(x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
            on_device = {name: tensor.to(self.accelerator.device) for name, tensor in cond.items()}
            with self.accelerator.autocast():
                return self.family.predict(self.denoiser, x, t, on_device).float()

        with self.student.pristine():
            yield predict

    def _predict_reference(self, network: nn.Module, x: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
        return self.family.predict(network, x, t, cond).float()

    def step(self, objective: Objective) -> StepResult:
        """One optimiser step.

        Where `reads_late`, the host reads its two numbers when everything of the step has been asked of the device: it never
        waits in between.

        Raises:
            StudioError: the loss or the gradient became NaN or infinite, before the weights change or, where `reads_late`,
                after it and before anything is kept; or fp16 overflowed in `MOST_OVERFLOWS` steps running.
        """
        config, accelerator = self.config, self.accelerator
        rate = learning_rate(config, self.steps_done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.student.reference() as network, self.autocast():
            batch = objective.batch(
                partial(self._predict_reference, network),
                self.steps_done,
                accelerator.process_index,
                accelerator.device,
            )
        with self.autocast():
            loss = objective.loss(self.predict_student, batch)
        # the mean over the processes, so that all of them see a fault in one
        mean = accelerator.reduce(loss.detach().float(), "mean")
        if not self.reads_late:
            self._check(float(mean), 0.0)
        self.prepared.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(self.student.parameters, config.clip_norm)
        if not self.reads_late:
            self._check(0.0, float(norm))
        self.prepared.step()
        self._count_overflow()
        self.student.update_reference()
        value, gradient = torch.stack([mean, norm.float()]).tolist()
        self._check(value, gradient)
        self.steps_done += 1
        return StepResult(self.steps_done, value, rate, gradient, self.overflows, self.prepared.step_was_skipped)

    def _check(self, loss: float, gradient: float) -> None:
        if not math.isfinite(loss):
            raise not_finite("loss", self.steps_done + 1)
        # in fp16 the scaler passes over such a step and lowers its scale
        if not math.isfinite(gradient) and self.config.precision != "fp16":
            raise not_finite("gradient", self.steps_done + 1)

    def _count_overflow(self) -> None:
        if not self.prepared.step_was_skipped:
            self.overflows_running = 0
            return
        self.overflows += 1
        self.overflows_running += 1
        if self.overflows_running >= MOST_OVERFLOWS:
            raise StudioError(
                "The gradient overflowed fp16 in {steps} consecutive steps; nothing is being learned.",
                "Choose precision bf16 or no, or lower the learning rate, and start a new run.",
                steps=MOST_OVERFLOWS,
            )

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic of the run's precision."""
        return self.accelerator.autocast()

    def save(self, folder: Path) -> str:
        """Writes a checkpoint into the run folder and returns its name.

        Raises:
            DiskFull, StudioError: as `save_checkpoint`; or a weight is NaN or infinite. Earlier checkpoints stay.
        """
        if not self.student.is_finite():
            raise not_finite("weights", self.steps_done)
        tensors = {**self.student.state(), **optimizer_state(self.optimizer, self.student.parameters)}
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}
        facts = {"weights": self.config.weights, "scaler": scaler, "overflows": self.overflows}
        return save_checkpoint(folder / CHECKPOINTS, self.steps_done, tensors, facts, self.config.keep_checkpoints)

    def restore(self, folder: Path) -> Restored:
        """Goes on from the newest whole checkpoint of a run folder; damaged ones are set aside.

        Raises:
            StudioError: the disk has no room for the checkpoints of this run.
        """
        checkpoint, damaged = load_newest(folder / CHECKPOINTS)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            check_room(folder, self.student, self.config)
            set_aside(folder / CHECKPOINTS, damaged)
        if checkpoint:
            self.steps_done = int(checkpoint.facts["step"])
            self.overflows = int(checkpoint.facts.get("overflows", 0))
            self.student.load_state(checkpoint.tensors)
            load_optimizer_state(self.optimizer, self.student.parameters, checkpoint.tensors)
            if self.accelerator.scaler and checkpoint.facts.get("scaler"):
                self.accelerator.scaler.load_state_dict(checkpoint.facts["scaler"])
        return Restored(checkpoint.name if checkpoint else "", tuple(damaged))

    def shared_request(self, stop: Stop) -> str | None:
        """What the main process was asked, in every process: None, "pause" or "stop"."""
        answer = [stop() if self.accelerator.is_main_process else None]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(answer)
        return answer[0]

    def memory(self) -> int:
        """Peak bytes on the device; on a CPU, what the process holds now."""
        if self.accelerator.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.accelerator.device)
        return psutil.Process().memory_info().rss


def check_room(folder: Path, student: Student, config: TrainConfig) -> None:
    """Refuses a run whose checkpoints cannot fit: all that will be kept and the one being written.

    Raises:
        StudioError: with the room there is and the room that is needed.
    """
    there = len(checkpoint_names(folder / CHECKPOINTS))
    needed = max(1, config.keep_checkpoints + 1 - there) * student.state_bytes()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StudioError(
            "The disk has {free:.1f} GB free; the checkpoints of this run need {needed:.1f} GB.",
            "Free {missing:.1f} GB, or train a LoRA of a smaller rank.",
            free=free / 1e9,
            needed=needed / 1e9,
            missing=(needed - free) / 1e9 + 0.1,
        )
