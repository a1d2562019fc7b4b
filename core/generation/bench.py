"""Measures the row gate against the two things it replaces, in one run: interleaved rounds, ratios, no absolute claims."""

from __future__ import annotations

import copy
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from core.families.attention import attention
from core.families.base import Conditioning, FamilySpec, join
from core.method.guidance import GuidanceWeights, guide
from core.offsets.offset import Offset, random_offset
from core.offsets.row_gate import row_gate


@torch.no_grad()
def bench_guidance(
    pipe: Any, family: FamilySpec, negative: Offset, *, rounds: int = 15, images: int = 4, threads: int = 1
) -> dict[str, Any]:
    """One guided prediction of a batch, three ways: plain guidance, the row gate, two networks.

    Args:
        negative: delta; alpha = 1, beta = 1.
        rounds: each way is timed once in each round, in turn.
        images: images of a batch, twice as many rows.

    Returns:
        median ratios of time to plain guidance with their 5 and 95 % quantiles, ratios of the bytes of weights held,
        and the largest difference between the row gate and the two networks.
    """
    torch.set_num_threads(threads)
    denoiser = family.denoiser(pipe)
    negative.check_fits(denoiser)
    parameter = next(denoiser.parameters())
    standard = family.defaults(pipe)
    shape = family.latent_shape(pipe, standard.size)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((images, *shape), generator=generator).to(parameter)
    t = torch.full((images,), 500, device=parameter.device)
    cond = family.encode_prompt(pipe, ["a"] * images)
    empty = family.encode_prompt(pipe, [""] * images, negative=True)
    both, x_both, t_both = join(empty, cond), torch.cat([x, x]), torch.cat([t, t])
    weights = GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)

    other = copy.deepcopy(denoiser)
    parameters = dict(other.named_parameters())
    for name, change in negative.changes():
        parameters[name].add_(change.to(parameter))

    def plain() -> torch.Tensor:
        low, high = family.predict(denoiser, x_both, t_both, both).chunk(2)
        return guide(high, low, weights.omega)

    def two_networks() -> torch.Tensor:
        low = family.predict(other, x, t, empty)
        return guide(family.predict(denoiser, x, t, cond), low, weights.omega)

    times: dict[str, list[float]] = {"plain": [], "gate": [], "two": []}
    difference = 0.0
    for turn in range(rounds + 2):
        for name in times:
            if name == "gate":
                with row_gate(denoiser, None, negative) as gate:
                    gate.set_columns([weights], images)
                    began = _finished(parameter.device)
                    result = plain()
                    ended = _finished(parameter.device)
            else:
                began = _finished(parameter.device)
                result = plain() if name == "plain" else two_networks()
                ended = _finished(parameter.device)
            if name == "gate":
                gated = result
            elif name == "two":
                difference = max(difference, float((gated - result).abs().max()))
            if turn >= 2:  # two rounds to warm up
                times[name].append(ended - began)

    base = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    extra = negative.numel() * parameter.element_size()
    return {
        "rounds": rounds,
        "rows": 2 * images,
        "device": str(parameter.device),
        "threads": threads,
        "row_gate_time_over_plain": _ratio(times["gate"], times["plain"]),
        "two_networks_time_over_plain": _ratio(times["two"], times["plain"]),
        "row_gate_weights_over_plain": round((base + extra) / base, 3),
        "two_networks_weights_over_plain": 2.0,
        "largest_difference": difference,
        "plain_milliseconds": round(1000 * statistics.median(times["plain"]), 2),
    }


