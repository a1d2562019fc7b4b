"""Measures guidance with an offset beside what it replaces, in one run: interleaved rounds, ratios, no absolute claims.

The floor is plain guidance: one network, one forward, no offset. The rivals are written from stock parts of diffusers and peft: two
networks and two forwards, which is the official layout, and one network whose adapter is switched between two forwards.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from core.families.attention import attention
from core.families.base import Conditioning, FamilySpec, join
from core.families.compiling import Compilation
from core.families.timing import Way, clock_name, interleaved, peak_bytes, plainly, ratio
from core.method.guidance import GuidanceWeights, guide
from core.offsets.offset import Offset, random_offset
from core.offsets.row_gate import MERGED_BYTES, row_gate

WEIGHTS = GuidanceWeights(omega=2.0, alpha=1.0, beta=1.0)


class Guided:
    """One guided prediction of a batch, in every way that is compared.

    Args:
        negative: delta; alpha = 1, beta = 1.
        images: of the batch, twice as many rows.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        family: FamilySpec,
        negative: Offset,
        rows: tuple[Tensor, Tensor, Conditioning, Conditioning],
    ) -> None:
        negative.check_fits(denoiser)
        self.denoiser, self.family, self.negative = denoiser, family, negative
        self.x, self.t, self.cond, self.empty = rows
        self.both = join(self.empty, self.cond)
        self.x_both, self.t_both = torch.cat([self.x, self.x]), torch.cat([self.t, self.t])

    def plain(self) -> Tensor:
        """Plain guidance: both halves in one forward."""
        low, high = self.family.predict(self.denoiser, self.x_both, self.t_both, self.both).chunk(2)
        return guide(high, low, WEIGHTS.omega)

    @contextmanager
    def gate(self, merged: bool | None = None) -> Iterator[Callable[[], Tensor]]:
        """The same forward behind the row gate."""
        with row_gate(self.denoiser, None, self.negative, merged=merged) as gate:
            gate.set_columns([WEIGHTS], len(self.x))
            yield self.plain

    def two_networks(self) -> Callable[[], Tensor]:
        """A second network with the offset in its weights, and a forward of each: the official layout."""
        other = copy.deepcopy(self.denoiser)
        parameters = dict(other.named_parameters())
        for name, change in self.negative.changes():
            parameters[name].add_(change.to(parameters[name]))

        def predict() -> Tensor:
            low = self.family.predict(other, self.x, self.t, self.empty)
            return guide(self.family.predict(self.denoiser, self.x, self.t, self.cond), low, WEIGHTS.omega)

        return predict

    def switched_adapter(self) -> Callable[[], Tensor] | None:
        """One network with the offset as a LoRA of peft that `set_adapters` turns on and off between two forwards; None where the
        offset is no LoRA."""
        if self.negative.dense or not hasattr(self.denoiser, "add_adapter"):
            return None
        other: Any = copy.deepcopy(self.denoiser)
        ranks = {name: layer.rank for name, layer in self.negative.low_rank.items()}
        config = LoraConfig(r=1, lora_alpha=1, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=ranks)
        other.add_adapter(config, adapter_name="delta")
        modules = dict(other.named_modules())
        for name, layer in self.negative.low_rank.items():
            modules[name].lora_A["delta"].weight.copy_(layer.down)
            modules[name].lora_B["delta"].weight.copy_(layer.up)

        def predict() -> Tensor:
            other.set_adapters(["delta"], [1.0])
            low = self.family.predict(other, self.x, self.t, self.empty)
            other.set_adapters(["delta"], [0.0])
            return guide(self.family.predict(other, self.x, self.t, self.cond), low, WEIGHTS.omega)

        return predict

    @contextmanager
    def compiled(self, compilation: Compilation, gated: bool) -> Iterator[Callable[[], Tensor]]:
        """Plain guidance, or the row gate, with compiled blocks."""
        with compilation.within():
            if not gated:
                yield self.plain
                return
            with self.gate() as predict:
                yield predict


