"""Where a run's start points come from, by its settings: kept ones, a folder, pairs, own samples, or a round of a ranking."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.events import PoolProgress
from core.files import whole_file
from core.training.clock import Clock
from core.training.material import Material
from core.training.methods import objective_of
from core.training.objective import Objective
from core.training.ranking import Score, draw_round, pictures_of, round_of
from core.training.reward import Reward, of_latents
from core.training.start_points import (
    FILE,
    DrawnSamples,
    StartPoints,
    draw_own_samples,
    encoded_pairs,
    encoded_pictures,
)
from core.training.trainer import Stop, Trainer

FOLDER, SHOWN = "samples", 8
"""Where some own samples are kept as pictures, and how many."""


class Source:
    """Gives the objective of each step of a run, over start points that are drawn once and kept in its folder.

    Args:
        score: the scorer of method = ranking, else None.
        reward: that of method = reward, else None.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        pipe: Any,
        material: Material,
        clock: Clock,
        stop: Stop,
        score: Score | None,
        reward: Reward | None = None,
    ) -> None:
        self.trainer, self.folder, self.pipe, self.material = trainer, folder, pipe, material
        self.clock, self.stop, self.score = clock, stop, score
        self.reward = reward and of_latents(reward, pipe, trainer.family)
        self._round: int | None = None
        self._points = StartPoints()
        self._objective: Objective | None = None

    def objective(self) -> Generator[PoolProgress, None, tuple[Objective | None, str | None]]:
        """The objective of the next step, rebuilt in each round of a ranking: (objective, None), or (None, the request
        to end that came while its start points were drawn)."""
        trainer = self.trainer
        number = round_of(trainer.config, trainer.steps_done)
        if self._objective is None or number != self._round:
            points, request = yield from self._points_of(number)
            if points is None:
                return None, request
            processes = trainer.accelerator.num_processes
            self._round, self._points = number, points
            self._objective = objective_of(trainer.config, self.material, points, processes, self.reward)
            self.clock.pass_over()
        return self._objective, None

    def last_points(self) -> Generator[PoolProgress, None, StartPoints]:
        """The start points of the last step, which a run that had finished before has not read yet."""
        if self._objective is None:
            config = self.trainer.config
            points, _ = yield from self._points_of(round_of(config, config.steps - 1))
            self._points = points or self._points
        return self._points

    def _points_of(self, number: int) -> Generator[PoolProgress, None, tuple[StartPoints | None, str | None]]:
        """The start points of round `number`, -1 where a method has no rounds: (points, None), or (None, the request to end
        that came while they were drawn)."""
        config, path = self.trainer.config, self.folder / FILE
        if number >= 0:
            path = path.with_name(f"pool-{number:04d}.safetensors")
        if config.start == "noise":
            return StartPoints(), None
        request = None
        if self.trainer.accelerator.is_main_process and not path.exists():
            done, shown = 0, tuple[str, ...]()
            for drawn in self._drawn(number):
                if isinstance(drawn, StartPoints):
                    drawn.save(path)
                elif (now := drawn.done if isinstance(drawn, DrawnSamples) else drawn) > done:
                    done = now
                    if isinstance(drawn, DrawnSamples):
                        shown = self._shown(drawn, shown)
                    at = self.clock.at(self.trainer.steps_done)
                    yield PoolProgress(**at, done=done, total=self._total(number), pictures=shown)
                if request := self.stop():
                    break
        request = self.trainer.shared_request(lambda: request)
        return (None, request) if request else (StartPoints.load(path), None)

    def _shown(self, drawn: DrawnSamples, before: tuple[str, ...]) -> tuple[str, ...]:
        """The first samples as pictures in the run's folder, a few of each batch: names of all so far.

        Cost: a decoding each, of `SHOWN` at most.
        """
        room = min(SHOWN - len(before), SHOWN // 2, len(drawn.x_0))
        if room <= 0:
            return before
        names = [f"{FOLDER}/own-{len(before) + n:03d}.png" for n in range(room)]
        latents = drawn.x_0[:room].to(self.trainer.accelerator.device)
        for name, picture in zip(names, pictures_of(self.pipe, self.trainer.family, latents), strict=True):
            with whole_file(self.folder / name) as staged:
                picture.save(staged, format="PNG")
        return (*before, *names)

    def _total(self, number: int) -> int:
        return self.material.count * (self.trainer.config.candidates if number >= 0 else 1)

    def _drawn(self, number: int) -> Iterator[int | DrawnSamples | StartPoints]:
        config, device = self.trainer.config, self.trainer.accelerator.device
        if config.start == "images":
            yield encoded_pictures(self.pipe, config, self.material)
        elif config.start == "pairs":
            yield encoded_pairs(self.pipe, config, self.material)
        elif number < 0:
            with self.trainer.base() as predict:
                yield from draw_own_samples(predict, self.material, config, device)
        elif self.score is None:
            raise StudioError(
                "method = {method} needs a scorer.", "Choose one, judge-preference for instance.", method=config.method
            )
        else:
            now, family = self.trainer.predict_now, self.trainer.family
            yield from draw_round(now, self.pipe, family, config, self.material, self.score, number, device)
