"""The engine behind the page and the command line: one model loaded at a time, one rendering at a time.

Nothing heavy is imported before the first use, or before `warm`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.families.libraries import load_libraries
from core.generation.comparison import Comparison
from core.studio.comparing import pictures
from core.studio.comparing.events import Estimate, Event, Note, Sampling, Waiting, Working
from core.studio.comparing.scores import scorer_of
from core.studio.library.choose import find_base, find_control, find_offset
from core.studio.library.load import find_inversions
from core.studio.locks import waiting_for
from core.studio.workspace import ASSETS, Workspace
from core.training.faults import is_out_of_memory as is_out_of_memory

if TYPE_CHECKING:
    from core.generation.watch import RenderedImage, StepPreview
    from core.studio.comparing.models import Files, Models

DEADLINE = 6 * 3600.0
"""Seconds that one rendering may keep the engine on a machine of one's own."""
SHARED_DEADLINE = 900.0
"""The same where others may wait for it."""
SILENCE = 1.0
"""Seconds after which a rendering that has nothing to tell says that it works: only then can it be noticed that the page
has gone."""


class Engine:
    """Loads models and renders; safe to share between the sessions of a page.

    Args:
        workspace: where models are found and pictures kept.
        cpu: stay on the CPU.
        memory: "high", "medium" (whole models move to the device in turn) or "low" (and the VAE works in slices).
        outputs: the folder for the pictures of whoever asks; that of the workspace where strangers do not share it.
        deadline: seconds after which a rendering is stopped and the engine free again.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        cpu: bool = False,
        memory: str = "high",
        outputs: Callable[[], Path] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        # read when torch is first imported: threads that spin while they wait are 50 times slower while a training runs
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.workspace, self.cpu, self.memory, self.deadline = workspace, cpu, memory, deadline
        self.outputs: Callable[[], Path] = outputs or (lambda: workspace.outputs)
        self._turns = threading.Lock()
        self._models: Models | None = None
        self._pace: dict[str, float] = {}
        self.warming = ""
        """Name of the base that `warm` is loading; empty when it is done."""

    @property
    def models(self) -> Models:
        """What is loaded; the libraries are imported for it."""
        if self._models is None:
            load_libraries()
            from core.studio.comparing.models import Models

            self._models = Models(cpu=self.cpu, memory=self.memory)
        return self._models

    def warm(self, comparison: Comparison) -> None:
        """Imports the libraries and loads the model and offsets of a comparison, in a thread. Of a bundled model it samples
        two steps, too: the first rendering then starts at once, and its time can be estimated."""
        self.warming = Path(comparison.base).name
        steps: list[float] = []

        def load() -> None:
            one = dataclasses.replace(comparison, seeds=comparison.seeds[:1])
            with self._turns, contextlib.suppress(Exception):  # a fault is reported when the comparison is asked for
                models, files = self.models, self._files(one)
                from core.generation.watch import Watch

                enough = 2 if files.base.is_relative_to(ASSETS) else 0
                watch = Watch(step=lambda _: steps.append(time.monotonic()), cancelled=lambda: len(steps) >= enough)
                models.sample(one, files, watch)
            if len(steps) == 2:
                self._pace[_key(one)] = (steps[1] - steps[0]) * one.steps / one.row_forwards
            self.warming = ""

        threading.Thread(target=load, name="warm", daemon=True).start()

    def compare(self, comparison: Comparison, *, cancelled: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Renders a comparison, step by step, and keeps its pictures in the folder of outputs.

        Args:
            cancelled: asked after every step and within long ones; what is finished is kept.

        Raises:
            StudioError: a setting that does not fit, a fault of the machine, or the deadline has passed.
        """
        yield from self._compare(comparison, self.outputs(), cancelled)

    def _compare(self, comparison: Comparison, folder: Path, cancelled: Callable[[], bool]) -> Iterator[Event]:
        self._check_files(comparison)
        for note in comparison.notes:
            yield Note(note)
        if self._turns.locked():
            waits = Waiting("Waiting for the rendering before this one.")
            yield Waiting("Loading {name}.", self.warming) if self.warming else waits
        events: queue.Queue[Event | Exception | None] = queue.Queue()
        left = threading.Event()

        def given_up() -> bool:
            return left.is_set() or cancelled()

        work = threading.Thread(target=self._work, args=(comparison, folder, events.put, given_up), daemon=True)
        work.start()
        try:
            while True:
                try:
                    event = events.get(timeout=SILENCE)
                except queue.Empty:
                    yield Working()
                    continue
                if event is None:
                    return
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            left.set()  # the page went away: the rendering stops before its next layer

    def _check_files(self, comparison: Comparison) -> tuple[Path, Path | None, Path | None, Path | None]:
        """Where the base, both offsets and the control network are; all that is named is there."""
        control = find_control(self.workspace, comparison.control if comparison.image is not None else "")
        base = find_base(self.workspace, comparison.base)
        return (
            base,
            find_offset(self.workspace, comparison.positive),
            find_offset(self.workspace, comparison.negative),
            control,
        )

    def _files(self, comparison: Comparison) -> Files:
        from core.studio.comparing.models import Files

        texts = (comparison.prompt, comparison.negative_prompt)
        return Files(*self._check_files(comparison), find_inversions(self.workspace, *texts))

    @contextlib.contextmanager
    def _turn(self, given_up: Callable[[], bool]) -> Iterator[bool]:
        """The engine, as soon as it is free; false where `given_up` returned true first."""
        while not self._turns.acquire(timeout=0.1):
            if given_up():
                yield False
                return
        try:
            yield True
        finally:
            self._turns.release()

    def _work(
        self,
        comparison: Comparison,
        folder: Path,
        emit: Callable[[Event | Exception | None], None],
        given_up: Callable[[], bool],
    ) -> None:
        """The thread of one rendering: waits for its turn, renders, and tells None or a fault at the end."""
        others = waiting_for(
            self.workspace.lock,
            given_up=given_up,
            on_wait=lambda: emit(Waiting("Waiting for another studio on this workspace.")),
        )
        try:
            with self._turn(given_up) as free, others as mine:
                if free and mine:
                    self._render(comparison, folder, emit, given_up)
            emit(None)
        except StudioError as error:
            emit(error)
        except Exception as error:
            emit(_fault(error))

    def _render(
        self, comparison: Comparison, folder: Path, emit: Callable[[Event], None], given_up: Callable[[], bool]
    ) -> None:
        began = time.monotonic()
        models, files = self.models, self._files(comparison)
        if models.base != files.base:
            emit(Waiting("Loading {name}.", files.base.name))
            models.load(files.base)
        from core.generation.watch import Cancelled, Watch

        sampling = time.monotonic()
        stem = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        family, standard = models.family, models.family.defaults(models.pipe)

        def late() -> bool:
            return time.monotonic() - began > self.deadline

        def on_step(step: StepPreview) -> None:
            rate = step.step / max(1e-6, time.monotonic() - sampling)
            emit(Sampling(step.step, step.steps, step.columns, step.seeds, step.images, rate))

        judge = scorer_of(self.workspace, comparison.base)

        def on_image(image: RenderedImage) -> None:
            facts = pictures.facts_of(image, comparison, family, standard, files.inversions)
            if not standard.fps and (score := judge(image.image, comparison.prompt)) is not None:
                facts["judge"] = score
            emit(pictures.save(image, facts, stem))

        watch = Watch(
            step=on_step, image=on_image, note=lambda note: emit(Note(note)), cancelled=lambda: given_up() or late()
        )
        try:
            models.sample(comparison, files, watch)
            self._pace[_key(comparison)] = (time.monotonic() - sampling) / comparison.row_forwards
        except Cancelled:
            if late() and not given_up():
                raise StudioError(
                    "The rendering was stopped after {minutes:.0f} minutes so that the studio can continue. Finished images are kept.",
                    "Choose fewer images or steps, or a smaller size.",
                    minutes=self.deadline / 60,
                ) from None

    def estimate(self, comparison: Comparison) -> Estimate:
        """What a comparison will cost, as far as it is known before it starts."""
        import psutil

        used, free, needed = psutil.Process().memory_info().rss, psutil.virtual_memory().available, None
        models = self._models  # torch is not imported for this
        if models is not None and models.base is not None:
            if models.device() == "cuda":
                used, free = models.room()
            with contextlib.suppress(StudioError):
                needed = models.needed(comparison, find_base(self.workspace, comparison.base))
        pace = self._pace.get(_key(comparison))
        seconds = None if pace is None else comparison.row_forwards * pace
        return Estimate(comparison.row_forwards, seconds, needed, used, free)


def _key(comparison: Comparison) -> str:
    """What renderings of one pace have in common."""
    return f"{comparison.base} {comparison.height} {comparison.width} {comparison.frames}"


def _fault(error: Exception) -> StudioError:
    """A fault of the machine or of a library as a person should know it; the console has the whole of it."""
    if is_out_of_memory(error):
        return StudioError(
            "The machine ran out of memory.", "Choose fewer seeds, a smaller size, or start with --medvram."
        )
    traceback.print_exception(error, file=sys.stderr)
    return StudioError("Rendering failed: {kind}.", "See the console for details.", kind=type(error).__name__)
