"""Memory of training a LoRA offset on the true architectures, and of rendering, computed without weights and without a card.

    python -m assets.build.memory                  writes assets/memory.json
    python -m assets.build.memory --check sdxl     compares the computation with real steps on this machine's card, or
                                                   where it has none, on its processor

A training step of the real code, a forward of rendering and the decoding of a picture run on tensors that have shapes and
no content, and the bytes of those alive at once are counted. A card needs more than that: the CUDA context, the libraries' workspaces and the
allocator's fragments. `RESERVE` is left free for them where a profile is chosen.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from assets.build.layout import asset
from core.families import detect, get
from core.families.full_size import NAMES, build_denoiser, decode_in_tiles
from core.generation.bench import example_rows
from core.training.config import TrainConfig, recipe
from core.training.student import Student

BATCHES = (1, 2, 4, 8, 16)
CONFIGS = asset("configs")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations made and that are still alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: Any = WeakIdKeyDictionary()

    def add(self, tensor: torch.Tensor) -> None:
        """Counts a tensor's storage once, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        weakref.finalize(storage, self._free, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return made


def without_content(module: nn.Module) -> None:
    """Gives a module made on the meta device tensors of the running fake mode."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                part._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def step_of(denoiser: nn.Module, student: Student, family: Any, config: TrainConfig) -> Callable[[], None]:
    """One training step as the loop takes it: the reference's forward, the student's forward and backward, AdamW."""
    optimizer = torch.optim.AdamW(student.parameters, lr=config.learning_rate)
    x, t, cond = example_rows(denoiser, family.name, config.batch_size)

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16):
            with student.reference() as network, torch.no_grad():
                wanted = family.predict(network, x, t, cond).float()
            loss = (family.predict(denoiser, x, t, cond).float() - wanted).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def trained(name: str, config: TrainConfig, device: str) -> tuple[nn.Module, Student, Any]:
    """The denoiser of a true architecture with its LoRA, as the loop prepares it."""
    family = get(detect(CONFIGS / name))
    denoiser = build_denoiser(name, CONFIGS, dtype=torch.bfloat16, device=device)
    if config.gradient_checkpointing:
        denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
    denoiser.train(config.gradient_checkpointing)
    return denoiser, Student(denoiser, family.lora_targets, config), family


def computed(name: str, config: TrainConfig) -> int:
    """Peak bytes of a step: weights, LoRA, gradients, AdamW's moments and activations."""
    denoiser, student, family = trained(name, config, "meta")
    with FakeTensorMode():
        without_content(denoiser)
        student.parameters = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        counted = LiveBytes()
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            counted.add(tensor)
        with counted:
            step = step_of(denoiser, student, family, config)
            for _ in range(2):  # the moments are there from the first step on
                step()
    return counted.peak


def part_bytes(name: str) -> dict[str, int]:
    """Bytes, in half precision, of the VAE and of each text encoder."""
    import transformers

    modules = {"vae": make_vae(name, torch.bfloat16)}
    with torch.device("meta"):
        for part in get(detect(CONFIGS / name)).parts[1:]:
            config = json.loads((CONFIGS / name / part / "config.json").read_text(encoding="utf-8"))
            kind = getattr(transformers, config["architectures"][0])
            modules[part] = kind(kind.config_class(**config))
    return {part: 2 * sum(parameter.numel() for parameter in module.parameters()) for part, module in modules.items()}


def others(name: str) -> int:
    """Bytes, in bfloat16, of what stays beside the denoiser in training: the VAE, and text encoders that are not freed."""
    parts = part_bytes(name)
    return parts["vae"] if get(detect(CONFIGS / name)).large_text_encoder else sum(parts.values())