@torch.no_grad()
def bench_attention(
    pipe: Any, family: FamilySpec, names: Sequence[str], *, rounds: int = 15, images: int = 4, threads: int = 1
) -> dict[str, Any]:
    """One forward of a guided batch with each implementation of attention, interleaved.

    Args:
        names: of `core.families.attention.CHOICES`; the first is what the others are compared with.
        rounds: each is timed once in each round, in turn.

    Returns:
        for each: what was in place, the median ratio of its time to the first with 5 and 95 % quantiles, and the largest
        difference of its output from the first's.

    Raises:
        StudioError: one of them is missing here, or this model has no such form.
    """
    torch.set_num_threads(threads)
    denoiser = family.denoiser(pipe)
    parameter = next(denoiser.parameters())
    shape = family.latent_shape(pipe, family.defaults(pipe).size)
    x = torch.randn((2 * images, *shape), generator=torch.Generator().manual_seed(0)).to(parameter)
    t = torch.full((2 * images,), 500, device=parameter.device)
    cond = family.encode_prompt(pipe, ["a"] * 2 * images)
    times: dict[str, list[float]] = {name: [] for name in names}
    outputs: dict[str, torch.Tensor] = {}
    implementations: dict[str, str] = {}
    for turn in range(rounds + 2):
        for name in times:
            with attention(denoiser, name) as implementations[name]:
                began = _finished(parameter.device)
                outputs[name] = family.predict(denoiser, x, t, cond)
                ended = _finished(parameter.device)
            if turn >= 2:  # two rounds to warm up
                times[name].append(ended - began)
    first = names[0]
    return {
        name: {
            "in_place": implementations[name],
            f"time_over_{first}": _ratio(times[name], times[first]),
            "largest_difference": float((outputs[name] - outputs[first]).abs().max()),
        }
        for name in times
    }


def _finished(device: torch.device) -> float:
    """The time when everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _ratio(times: list[float], plain: list[float]) -> dict[str, float]:
    """The median of the rounds' ratios, and their 5 and 95 % quantiles."""
    pairs = sorted(a / b for a, b in zip(times, plain, strict=True))
    return {
        "median": round(statistics.median(pairs), 3),
        "low": round(pairs[int(0.05 * (len(pairs) - 1))], 3),
        "high": round(pairs[int(0.95 * (len(pairs) - 1))], 3),
    }


def example_rows(denoiser: Any, family: str, rows: int) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """Random x_t, t and conditioning of a denoiser of a true architecture, at its own size.

    Args:
        family: for the conditioning's shapes.
    """
    config, parameter = denoiser.config, next(denoiser.parameters())
    make = {"dtype": parameter.dtype, "device": parameter.device}
    if family == "cogvideox":
        frames = (config.sample_frames - 1) // config.temporal_compression_ratio + 1
        x = torch.randn(rows, frames, config.in_channels, config.sample_height, config.sample_width, **make)
        cond = {"encoder_hidden_states": torch.randn(rows, config.max_text_seq_length, config.text_embed_dim, **make)}
    else:
        x = torch.randn(rows, config.in_channels, config.sample_size, config.sample_size, **make)
        cond = {"encoder_hidden_states": torch.randn(rows, 77, config.cross_attention_dim, **make)}
        if family == "sdxl":
            pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            cond |= {"text_embeds": torch.randn(rows, pooled, **make), "time_ids": torch.ones(rows, 6, **make)}
    return x, torch.full((rows,), 500, device=parameter.device), cond


@torch.no_grad()
def bench_rows(denoiser: Any, family: FamilySpec, *, rows: int, rounds: int, rank: int = 8) -> dict[str, Any]:
    """Seconds of a row-forward of a denoiser with random weights at its own size, the memory it takes, and, where the rows
    are even (half negative, half positive), what a row gate with a random offset takes beside it.

    Args:
        rows: of one forward.
        rounds: each way is timed once in each round, in turn, after one to warm up.
        rank: of the offset.
    """
    parameter = next(denoiser.parameters())
    x, t, cond = example_rows(denoiser, family.name, rows)
    cuda = parameter.device.type == "cuda"

    def seconds() -> float:
        began = time.perf_counter()
        family.predict(denoiser, x, t, cond)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    times: dict[str, list[float]] = {"plain": [], "gate": []}
    offset = random_offset(denoiser, family.lora_targets, rank=rank) if rows % 2 == 0 else None
    for turn in range(rounds + 1):
        measured = {"plain": seconds()}
        if offset:
            with row_gate(denoiser, None, offset) as gate:
                gate.set_columns([GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)], rows // 2)
                measured["gate"] = seconds()
        if turn:
            for way, taken in measured.items():
                times[way].append(taken)
    weights = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    measured_now = {
        "device": str(parameter.device),
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "weights_gib": round(weights / 2**30, 2),
        "peak_gib": round(peak / 2**30, 2),
        "latent": list(x.shape[1:]),
        "rows": rows,
        "seconds_a_row_forward": round(statistics.median(times["plain"]) / rows, 4),
        "slowest": round(max(times["plain"]) / rows, 4),
        "rounds": rounds,
    }
    if offset:
        measured_now |= {"rank": rank, "row_gate_time_over_plain": _ratio(times["gate"], times["plain"])}
    return measured_now
