"""Where random numbers come from: a generator for each use, made from what it is for, drawn on the CPU.

So a resumed run repeats the uninterrupted one exactly, with no random state to keep.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from core.training.config import TrainConfig

CROPS, EPOCHS, DOSE = -1, -2, -3
"""Stand in the place of a process's number, for what is drawn outside of the steps."""


def generator_of(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator of one step of one process."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same on the device; a card gets it from pinned memory, and nobody waits until it has it."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def in_turn(seed: int, first: int, rows: int, count: int) -> Tensor:
    """The places `first` to `first + rows` of an endless walk through `count` things, each once before any comes again, in
    an order of its own each time: (rows,) long."""
    places = torch.arange(first, first + rows)
    orders = {
        epoch: torch.randperm(count, generator=generator_of(seed, epoch, EPOCHS))
        for epoch in range(first // count, (first + rows - 1) // count + 1)
    }
    return torch.stack([orders[place // count][place % count] for place in places.tolist()])


def chosen_rows(config: TrainConfig, turn: int, count: int, random: torch.Generator) -> Tensor:
    """Which start points a batch takes: (batch,) long. `turn` counts batches over all processes."""
    drawn = torch.randint(count, (config.batch_size,), generator=random)
    if config.sampling == "epochs":
        return in_turn(config.seed, turn * config.batch_size, config.batch_size, count)
    return drawn
