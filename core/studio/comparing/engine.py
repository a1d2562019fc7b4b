"""The engine behind the page and the command line: one model loaded at a time, one rendering at a time.

Nothing heavy is imported before the first use, or before `warm`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core import __version__
from core.errors import StudioError
from core.families.libraries import load_libraries
from core.generation.comparison import Comparison
from core.studio.comparing.events import Estimate, Note, Sampling, Saved, Waiting
from core.studio.comparing.memory import RenderingNeeds, card_room, rendering
from core.studio.library.choose import family_of_base, find_base, find_control, find_offset
from core.studio.locks import waiting_for
from core.studio.workspace import ASSETS, Workspace


class Engine:
    """Loads models and renders; safe to share between the sessions of a page.

    Args:
        workspace: where models are found and pictures kept.
        cpu: stay on the CPU.
        memory: "high", "medium" (whole models move to the device in turn) or "low" (and the VAE works in slices).
        outputs: the folder for the pictures of whoever asks; that of the workspace where strangers do not share it.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        cpu: bool = False,
        memory: str = "high",
        outputs: Callable[[], Path] | None = None,
    ) -> None:
        # read when torch is first imported: threads that spin while they wait are 50 times slower beside a training
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.workspace, self.cpu, self.memory = workspace, cpu, memory
        self.outputs: Callable[[], Path] = outputs or (lambda: workspace.outputs)
        self._lock = threading.Lock()
        self._loaded: tuple[Path, Any] | None = None
        self._offsets: dict[tuple[str, float], Any] = {}
        self._control: tuple[Path, Any] | None = None
        self._pace: dict[str, float] = {}
        self.warming = ""
        """Name of the base that `warm` is loading; empty when it is done."""

    def warm(self, comparison: Comparison) -> None:
        """Imports the libraries and loads the model and offsets of a comparison, in a thread. Of a bundled model it samples
        two steps, too: the first rendering then starts at once, and its time can be told before it."""
        self.warming = Path(comparison.base).name
        steps: list[float] = []

        def load() -> None:
            one = dataclasses.replace(comparison, seeds=comparison.seeds[:1])
            with self._lock, contextlib.suppress(Exception):  # a fault is told when the comparison is asked for
                named = self._named(one)
                enough = 2 if named[0].is_relative_to(ASSETS) else 0
                self._sample(
                    one,
                    *named,
                    on_step=lambda _: steps.append(time.monotonic()),
                    cancelled=lambda: len(steps) >= enough,
                )
            if len(steps) == 2:
                self._pace[self._key(one)] = (steps[1] - steps[0]) * one.steps / one.row_forwards
            self.warming = ""

        threading.Thread(target=load, name="warm", daemon=True).start()

    def _fitted(self, needs: RenderingNeeds | None, *, loaded: bool) -> tuple[int, bool]:
        """The most rows of a forward, and whether pictures are decoded in tiles: what the card has room for, where there
        is one and the architecture is known."""
        rows = 32 if self.memory == "high" else 4
        if needs is None or self.device() != "cuda":
            return rows, self.memory == "low"
        room = card_room()
        if self.memory != "high":
            room -= needs.largest
        elif not loaded:
            room -= needs.fixed
        return needs.rows_within(room, rows), self.memory == "low" or needs.in_tiles(room)

    def device(self) -> str:
        """Where this engine renders: "cuda", "mps" or "cpu"."""
        import torch

        if self.cpu:
            return "cpu"
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def _pipeline(self, base: Path) -> Any:
        import torch

        from core.studio.library.load import load_base

        if self._loaded is None or self._loaded[0] != base:
            self._loaded = None  # let go of the former model before the next is loaded
            self._offsets, self._control = {}, None
            device = self.device()
            dtype = torch.float16 if device == "cuda" else torch.float32
            offload = self.memory != "high" and device == "cuda"
            pipe = load_base(base, dtype=dtype, device="cpu" if offload else device)
            if offload:
                pipe.enable_model_cpu_offload()
            if self.memory == "low":
                pipe.vae.enable_slicing()
                pipe.vae.enable_tiling()
            self._loaded = (base, pipe)
        return self._loaded[1]

    def _offset(self, path: Path | None, family: Any, pipe: Any) -> Any:
        from core.studio.library.load import load_offset

        if path is None:
            return None
        key = (str(path), path.stat().st_mtime)
        if key not in self._offsets:
            self._offsets = dict(list(self._offsets.items())[-3:])
            self._offsets[key] = load_offset(path, family.name, family.denoiser(pipe))
        return self._offsets[key]

    def _input(self, comparison: Comparison, family: Any, pipe: Any) -> Any:
        from core.generation.inputs import InputImage
        from core.studio.library.load import load_control

        if comparison.image is None:
            return None
        control = None
        if path := find_control(self.workspace, comparison.control):
            if self._control is None or self._control[0] != path:
                module = family.denoiser(pipe)
                self._control = (path, load_control(path, family.name).to(pipe._execution_device, module.dtype))
            control = self._control[1]
        return InputImage(
            image=comparison.image,
            mask=comparison.mask,
            strength=comparison.strength,
            control=control,
            control_scale=comparison.control_scale,
        )

    def compare(
        self, comparison: Comparison, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Waiting | Sampling | Saved | Note]:
        """Renders a comparison, step by step, and keeps its pictures in the folder of outputs.

        Args:
            cancelled: asked after every step; what is finished is kept.

        Raises:
            StudioError: a setting that does not fit, or a fault of the machine.
        """
        yield from self._compare(comparison, self.outputs(), cancelled)

    def _compare(
        self, comparison: Comparison, folder: Path, cancelled: Callable[[], bool]
    ) -> Iterator[Waiting | Sampling | Saved | Note]:
        named = self._named(comparison)
        if self._lock.locked():
            waits = Waiting("Waiting for the rendering before this one.")
            yield Waiting("Loading {name}.", self.warming) if self.warming else waits
        told: queue.Queue[Waiting | Sampling | Saved | Note | BaseException | None] = queue.Queue()
        left = threading.Event()
        worker = threading.Thread(
            target=self._render, args=(comparison, named, folder, told, left, cancelled), daemon=True
        )
        worker.start()
        try:
            while (event := told.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            left.set()  # the page went away: stop within a step

    def _named(self, comparison: Comparison) -> tuple[Path, Path | None, Path | None]:
        """Where the base, the positive and the negative offset are; all that is named is there."""
        find_control(self.workspace, comparison.control if comparison.image is not None else "")
        base = find_base(self.workspace, comparison.base)
        return base, find_offset(self.workspace, comparison.positive), find_offset(self.workspace, comparison.negative)

    def _sample(
        self, comparison: Comparison, base: Path, positive: Path | None, negative: Path | None, **hooks: Any
    ) -> None:
        """Loads what is not loaded yet and renders; `hooks` are those of `core.generation.compare.render`."""
        load_libraries()
        from core.families import get
        from core.families.full_size import decode_in_tiles
        from core.generation.compare import render

        family = get(family_of_base(base))
        pipe = self._pipeline(base)
        offsets = {"positive": self._offset(positive, family, pipe), "negative": self._offset(negative, family, pipe)}
        given = self._input(comparison, family, pipe)
        max_rows, in_tiles = self._fitted(
            rendering(base, comparison.height, comparison.width, comparison.frames), loaded=True
        )
        if in_tiles:
            decode_in_tiles(pipe.vae)
        render(pipe, family, comparison, **offsets, given=given, max_rows=max_rows, **hooks)

    @contextlib.contextmanager
    def _turn(self, given_up: Callable[[], bool]) -> Iterator[bool]:
        """The engine, as soon as it is free; false where `given_up` said so first."""
        while not self._lock.acquire(timeout=0.1):
            if given_up():
                yield False
                return
        try:
            yield True
        finally:
            self._lock.release()

    def _render(
        self,
        comparison: Comparison,
        named: tuple[Path, Path | None, Path | None],
        folder: Path,
        told: queue.Queue,
        left: threading.Event,
        cancelled: Callable[[], bool],
    ) -> None:
        def given_up() -> bool:
            return left.is_set() or cancelled()

        def on_wait() -> None:
            told.put(Waiting("Waiting for another studio on this workspace."))

        try:
            others = waiting_for(self.workspace.lock, given_up=given_up, on_wait=on_wait)
            with self._turn(given_up) as free, others as mine:
                if not (free and mine):
                    told.put(None)
                    return
                base = named[0]
                if self._loaded is None or self._loaded[0] != base:
                    told.put(Waiting("Loading {name}.", base.name))
                    self._pipeline(base)
                from core.generation.compare import Cancelled

                began, key = time.monotonic(), self._key(comparison)

                def on_step(step: Any) -> None:
                    rate = step.step / max(1e-6, time.monotonic() - began)
                    told.put(Sampling(step.step, step.steps, step.columns, step.images, rate))

                stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
                with contextlib.suppress(Cancelled):
                    self._sample(
                        comparison,
                        *named,
                        on_step=on_step,
                        on_image=lambda image: told.put(self._save(image, comparison, folder / stamp, base)),
                        on_note=lambda text: told.put(Note(text)),
                        cancelled=given_up,
                    )
                    self._pace[key] = (time.monotonic() - began) / comparison.row_forwards
            told.put(None)
        except StudioError as error:
            told.put(error)
        except Exception as error:
            memory = "out of memory" in str(error).lower() or isinstance(error, MemoryError)
            told.put(
                StudioError(
                    "The machine ran out of memory.", "Choose fewer seeds, a smaller size, or start with --medvram."
                )
                if memory
                else StudioError(f"Rendering failed: {type(error).__name__}: {str(error)[:200]}", "See the console.")
            )

    def _key(self, comparison: Comparison) -> str:
        return f"{comparison.base} {comparison.height} {comparison.width} {comparison.frames}"

    def estimate(self, comparison: Comparison) -> Estimate:
        """What a comparison will cost, as far as it is known before it starts."""
        import psutil

        used, free, needed = psutil.Process().memory_info().rss, psutil.virtual_memory().available, None
        if loaded := self._loaded:  # torch is not imported for this
            on_card = self.device() == "cuda"
            if on_card:
                import torch

                used, free = torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]
            with contextlib.suppress(StudioError):
                base = find_base(self.workspace, comparison.base)
                if needs := rendering(base, comparison.height, comparison.width, comparison.frames):
                    rows, in_tiles = self._fitted(needs, loaded=loaded[0] == base)
                    in_turns = self.memory != "high" and on_card
                    needed = needs.total(min(rows, comparison.rows), in_turns=in_turns, in_tiles=in_tiles)
                    needed *= 1 if on_card else 2  # float32 on a processor
        pace = self._pace.get(self._key(comparison))
        seconds = None if pace is None else comparison.row_forwards * pace
        return Estimate(comparison.row_forwards, seconds, needed, used, free)

    def _save(self, image: Any, comparison: Comparison, stem: Path, base: Path) -> Saved:
        from core.families import get
        from core.generation.media import contact_sheet, save_mp4, save_png

        weights = image.weights
        family = get(family_of_base(base))
        standard = family.defaults(self._pipeline(base))
        scheduler = comparison.scheduler or standard.scheduler
        facts = comparison.facts(image.column, image.seed, video=bool(standard.fps))
        facts |= {
            "model": facts.pop("base"),
            "scheduler": scheduler,
            "sampler": family.samplers[scheduler][1],
            "guidance_scale": weights.guidance_scale,
            "size": f"{image.image.width}x{image.image.height}",
            "version": f"self-npo-studio {__version__}",
        }
        if comparison.image is not None:
            pixels = comparison.image.convert("RGB")
            facts["input_sha256"] = hashlib.sha256(f"{pixels.size}".encode() + pixels.tobytes()).hexdigest()
            if not comparison.control:
                facts["inpainted"] = comparison.mask is not None
        picture = stem.with_name(f"{stem.name}-{image.column}-{image.seed}.png")
        if not standard.fps:
            save_png(image.image, picture, facts)
            return Saved(image.column, image.seed, picture, facts, picture)
        facts |= {"frames": len(image.frames), "fps": comparison.fps or standard.fps}
        save_png(contact_sheet(image.frames), picture, facts)
        save_mp4(image.frames, picture.with_suffix(".mp4"), facts, fps=facts["fps"])
        return Saved(image.column, image.seed, picture.with_suffix(".mp4"), facts, picture)
