"""The training loop: an iterator of typed events over a run folder. The caller draws the bar and writes the journal.

To resume is to call it again: it goes on from the newest whole checkpoint, with losses identical to the
uninterrupted run's on a CPU.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from PIL import Image
from torch import Tensor, nn

from core.errors import StudioError
from core.events import (
    CheckpointSaved,
    Notice,
    PoolProgress,
    PreviewDue,
    PreviewSaved,
    RunFinished,
    RunPaused,
    RunStarted,
    RunStopped,
    StepDone,
    TrainEvent,
)
from core.families.base import FamilySpec, Size
from core.method.schedule import NoiseSchedule, ddim_grid
from core.offsets.low_rank import LowRank
from core.offsets.offset import save_offset
from core.training.checkpoints import checkpoint_names, load_newest, save_checkpoint, set_aside
from core.training.config import TrainConfig, row_forwards_per_sample
from core.training.objective import Objective
from core.training.pool import FILE, Pool, choose_texts, conditionings, draw_pool, encode_images
from core.training.resume import begin, check_same_run, fingerprint, load_optimizer_state, optimizer_state
from core.training.student import Student

OFFSET = "offset.safetensors"
OFFSETS = "offsets"
"""Folder of a run: the offset as it was at each checkpoint, of LoRA training. Small, and never thinned out."""
Preview = Callable[[LowRank, str], list[Image.Image] | None]
"""(offset so far, "plain" or "guided") -> pictures at the run's preview prompts and seeds, on the pristine base; None
when it was asked to stop on the way."""


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def _accelerator(config: TrainConfig, cpu: bool) -> Accelerator:
    # one process draws the own samples while the others wait, for longer than the usual timeout
    patient = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps its first run's precision
    refused = StudioError(
        f"This machine cannot train with precision {config.precision}.", "Choose bf16 or no, and start a new run."
    )
    try:
        accelerator = Accelerator(mixed_precision=config.precision, cpu=cpu, kwargs_handlers=[patient])
    except ValueError as error:
        raise refused from error
    if config.precision == "fp16" and accelerator.device.type == "cpu":
        raise refused
    return accelerator


def _check_room(folder: Path, student: Student, config: TrainConfig) -> None:
    """Refuses a run whose checkpoints cannot fit: all that will be kept and the one being written."""
    there = len(checkpoint_names(folder / "checkpoints"))
    needed = max(1, config.keep_checkpoints + 1 - there) * student.state_bytes()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StudioError(
            f"The disk has {free / 1e9:.1f} GB free; the checkpoints of this run need {needed / 1e9:.1f} GB.",
            f"Free {(needed - free) / 1e9 + 0.1:.1f} GB, or train a LoRA of a smaller rank.",
        )


def train(
    config: TrainConfig,
    folder: Path,
    pipe: Any,
    family: FamilySpec,
    prompts: Sequence[str],
    *,
    stop: Callable[[], str | None] = lambda: None,
    preview: Preview | None = None,
    cpu: bool = False,
) -> Iterator[TrainEvent]:
    """Trains a negative offset by truncated diffusion fine-tuning (Self-NPO, arXiv 2505.11777, section 3.2).

    Args:
        config: the settings; on resume the same as before.
        folder: the run folder; checkpoints, own samples, previews and the offset go there.
        pipe: a pipeline of the family; its denoiser is changed in place.
        prompts: texts to train with; not needed for start = images, nor with caption_dropout = 1.
        stop: asked every step: None, "pause" or "stop".
        preview: draws previews; None draws none.
        cpu: stay on the CPU.

    Cost: `row_forwards_per_sample(config)`, told by RunStarted; previews come on top.

    Raises:
        DiskFull: a checkpoint found no room; the run can be resumed.
        StudioError: what a person must know: settings that changed, a loss that is no number.
    """
    began = time.monotonic()
    accelerator = _accelerator(config, cpu)
    main, rank, device = accelerator.is_main_process, accelerator.process_index, accelerator.device
    if main:
        check_same_run(folder, config)

    def at(step: int) -> dict[str, Any]:
        return {"step": step, "elapsed": round(time.monotonic() - began, 3)}

    pipe.to(device)
    denoiser = family.denoiser(pipe)
    base = fingerprint(denoiser)
    if main:
        begin(folder, base, lambda: choose_texts(config, prompts))
    accelerator.wait_for_everyone()
    texts = begin(folder, base, lambda: choose_texts(config, prompts))
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler).to(device)
    standard = family.defaults(pipe)
    size = Size(
        config.height or standard.size.height,
        config.width or standard.size.width,
        config.frames or standard.size.frames,
    )
    shape = family.latent_shape(pipe, size)
    grid = ddim_grid(
        schedule.timesteps, config.ddim_grid, spacing=pipe.scheduler.config.get("timestep_spacing", "leading")
    )

    cond, empty = conditionings(pipe, family, texts, size)
    if family.large_text_encoder:
        family.free_text_encoders(pipe)

    if device.type == "cpu":
        denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster there
    if config.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    # dropout and the like would make the reference random; a denoiser in training mode is needed for checkpointing
    denoiser.train(config.gradient_checkpointing)
    student = Student(denoiser, family.lora_targets, config)
    optimizer = torch.optim.AdamW(
        student.parameters, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
    )
    step = 0
    checkpoint, damaged = load_newest(folder / "checkpoints")
    accelerator.wait_for_everyone()
    if main:
        _check_room(folder, student, config)
        set_aside(folder / "checkpoints", damaged)
    if damaged:
        went = f"goes on from {checkpoint.name}" if checkpoint else "begins anew"
        yield Notice(**at(0), message=f"Checkpoint {', '.join(damaged)} is damaged; the run {went}.")
    if checkpoint:
        step = int(checkpoint.facts["step"])
        student.load_state(checkpoint.tensors)
        load_optimizer_state(optimizer, student.parameters, checkpoint.tensors)
        if accelerator.scaler and checkpoint.facts.get("scaler"):
            accelerator.scaler.load_state_dict(checkpoint.facts["scaler"])
    wrapped, prepared = accelerator.prepare(denoiser, optimizer)

    def run_student(x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        return family.predict(wrapped, x, t, told)

    def run_reference(network: nn.Module, x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        return family.predict(network, x, t, told).float()

    def save(now: int) -> str:
        tensors = {**student.state(), **optimizer_state(optimizer, student.parameters)}
        scaler = accelerator.scaler.state_dict() if accelerator.scaler else {}
        facts = {"weights": config.weights, "scaler": scaler}
        name = save_checkpoint(folder / "checkpoints", now, tensors, facts, config.keep_checkpoints)
        if now and config.weights == "lora":
            write_offset(now, f"{OFFSETS}/step-{now}.safetensors")
        return name

    def write_offset(now: int, name: str = OFFSET) -> float:
        low_rank = student.low_rank()
        held = student.held(low_rank)
        provenance = {
            "base": Path(config.base).name,
            "base_fingerprint": base,
            "recipe": config.recipe,
            "steps": str(now),
            "seed": str(config.seed),
            "rank": str(config.rank),
            "weights": config.weights,
            "captured": f"{held:.4f}",
            "settings": json.dumps(
                {k: v for k, v in config.to_dict().items() if k not in ("base", "images_folder", "prompts_file")}
            ),
        }
        (folder / name).parent.mkdir(exist_ok=True)
        save_offset(folder / name, low_rank, family=family.name, provenance=provenance)
        return held

    yield RunStarted(
        **at(step),
        steps=config.steps,
        device=str(device),
        processes=accelerator.num_processes,
        trainable_parameters=sum(parameter.numel() for parameter in student.parameters),
        row_forwards_per_sample=row_forwards_per_sample(config),
        resumed=checkpoint is not None,
    )

    def shared(wish: str | None) -> str | None:
        """The main process's wish, in every process."""
        answer = [wish]
        if accelerator.num_processes > 1:
            broadcast_object_list(answer)
        return answer[0]

    pool, wish = Pool(), None
    if config.start != "noise":
        if main and not (folder / FILE).exists():
            if config.start == "images":
                encode_images(pipe, family, config, texts, size).save(folder / FILE)
            else:

                def run_base(x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
                    on_device = {name: tensor.to(device) for name, tensor in told.items()}
                    with accelerator.autocast():
                        return family.predict(denoiser, x, t, on_device).float()

                done = 0
                with student.pristine():
                    for drawn in draw_pool(run_base, cond, empty, shape, grid, schedule, config, device):
                        if isinstance(drawn, Pool):
                            drawn.save(folder / FILE)
                        elif drawn > done:
                            done = drawn
                            yield PoolProgress(**at(step), done=done, total=len(texts))
                        if wish := stop():
                            break
        wish = shared(wish)
        if wish:
            reason = "while own samples were drawn"
            yield RunPaused(**at(step), reason=reason) if wish == "pause" else RunStopped(**at(step))
            return
        pool = Pool.load(folder / FILE)
    objective = Objective(config, schedule, grid, shape, pool, cond, empty)
    per_step = row_forwards_per_sample(config) * config.batch_size * accelerator.num_processes

    def draw_previews(now: int) -> PreviewSaved | None:
        assert preview is not None
        (folder / "previews").mkdir(exist_ok=True)
        names: dict[str, tuple[str, ...]] = {}
        low_rank = student.low_rank()
        # the base does not change: its pictures are drawn once, and are whole when the first, kept last, is there
        kept = sorted(path.name for path in (folder / "previews").glob("plain-*.png"))
        plain = tuple(f"previews/{name}" for name in kept) if "plain-000.png" in kept else ()
        for kind in ("guided",) if plain else ("plain", "guided"):
            with student.pristine(), torch.no_grad():
                pictures = preview(low_rank, kind)
            if pictures is None:
                return None
            mark = "" if kind == "plain" else f"{now:07d}-"
            names[kind] = tuple(f"previews/{kind}-{mark}{index:03d}.png" for index in range(len(pictures)))
            for name, picture in reversed(list(zip(names[kind], pictures, strict=True))):
                picture.save(folder / f"{name}.tmp", format="PNG")
                os.replace(folder / f"{name}.tmp", folder / name)
        return PreviewSaved(**at(now), plain=names.get("plain", plain), guided=names["guided"])

    saved_at = step if checkpoint else -1
    clock, pace = time.monotonic(), 0.0
    while step < config.steps:
        if wish := shared(stop() if main else None):
            if main and saved_at != step:
                yield CheckpointSaved(**at(step), name=save(step))
            # a paused LoRA can be tried at once; what is held of all weights is computed when the run is stopped
            if main and step and (wish == "stop" or config.weights == "lora"):
                write_offset(step)
            if wish == "pause":
                yield RunPaused(**at(step))
                return
            yield RunStopped(**at(step), offset=OFFSET if step else "")
            return
        rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with student.reference() as network, accelerator.autocast():
            batch = objective.batch(partial(run_reference, network), step, rank, device)
        with accelerator.autocast():
            loss = objective.loss(run_student, batch)
        # the mean over the processes, so that all of them see a fault in one
        value = float(accelerator.reduce(loss.detach().float(), "mean"))
        if not math.isfinite(value):
            raise _no_number("loss", step + 1)
        prepared.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        gradient = float(accelerator.clip_grad_norm_(student.parameters, config.clip_norm))
        # in fp16 the scaler passes over such a step and lowers its scale
        if not math.isfinite(gradient) and config.precision != "fp16":
            raise _no_number("gradient", step + 1)
        prepared.step()
        student.update_reference()
        step += 1
        now = time.monotonic()
        pace = 0.9 * pace + 0.1 / (now - clock) if pace else 1 / (now - clock)
        yield StepDone(
            **at(step),
            loss=value,
            learning_rate=rate,
            gradient_norm=gradient,
            rate=round(pace, 4),
            memory=_memory(device),
        )
        if main and (step % config.checkpoint_every == 0 or step == config.steps):
            yield CheckpointSaved(**at(step), name=save(step))
            saved_at = step
        if main and preview and config.preview_every and (step % config.preview_every == 0 or step == config.steps):
            yield PreviewDue(**at(step))
            if drawn_previews := draw_previews(step):
                yield drawn_previews
        clock = time.monotonic()
    if main:
        held = write_offset(step)
        if config.weights == "full":
            yield Notice(**at(step), message=f"The offset of rank {config.rank} holds {held:.0%} of what was trained.")
    accelerator.wait_for_everyone()
    yield RunFinished(**at(step), offset=OFFSET, row_forwards=per_step * step)


def _no_number(what: str, step: int) -> StudioError:
    return StudioError(
        f"The {what} of step {step} is no number; the weights before it are kept.",
        "Lower the learning rate or choose precision no, and start a new run.",
    )
