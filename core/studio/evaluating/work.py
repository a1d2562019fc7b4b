"""The work of an evaluation: guidance measured on a few prompts, then chunk by chunk rendered and scored.

Heavy imports happen inside. Several processes may work on one folder: each takes the next chunk that no other process holds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import StudioError
from core.files import whole_file, write_json
from core.studio.evaluating.distribution import keep_reference
from core.studio.evaluating.events import ChunkDone, EvaluationEvent, Measured
from core.studio.evaluating.folder import Evaluation
from core.studio.evaluating.scorers import default_scorers, load
from core.studio.evaluating.settings import NPO, OWN, RANDOM_SEED, Column, EvaluationSettings, columns_of, offsets_of
from core.studio.library.choose import family_of_base, find_base, find_offset
from core.studio.locks import holding, waiting_for
from core.studio.workspace import Workspace

RANDOM = "\0random"
"""The key of the random control among the offsets; no file has this name."""


@dataclass
class Parts:
    """What rendering needs: the pipeline with its offsets, on its device."""

    pipe: Any
    family: Any
    offsets: dict[str, Any]
    """By name; "" is none, `RANDOM` the control."""


def shard_of(text: str) -> tuple[int, int]:
    """The share that “3/16” names: (2, 16). Counted from 1.

    Raises:
        StudioError: it is not a share.
    """
    part, mark, parts = text.partition("/")
    if mark and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts) <= 100_000:
        return int(part) - 1, int(parts)
    raise StudioError("“{text}” is not a valid shard.", "Write for example 3/16.", text=text[:40])


def device_of(*, cpu: bool = False, rank: int = 0) -> str:
    """Where this process renders: its own card where there are several, as `accelerate launch` numbers them."""
    import torch

    if cpu or not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        return "cpu"
    return f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "mps"


def load_parts(workspace: Workspace, settings: EvaluationSettings, device: str) -> Parts:
    """The pipeline of an evaluation with its offsets and the random control, on a device."""
    import torch

    from core.families import get
    from core.studio.library.load import load_base, load_offset

    base = find_base(workspace, settings.base)
    family = get(family_of_base(base))
    pipe = load_base(base, dtype=torch.float16 if device.startswith("cuda") else torch.float32, device=device)

    def offset(name: str) -> Any:
        path = find_offset(workspace, name)
        return None if path is None else load_offset(path, family.name, family.denoiser(pipe))

    offsets = {name: offset(name) for name in offsets_of(settings)}
    own = offsets.get(settings.negative)
    offsets[RANDOM] = own.random_like(RANDOM_SEED) if own is not None else None
    return Parts(pipe, family, offsets)


def render_prompts(
    loaded: Parts,
    settings: EvaluationSettings,
    columns: Sequence[Column],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> dict[str, list[Any]]:
    """Frames of each prompt under each column, by the column's name. Columns that share ω and offset share forwards."""
    from core.generation import limits
    from core.generation.comparison import Comparison
    from core.generation.rendering import Texts, render

    family, pipe = loaded.family, loaded.pipe
    size = family.defaults(pipe).size.with_chosen(settings.height, settings.width, settings.frames)
    cond = family.encode_prompt(pipe, list(prompts), size)
    frames: dict[str, list[Any]] = {}
    for members in _groups(columns, settings, limits.IMAGES // len(prompts)):
        shared = {name: members[0].value(name, settings) for name in OWN}
        comparison = Comparison(
            prompt="",
            seeds=tuple(seeds),
            columns=tuple(column.weights for column in members),
            steps=shared["steps"],
            scheduler=shared["scheduler"],
            height=settings.height,
            width=settings.width,
            frames=settings.frames,
        )
        away = family.encode_prompt(pipe, [shared["negative_prompt"]] * len(prompts), size, negative=True)
        # the rendering's rows are column by column, seed by seed: every column repeats all prompts
        texts = Texts(_repeated(cond, len(members)), _repeated(away, len(members)))
        chosen = next((column for column in members if column.offset), None)
        name = "" if chosen is None else RANDOM if chosen.offset == "random" else shared["negative"]
        offsets = {"positive": loaded.offsets[shared["positive"]], "negative": loaded.offsets[name] if name else None}
        for image in render(pipe, family, comparison, texts=texts, **offsets):
            frames.setdefault(members[image.column].name, []).append(image.frames)
    return frames


def _groups(columns: Sequence[Column], settings: EvaluationSettings, most: int) -> list[list[Column]]:
    """Columns that are rendered together, at most so many: of one ω, the same offsets and settings of `OWN`. Plain columns
    change nothing in the negative weights, so they ride along with the setting's own offset."""
    groups: dict[tuple[Any, ...], list[Column]] = {}
    for column in columns:
        key = (column.weights.omega, column.offset == "random", *(column.value(name, settings) for name in OWN))
        groups.setdefault(key, []).append(column)
    return [group[at : at + most] for group in groups.values() for at in range(0, len(group), max(1, most))]


def _repeated(cond: Any, times: int) -> Any:
    import torch

    return {name: torch.cat([tensor] * times) for name, tensor in cond.items()}


def measure(
    loaded: Parts, settings: EvaluationSettings, columns: Sequence[Column], prompts: Sequence[str]
) -> dict[str, Any]:
    """Guidance on these prompts of each column of two rows: step by step, the effective ω and the dose."""
    from core.evaluation.diagnostics import measuring

    facts: dict[str, Any] = {}
    for column in columns:
        if not column.weights.omega or not column.weights.is_two_rows:
            continue  # nothing to measure, or predictions that are not laid out as the two of plain guidance
        with measuring(loaded.family.denoiser(loaded.pipe), column.weights.omega) as meter:
            for number, prompt in enumerate(prompts):
                render_prompts(loaded, settings, [column], [prompt], [settings.seed + number])
        facts[column.name] = {
            "effective_omega": round(meter.effective_omega, 4),
            "dose": round(meter.dose, 5),
            "steps": [
                {
                    "level": round(step.level, 2),
                    "cosine": round(step.cosine, 5),
                    "deviation_ratio": round(step.deviation_ratio, 5),
                    "dose": round(step.dose, 5),
                    "effective_scale": round(step.effective_scale, 4),
                }
                for step in meter.by_level()
            ],
        }
    return facts


def _probed(evaluation: Evaluation, settings: EvaluationSettings, loaded: Callable[[], Parts]) -> dict[str, Any]:
    """What was measured before the first chunk; by one process, the others wait for it."""
    if (probe := evaluation.probe()) is not None:
        return probe
    with waiting_for(evaluation.folder / "probe.lock"):
        if (probe := evaluation.probe()) is not None:
            return probe
        columns = [c for c in columns_of(settings) if c.role in ("npo", "random", "reversed", "column")]
        prompts = [prompt.text for prompt in evaluation.prompts(0, settings.probe)]
        facts = measure(loaded(), settings, columns, prompts) if prompts else {}
        own = facts.get(NPO, {}).get("effective_omega")
        write_json(evaluation.folder / "probe.json", {"effective_omega": own, "columns": facts})
    probe = evaluation.probe()
    assert probe is not None
    return probe


def all_columns(evaluation: Evaluation) -> tuple[Column, ...]:
    """The columns of an evaluation, CFG at the measured effective scale among them once it is known."""
    settings, probe = evaluation.settings, evaluation.probe()
    measured = probe["effective_omega"] if probe and not settings.weights.is_plain else None
    return columns_of(settings, measured)


def run_evaluation(
    workspace: Workspace,
    evaluation: Evaluation,
    *,
    shard: tuple[int, int] = (0, 1),
    device: str = "cpu",
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[EvaluationEvent]:
    """Does what is left of this share of the chunks, one by one: `Measured` first, then `ChunkDone` after each chunk.

    Args:
        shard: (this share from 0, how many shares): chunks whose number leaves that rest.

    Raises:
        StudioError: a model, offset or scorer that cannot be loaded; a prompt that no scorer can read; a full disk. Chunks
            that are done stay, and running it again continues.
    """
    from core.families.libraries import load_libraries

    load_libraries()
    settings = evaluation.settings
    parts: list[Parts] = []  # once needed

    def loaded() -> Parts:
        if not parts:
            parts.append(load_parts(workspace, settings, device))
        return parts[0]

    yield Measured(effective_omega=_probed(evaluation, settings, loaded)["effective_omega"])
    columns = all_columns(evaluation)
    scorers = load(workspace, settings.scorers or default_scorers(workspace, settings.base), evaluation.world)
    with _on_device(scorers, device.partition(":")[0]):
        with waiting_for(evaluation.folder / "probe.lock"):
            keep_reference(evaluation, settings, scorers)
        share = range(shard[0], evaluation.chunks, shard[1])
        yield from _do_share(evaluation, settings, columns, share, loaded, scorers, cancelled)


@contextlib.contextmanager
def _on_device(scorers: Sequence[Any], device: str) -> Iterator[None]:
    """The scorers on a device while the block runs, and off it afterwards."""
    try:
        for scorer in scorers:
            scorer.to(device)
        yield
    finally:
        for scorer in scorers:
            scorer.to("cpu")


def _do_share(
    evaluation: Evaluation,
    settings: EvaluationSettings,
    columns: Sequence[Column],
    share: Sequence[int],
    loaded: Callable[[], Parts],
    scorers: Sequence[Any],
    cancelled: Callable[[], bool],
) -> Iterator[EvaluationEvent]:
    """`ChunkDone` after each chunk of the share."""
    total = evaluation.chunks
    for number in share:
        if cancelled():
            return
        with holding(evaluation.folder / "chunks" / f"{number:06d}.lock") as mine:
            if not mine:
                continue  # another process is at it
            before = evaluation.chunk(number)
            if before is not None and not before["failed"]:
                yield ChunkDone(number=number, done=evaluation.done(), total=total)
                continue
            rendering, scoring, failed = _do_chunk(evaluation, settings, columns, number, loaded(), scorers)
        with contextlib.suppress(OSError):
            (evaluation.folder / "chunks" / f"{number:06d}.lock").unlink()
        yield ChunkDone(
            number=number,
            done=evaluation.done(),
            total=total,
            rendering=round(rendering, 3),
            scoring=round(scoring, 3),
            failed=failed,
        )


def _do_chunk(
    evaluation: Evaluation,
    settings: EvaluationSettings,
    columns: Sequence[Column],
    number: int,
    loaded: Parts,
    scorers: Sequence[Any],
) -> tuple[float, float, tuple[str, ...]]:
    """Renders, scores and keeps one chunk; seconds of rendering and of scoring, names of scorers that failed."""
    from safetensors.torch import save_file

    from core.evaluation.pixels import contrast, saturation, sharpness
    from core.evaluation.videos import score_media

    start = number * settings.batch
    prompts = [p.text for p in evaluation.prompts(start, min(settings.count, start + settings.batch))]
    texts = [text for text in prompts for _ in range(settings.seeds)]
    seeds = [settings.seed + start * settings.seeds + index for index in range(len(texts))]
    began = time.monotonic()
    frames = render_prompts(loaded, settings, columns, texts, seeds)
    rendered = time.monotonic()
    record: dict[str, dict[str, list[float]]] = {}
    features: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for column in columns:
        media = frames[column.name]
        middle = [one[len(one) // 2] for one in media]
        figures = {
            name: [round(measured(image), 6) for image in middle]
            for name, measured in (("saturation", saturation), ("contrast", contrast), ("sharpness", sharpness))
        }
        for scorer in scorers:
            if scorer.card.name in failed:
                continue
            try:
                scores = score_media(scorer, media, texts)
                figures[scorer.card.name] = [round(float(score), 6) for score in scores]
            except (
                StudioError,
                RuntimeError,
                ValueError,
            ) as error:  # the others' scores are kept; a later run tries again
                failed[scorer.card.name] = str(error)[:300] if isinstance(error, StudioError) else type(error).__name__
        describer = next((s for s in scorers if hasattr(s, "features") and s.card.name not in failed), None)
        if describer is not None:
            features[column.name] = describer.features(middle).half().contiguous()
        record[column.name] = figures
        for index, one in enumerate(middle):
            pair = start * settings.seeds + index
            if pair < settings.keep:
                _keep_picture(evaluation, column, pair, one)
    if features:
        with whole_file(evaluation.chunk_path(number).with_suffix(".safetensors")) as staged:
            save_file(features, staged)
    data = {"chunk": number, "start": start, "prompts": len(prompts), "columns": record, "failed": failed}
    write_json(evaluation.chunk_path(number), data, indent=None)
    return rendered - began, time.monotonic() - rendered, tuple(failed)


def picture_path(evaluation: Evaluation, column: str, pair: int) -> Any:
    """Where the picture of a pair is kept."""
    from core.studio.workspace import slug

    return evaluation.folder / "images" / slug(column) / f"{pair:06d}.png"


def _keep_picture(evaluation: Evaluation, column: Column, pair: int, image: Any) -> None:
    with whole_file(picture_path(evaluation, column.name, pair)) as staged:
        image.save(staged, format="PNG")
