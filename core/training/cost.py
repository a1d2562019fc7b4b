"""What a training costs, counted in forwards of one row before it starts. No torch."""

from __future__ import annotations

import math

from core.training.config import TrainConfig


def row_forwards_per_sample(config: TrainConfig) -> float:
    """Cost of one training sample in forwards of one row, with its share of the own samples of one process."""
    spread = row_forwards_of_own_samples(config) / (config.steps * config.batch_size)
    return round(row_forwards_of_step(config) + spread, 2)


def row_forwards_of_step(config: TrainConfig) -> int:
    """Cost of one sample in a training step, in forwards of one row; a backward counts as two.

    Rollout: K steps and the estimate, twice where w mixes two predictions, nothing for stored trajectories.
    Student: 1 forward and its backward, one more forward with gradient checkpointing.
    Fine-tuning: the student alone. Distillation: the base with the negative prompt. Pairs: both pictures, student and base.
    Reward: sampling, with a backward for each of its last steps; decoding and scoring come on top.
    """
    student = 3 + config.gradient_checkpointing
    if config.method in ("pairs", "ranking"):
        return 2 * (student + 1)
    if config.method == "reward":
        each = config.ddim_grid + config.gradient_steps * (student - 1)
        return each * _passes(config.pool_omega)
    if config.method != "self-npo":
        return student + (config.method == "distillation")
    rollout = (config.rollout_steps + 1) * _passes(config.rollout_guidance)
    return student + (0 if config.start == "trajectory" else rollout)


def row_forwards_of_own_samples(config: TrainConfig) -> int:
    """Cost of all own samples, `ddim_grid` sampling steps each: before the first step, or in each round of a ranking."""
    return own_samples(config) * config.ddim_grid * _passes(config.pool_omega)


def own_samples(config: TrainConfig) -> int:
    """How many own samples a run draws."""
    if config.start not in ("own", "trajectory"):
        return 0
    times = config.candidates * math.ceil(config.steps / config.round_steps) if config.method == "ranking" else 1
    return times * config.pool_size


def _passes(guidance: float) -> int:
    """Predictions that one guided prediction takes: one where w leaves only one of the two."""
    return 1 if guidance in (-1.0, 0.0) else 2