def make_vae(name: str, dtype: torch.dtype) -> Any:
    """The VAE of a true architecture on the meta device."""
    import diffusers

    config = json.loads((CONFIGS / name / "vae" / "config.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        return getattr(diffusers, config["_class_name"]).from_config(config).to(dtype).eval()


def decoding(name: str, vae: Any, x: torch.Tensor) -> int:
    """Peak bytes of decoding one picture or video of the size of the latents `x`, and the weights of the VAE."""
    shape = [1, *x.shape[1:]]
    if len(shape) == 5:  # the transformer has frames before channels, the VAE after
        shape[1:3] = shape[2], shape[1]
    with FakeTensorMode():
        without_content(vae)
        latent = torch.empty(shape, dtype=vae.dtype)
        with LiveBytes() as counted, torch.no_grad():
            vae.decode(latent)
    return counted.peak


def preview(name: str, config: TrainConfig) -> int:
    """Peak bytes while a preview is drawn: what training holds between two steps, and the decoding of one picture or
    video, in tiles as the training process does it."""
    denoiser, student, family = trained(name, config, "meta")
    held = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    held += 2 * sum(p.numel() * p.element_size() for p in student.parameters)  # AdamW's moments
    vae = make_vae(name, torch.bfloat16)
    decode_in_tiles(vae)
    return held + decoding(name, vae, example_rows(denoiser, family.name, 1)[0])


def as_if_gated(denoiser: nn.Module, targets: Sequence[str], rank: int) -> None:
    """Lays on each layer what the row gate's hook computes, without the choice of rows, which needs content."""
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(tuple(f".{target}" for target in targets)):
            down = torch.empty(rank, module.in_features, dtype=torch.bfloat16)
            up = torch.empty(module.out_features, rank, dtype=torch.bfloat16)
            module.register_forward_hook(
                lambda module, args, output, down=down, up=up: output + args[0] @ down.T @ up.T  # type: ignore[misc]
            )


def forward_peak(name: str, rows: int) -> int:
    """Peak bytes of a gated forward of rendering, with the denoiser's weights, in half precision."""
    family = get(detect(CONFIGS / name))
    denoiser = build_denoiser(name, CONFIGS, dtype=torch.bfloat16, device="meta")
    with FakeTensorMode():
        without_content(denoiser)
        as_if_gated(denoiser, family.lora_targets, rank=8)
        x, t, cond = example_rows(denoiser, family.name, rows)
        counted = LiveBytes()
        for tensor in (*denoiser.parameters(), *denoiser.buffers()):
            counted.add(tensor)
        with counted, torch.no_grad():
            family.predict(denoiser, x, t, cond)
    return counted.peak


def rendered(name: str) -> dict[str, Any]:
    """Bytes that rendering takes at a model's own size, in half precision: `fixed` for the weights, `row` for each row of a
    forward, `picture` for decoding one picture or video, of SDXL in float32; `tiled`, the same in tiles;
    `largest`, the part that is on the card where parts take turns; `latent`, its frames, height and width."""
    family = get(detect(CONFIGS / name))
    denoiser = build_denoiser(name, CONFIGS, dtype=torch.bfloat16, device="meta")
    x = example_rows(denoiser, family.name, 1)[0]
    two, four = forward_peak(name, 2), forward_peak(name, 4)
    row, parts = (four - two) // 2, part_bytes(name)
    dtype = (
        torch.float32 if name == "sdxl" else torch.bfloat16
    )  # what the family's `decode_latents` makes of a VAE in half
    in_tiles = make_vae(name, dtype)
    decode_in_tiles(in_tiles)
    return {
        "model": name,
        "fixed": two - 2 * row + sum(parts.values()),
        "largest": max(two - 2 * row, *parts.values()),
        "row": row,
        "picture": decoding(name, make_vae(name, dtype), x),
        "tiled": decoding(name, in_tiles, x),
        "latent": [x.shape[1] if x.ndim == 5 else 1, *x.shape[-2:]],
    }


def table() -> Iterator[dict[str, Any]]:
    """Rows of architecture, batch size and gradient checkpointing with the bytes at the peak."""
    for name in NAMES:
        beside = others(name)
        least = preview(name, recipe("studio", precision="bf16"))
        for checkpointing in (False, True):
            for batch in BATCHES:
                config = recipe("studio", batch_size=batch, gradient_checkpointing=checkpointing, precision="bf16")
                row = {"model": name, "batch_size": batch, "gradient_checkpointing": checkpointing}
                yield {**row, "bytes": max(least, computed(name, config)) + beside}


def check(name: str, batch: int, checkpointing: bool) -> dict[str, Any]:
    """The computed peak of a step beside what two real ones with random weights took: of the card's memory what torch
    allocated, of a processor's what this process grew by."""
    config = recipe("studio", batch_size=batch, gradient_checkpointing=checkpointing, precision="bf16")
    predicted = computed(name, config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    process, ended = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    step = step_of(*trained(name, config, device), config)
    began = time.monotonic()
    for _ in range(2):
        step()
    ended.set()
    grown = torch.cuda.max_memory_allocated() if device == "cuda" else peak - before
    return {
        "model": name,
        "device": device,
        "batch_size": batch,
        "gradient_checkpointing": checkpointing,
        "computed_gib": round(predicted / 2**30, 2),
        "measured_gib": round(grown / 2**30, 2),
        "ratio": round(predicted / grown, 3),
        "seconds_a_step": round((time.monotonic() - began) / 2, 1),
    }


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="MODEL", choices=NAMES)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--checkpointing", choices=("off", "on", "both"), default="both", help="gradient checkpointing")
    options = parser.parse_args()
    if options.check:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # else glibc keeps what was freed, and it counts as taken
        for checkpointing in {"off": (False,), "on": (True,), "both": (False, True)}[options.checkpointing]:
            # a process each: what one has freed would hide what the next takes
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(json.dumps(pool.apply(check, (options.check, options.batch, checkpointing))), flush=True)
        return
    rows = []
    for row in table():
        rows.append(row)
        print(json.dumps(row), flush=True)
    rendering = [rendered(name) for name in NAMES]
    print(json.dumps(rendering))
    path = asset("memory.json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        json.dumps({"rank": 8, "precision": "bf16", "rows": rows, "rendering": rendering}, indent=1) + "\n",
        encoding="utf-8",
    )
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
