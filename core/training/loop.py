"""The training loop: an iterator of typed events over a run folder. The caller draws the bar and writes the journal.

To resume is to call it again: it goes on from the newest whole checkpoint, with losses identical to the
uninterrupted run's on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
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
from core.families.base import FamilySpec
from core.method.schedule import NoiseSchedule, ddim_grid
from core.offsets.low_rank import LowRank
from core.offsets.offset import save_offset
from core.training.checkpoints import load_newest, save_checkpoint
from core.training.config import TrainConfig, row_forwards_per_sample
from core.training.objective import Objective
from core.training.pool import FILE, Pool, draw_pool, encode_images, read_captioned_images
from core.training.student import Student

OFFSET = "offset.safetensors"
Preview = Callable[[LowRank, str], list[Image.Image]]
"""(offset so far, "plain" or "guided") -> pictures at the run's preview prompts and seeds, on the pristine base."""


def fingerprint(module: nn.Module) -> str:
    """A hash of all weights, to know a base model again."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same_run(folder: Path, config: TrainConfig) -> None:
    """Keeps the settings in the run folder, or compares with those kept.

    Raises:
        StudioError: the run was begun with other settings; says which.
    """
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
    now = config.to_dict()
    changed = [f"{name} {kept.get(name)!r} → {value!r}" for name, value in now.items() if kept.get(name) != value]
    if changed:
        raise StudioError(
            f"The run was begun with other settings: {'; '.join(changed[:6])}.",
            "Resume with the settings it has, or start a new run.",
        )


def _optimizer_state(optimizer: Any, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    state = optimizer.state
    return {
        f"{name}.{index}": value.detach().cpu().clone().reshape(value.shape or (1,))
        for index, parameter in enumerate(parameters)
        for name, value in state.get(parameter, {}).items()
    }


def _load_optimizer(optimizer: Any, parameters: Sequence[nn.Parameter], tensors: dict[str, Tensor]) -> None:
    for index, parameter in enumerate(parameters):
        if f"step.{index}" in tensors:
            optimizer.state[parameter] = {
                "step": tensors[f"step.{index}"].reshape(()),
                "exp_avg": tensors[f"exp_avg.{index}"].to(parameter),
                "exp_avg_sq": tensors[f"exp_avg_sq.{index}"].to(parameter),
            }


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


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
        prompts: texts to train with; not needed for start = images.
        stop: asked every step: None, "pause" or "stop".
        preview: draws previews; None draws none.
        cpu: stay on the CPU.

    Raises:
        StudioError: what a person must know: settings that changed, a full disk, a loss that is no number.
    """
    began = time.monotonic()
    accelerator = Accelerator(mixed_precision=config.precision, cpu=cpu)
    main, rank, device = accelerator.is_main_process, accelerator.process_index, accelerator.device
    if main:
        check_same_run(folder, config)
    accelerator.wait_for_everyone()

    def at(step: int) -> dict[str, Any]:
        return {"step": step, "elapsed": round(time.monotonic() - began, 3)}

    pipe.to(device)
    denoiser = family.denoiser(pipe)
    base = fingerprint(denoiser)
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler).to(device)
    standard = family.defaults(pipe)
    height, width = config.height or standard.height, config.width or standard.width
    shape = family.latent_shape(pipe, height, width)
    grid = ddim_grid(schedule.timesteps, config.ddim_grid, spacing=pipe.scheduler.config.timestep_spacing)

    files: list[Path] = []
    if config.start == "images":
        captioned = read_captioned_images(Path(config.images_folder), config.pool_size)
        files, texts = [path for path, _ in captioned], [text for _, text in captioned]
    elif prompts:
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(config.seed)).tolist()
        texts = [prompts[order[i % len(order)]] for i in range(config.pool_size)]
    else:
        raise StudioError("There are no prompts to train with.", "Name a text file with one prompt a line.")
    unique = list(dict.fromkeys(texts))
    encoded = [family.encode_prompt(pipe, unique[i : i + 32]) for i in range(0, len(unique), 32)]
    table = {name: torch.cat([part[name].cpu() for part in encoded]) for name in encoded[0]}
    place = {text: i for i, text in enumerate(unique)}
    cond = {name: tensor[[place[text] for text in texts]] for name, tensor in table.items()}
    empty = {name: tensor.cpu() for name, tensor in family.encode_prompt(pipe, [""]).items()}

    if config.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    # dropout and the like would make the reference random; a denoiser in training mode is needed for checkpointing
    denoiser.train(config.gradient_checkpointing)
    student = Student(denoiser, family.lora_targets, config)
    optimizer = torch.optim.AdamW(
        student.parameters, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=config.weight_decay
    )
    step, row_forwards = 0, 0.0
    checkpoint, damaged = load_newest(folder / "checkpoints")
    if damaged:
        went = f"goes on from {checkpoint.name}" if checkpoint else "begins anew"
        yield Notice(**at(0), message=f"Checkpoint {', '.join(damaged)} is damaged; the run {went}.")
    if checkpoint:
        if checkpoint.facts["base"] != base:
            raise StudioError(
                "The base model has changed since the run began.", "Put the former model back, or start a new run."
            )
        step = int(checkpoint.facts["step"])
        student.load_state(checkpoint.tensors)
        _load_optimizer(optimizer, student.parameters, checkpoint.tensors)
    wrapped, prepared = accelerator.prepare(denoiser, optimizer)

    def run_student(x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        return family.predict(wrapped, x, t, told)

    def run_reference(network: nn.Module, x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
        return family.predict(network, x, t, told).float()

    def save(now: int) -> str:
        tensors = {**student.state(), **_optimizer_state(optimizer, student.parameters)}
        return save_checkpoint(
            folder / "checkpoints", now, tensors, {"base": base, "weights": config.weights}, config.keep_checkpoints
        )

    def write_offset(now: int) -> None:
        provenance = {
            "base": Path(config.base).name,
            "base_fingerprint": base,
            "recipe": config.recipe,
            "steps": str(now),
            "seed": str(config.seed),
            "rank": str(config.rank),
            "weights": config.weights,
            "captured": f"{student.captured():.4f}",
            "settings": json.dumps(
                {k: v for k, v in config.to_dict().items() if k not in ("base", "images_folder", "prompts_file")}
            ),
        }
        save_offset(folder / OFFSET, student.low_rank(), family=config.family, provenance=provenance)

    yield RunStarted(
        **at(step),
        steps=config.steps,
        device=str(device),
        processes=accelerator.num_processes,
        trainable_parameters=sum(parameter.numel() for parameter in student.parameters),
        row_forwards_per_sample=row_forwards_per_sample(config),
        resumed=checkpoint is not None,
    )

    def decided() -> str | None:
        answer = [stop() if main else None]
        if accelerator.num_processes > 1:
            broadcast_object_list(answer)
        return answer[0]

    pool = Pool()
    if config.start == "images":
        pool = encode_images(pipe, family, files, height, width)
    elif config.start != "noise":
        if main and not (folder / FILE).exists():

            def run_base(x: Tensor, t: Tensor, told: dict[str, Tensor]) -> Tensor:
                on_device = {name: tensor.to(device) for name, tensor in told.items()}
                with accelerator.autocast():
                    return family.predict(denoiser, x, t, on_device).float()

            with student.pristine():
                for drawn in draw_pool(run_base, cond, empty, shape, grid, schedule, config, device):
                    if isinstance(drawn, Pool):
                        drawn.save(folder / FILE)
                    else:
                        yield PoolProgress(**at(step), done=drawn, total=len(texts))
                        if stop() and accelerator.num_processes == 1:
                            yield RunPaused(**at(step), reason="while own samples were drawn")
                            return
        accelerator.wait_for_everyone()
        pool = Pool.load(folder / FILE)
    objective = Objective(config, schedule, grid, shape, pool, cond, empty)
    per_step = row_forwards_per_sample(config) * config.batch_size * accelerator.num_processes

    def draw_previews(now: int) -> PreviewSaved:
        assert preview is not None
        (folder / "previews").mkdir(exist_ok=True)
        names: dict[str, tuple[str, ...]] = {}
        low_rank = student.low_rank()
        for kind in ("plain", "guided"):
            with student.pristine(), torch.no_grad():
                pictures = preview(low_rank, kind)
            names[kind] = tuple(f"previews/{kind}-{now:07d}-{index}.png" for index in range(len(pictures)))
            for name, picture in zip(names[kind], pictures, strict=True):
                picture.save(folder / name)
        return PreviewSaved(**at(now), plain=names["plain"], guided=names["guided"])

    saved_at = step if checkpoint else -1
    clock, pace = time.monotonic(), 0.0
    while step < config.steps:
        wish = decided()
        if wish:
            if main and saved_at != step:
                yield CheckpointSaved(**at(step), name=save(step))
            if wish == "pause":
                yield RunPaused(**at(step))
                return
            if main and step:
                write_offset(step)
            yield RunStopped(**at(step), offset=OFFSET if step else "")
            return
        rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with student.reference() as network, accelerator.autocast():
            batch = objective.batch(partial(run_reference, network), step, rank, device)
        with accelerator.autocast():
            loss = objective.loss(run_student, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise StudioError(
                f"The loss of step {step + 1} is no number; the weights before it are kept.",
                "Lower the learning rate or choose precision no, and start a new run.",
            )
        prepared.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        gradient = float(accelerator.clip_grad_norm_(student.parameters, config.clip_norm))
        if not math.isfinite(gradient) and config.precision != "fp16":
            raise StudioError(
                f"The gradient of step {step + 1} is no number; the weights before it are kept.",
                "Lower the learning rate or choose precision no, and start a new run.",
            )
        prepared.step()
        student.update_reference()
        step += 1
        row_forwards += per_step
        if accelerator.num_processes > 1:
            value = float(accelerator.reduce(torch.tensor(value, device=device), "mean"))
        now = time.monotonic()
        pace = 0.9 * pace + 0.1 / (now - clock) if pace else 1 / (now - clock)
        clock = now
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
            yield draw_previews(step)
        clock = time.monotonic()
    if main:
        write_offset(step)
    accelerator.wait_for_everyone()
    yield RunFinished(**at(step), offset=OFFSET, row_forwards=row_forwards)