def example_of(pipe: Any, family: FamilySpec, images: int) -> tuple[Tensor, Tensor, Conditioning, Conditioning]:
    """x_t, t, the prompt's and the empty conditioning of a batch of so many images at the model's own size."""
    parameter = next(family.denoiser(pipe).parameters())
    shape = family.latent_shape(pipe, family.defaults(pipe).size)
    x = torch.randn((images, *shape), generator=torch.Generator().manual_seed(0)).to(parameter)
    t = torch.full((images,), 500, device=parameter.device)
    cond = family.encode_prompt(pipe, ["a"] * images)
    return x, t, cond, family.encode_prompt(pipe, [""] * images, negative=True)


@torch.no_grad()
def bench_guidance(guided: Guided, *, rounds: int = 15, threads: int = 1, compiled: bool = False) -> dict[str, Any]:
    """One guided prediction, in all ways.

    Args:
        rounds: each way is timed once in each round, in turn.
        threads: of a processor; 0 leaves what torch chose.
        compiled: with compiled blocks, too; compiling takes minutes on a processor.

    Returns:
        for each way: median ratio of its time to plain guidance with 5 and 95 % quantiles, ratio of the bytes of weights, the largest
        difference from two networks; beside them what a move of a slider takes.
    """
    if threads:
        torch.set_num_threads(threads)
    denoiser, negative = guided.denoiser, guided.negative
    own = next(denoiser.parameters())
    base = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    changed = sum(change.numel() * own.element_size() for _, change in negative.changes())
    small = base <= MERGED_BYTES
    ways: dict[str, Way] = {"plain guidance": plainly(guided.plain), "row gate": guided.gate}
    extra = {"plain guidance": 0, "row gate": negative.numel() * own.element_size() + (changed if small else 0)}
    if small:  # what the rule chose against; of a large network it would be a second one
        ways["row gate, low rank"] = lambda: guided.gate(merged=False)
        extra["row gate, low rank"] = negative.numel() * own.element_size()
    ways["two networks"], extra["two networks"] = plainly(guided.two_networks()), base
    if switched := guided.switched_adapter():
        ways["set_adapters"], extra["set_adapters"] = plainly(switched), negative.numel() * own.element_size()
    faults = []
    if compiled:
        compilation = Compilation(denoiser)
        compilation.take_out()
        for name, gated in (("plain guidance, compiled", False), ("row gate, compiled", True)):
            ways[name] = lambda gated=gated: guided.compiled(compilation, gated)  # type: ignore[misc]
            extra[name] = extra["row gate"] if gated else 0
        faults.append(compilation)
    began = time.monotonic()
    times, results = interleaved(ways, rounds, own.device, warm_up=2)
    rows = [
        {
            "way": name,
            "time": ratio(times[name], times["plain guidance"]),
            "weights": round((base + extra[name]) / base, 3),
            "difference": None
            if name.startswith("plain")
            else float((results[name] - results["two networks"]).abs().max()),
            "milliseconds": round(1000 * statistics.median(times[name]), 2),
        }
        for name in ways
    ]
    return {
        "floor": "plain guidance",
        "rival": "two networks",
        "device": str(own.device),
        "precision": str(own.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "clock": clock_name(own.device),
        "rounds": rounds,
        "batch_rows": 2 * len(guided.x),
        "merged": small,
        "rule": f"changed weights are kept for networks of at most {MERGED_BYTES / 2**20:.0f} MiB; this one has {base / 2**20:.0f} MiB",
        "slider_milliseconds": _slider(guided),
        "compile_fault": next((str(fault) for one in faults if (fault := one.fault())), ""),
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
    }


def _slider(guided: Guided, moves: int = 50) -> float:
    """Milliseconds from a slider's new value until the next forward may begin: the median of some moves."""
    taken = []
    with row_gate(guided.denoiser, None, guided.negative) as gate:
        for move in range(moves):
            began = time.perf_counter()
            gate.set_columns([GuidanceWeights(omega=2.0, beta=1.0 + move / 1000)], len(guided.x))
            gate.before_forward(guided.denoiser, (guided.x_both, guided.t_both), {})
            taken.append(time.perf_counter() - began)
    return round(1000 * statistics.median(taken), 3)


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
    implementations: dict[str, str] = {}

    def way(name: str) -> Way:
        @contextmanager
        def put() -> Iterator[Callable[[], Tensor]]:
            with attention(denoiser, name) as implementations[name]:
                yield lambda: family.predict(denoiser, x, t, cond)

        return put

    times, outputs = interleaved({name: way(name) for name in names}, rounds, parameter.device, warm_up=2)
    first = names[0]
    return {
        name: {
            "in_place": implementations[name],
            f"time_over_{first}": ratio(times[name], times[first]),
            "largest_difference": float((outputs[name] - outputs[first]).abs().max()),
        }
        for name in times
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
    """Seconds of a row-forward of a denoiser with random weights at its own size, the memory it takes, and, where the rows are even
    (half negative, half positive), what a row gate with a random offset takes beside it.

    Args:
        rows: of one forward.
        rounds: each way is timed once in each round, in turn, after one to warm up.
        rank: of the offset.
    """
    parameter = next(denoiser.parameters())
    x, t, cond = example_rows(denoiser, family.name, rows)

    def plain() -> Tensor:
        return family.predict(denoiser, x, t, cond)

    @contextmanager
    def gated() -> Iterator[Callable[[], Tensor]]:
        with row_gate(denoiser, None, offset) as gate:
            gate.set_columns([WEIGHTS], rows // 2)
            yield plain

    ways: dict[str, Way] = {"plain": plainly(plain)}
    if rows % 2 == 0:
        offset = random_offset(denoiser, family.lora_targets, rank=rank)
        ways["gate"] = gated
    times, _ = interleaved(ways, rounds, parameter.device)
    weights = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    peak = peak_bytes(parameter.device)
    measured = {
        "device": str(parameter.device),
        "threads": torch.get_num_threads(),
        "clock": clock_name(parameter.device),
        "parameters": sum(p.numel() for p in denoiser.parameters()),
        "weights_gib": round(weights / 2**30, 2),
        "peak_gib": None if peak is None else round(peak / 2**30, 2),
        "latent": list(x.shape[1:]),
        "rows": rows,
        "seconds_a_row_forward": round(statistics.median(times["plain"]) / rows, 4),
        "slowest": round(max(times["plain"]) / rows, 4),
        "rounds": rounds,
    }
    if "gate" in times:
        measured |= {"rank": rank, "row_gate_time_over_plain": ratio(times["gate"], times["plain"])}
    return measured


@torch.no_grad()
def bench_sweep(
    pipe: Any, family: FamilySpec, negative: Offset, *, columns: Sequence[int], rounds: int = 5
) -> dict[str, Any]:
    """What a picture costs as columns grow: one forward of so many columns of one image behind the row gate, by picture.

    Args:
        columns: how many columns, the first is the floor.
    """
    denoiser = family.denoiser(pipe)
    own = next(denoiser.parameters())

    def way(count: int) -> Way:
        x, t, cond, empty = example_of(pipe, family, count)
        both, x, t = join(empty, cond), torch.cat([x, x]), torch.cat([t, t])
        settings = [GuidanceWeights(omega=2.0, beta=number / max(1, count - 1)) for number in range(count)]

        @contextmanager
        def laid() -> Iterator[Callable[[], Tensor]]:
            with row_gate(denoiser, None, negative) as gate:
                gate.set_columns(settings, 1)
                yield lambda: family.predict(denoiser, x, t, both)

        return laid

    times, _ = interleaved({str(count): way(count) for count in columns}, rounds, own.device)
    each = {count: [taken / count for taken in times[str(count)]] for count in columns}
    return {
        "floor": f"{columns[0]} columns",
        "rival": "as many renderings of one column",
        "device": str(own.device),
        "clock": clock_name(own.device),
        "rounds": rounds,
        "rows": [
            {
                "way": f"{count} columns",
                "time": ratio(each[count], each[columns[0]]),
                "milliseconds": round(1000 * statistics.median(each[count]), 2),
            }
            for count in columns
        ],
    }
