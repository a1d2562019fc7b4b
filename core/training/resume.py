"""What makes a resumed run the same run: its settings, its base, its texts, and the optimiser's state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import StudioError
from core.files import write_json
from core.training.config import TrainConfig

START = "start.json"


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
        write_json(path, config.to_dict())
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        begun = TrainConfig.from_dict(stored).to_dict()
    except (OSError, ValueError, TypeError) as error:
        raise StudioError("The run's settings are damaged.", "Start a new run.") from error
    now = config.to_dict()
    changed = [f"{name} {begun[name]!r} → {value!r}" for name, value in now.items() if begun[name] != value]
    if changed:
        raise StudioError(
            "The run was started with other settings: {changes}.",
            "Resume with its own settings, or start a new run.",
            changes="; ".join(changed[:6]),
        )


def fixed_texts(folder: Path, base: str, choose: Callable[[], list[str]]) -> list[str]:
    """The texts of the run's start points: chosen once, so that a file of prompts may change behind a run.

    Args:
        base: fingerprint of the base model, kept beside them.

    Raises:
        StudioError: the base is not the one that the run began with.
    """
    path = folder / START
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            began_with, texts = stored["base"], [str(text) for text in stored["texts"]]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StudioError("The run's list of prompts is damaged.", "Start a new run.") from error
        if began_with != base:
            raise StudioError(
                "The base model has changed since the run began.", "Restore the earlier model, or start a new run."
            )
        return texts
    texts = choose()
    write_json(path, {"base": base, "texts": texts}, indent=None)
    return texts


def optimizer_state(optimizer: Any, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """AdamW's state by name and by the parameter's place."""
    return {
        f"{name}.{index}": value.detach().cpu().clone().reshape(value.shape or (1,))
        for index, parameter in enumerate(parameters)
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(optimizer: Any, parameters: Sequence[nn.Parameter], tensors: dict[str, Tensor]) -> None:
    """Puts back what `optimizer_state` gave."""
    for index, parameter in enumerate(parameters):
        if f"step.{index}" in tensors:
            optimizer.state[parameter] = {
                "step": tensors[f"step.{index}"].reshape(()),
                "exp_avg": tensors[f"exp_avg.{index}"].to(parameter),
                "exp_avg_sq": tensors[f"exp_avg_sq.{index}"].to(parameter),
            }
