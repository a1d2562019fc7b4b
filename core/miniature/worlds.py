"""The worlds of the bundled miniatures: what their prompts mean, and who judges their pictures.

A base model says in `world.json` beside it which world it draws (`{"world": "drawings"}`); everything that is particular to
a world is derived from it. Models that say none have no judge, no sample prompts and no list of words. No torch here: the
networks of the judges are imported when one is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import StudioError
from core.files import read_json
from core.miniature.drawings import scene as drawings
from core.miniature.language import Asked, Language
from core.miniature.world import scene as shapes

if TYPE_CHECKING:
    from core.miniature.judge import Judge

FILE = "world.json"
PROMPT_SEED = 31_415
"""Of the sample prompts: nothing was trained or chosen on it."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A world.

    Args:
        name: as `world.json` has it.
        title: as a person reads it, after "Bundled judge of".
        language: its words and grammar.
        sample: (count, seed) to that many captions of random scenes.
        examples: short prompts that show what can be drawn; empty: some of those that the model was trained with.
        judges: what a judge is for ("choosing", "reporting") to its file below `assets/judge`, without ending.
        load_judge: (file, what it is for) to that judge.
    """

    name: str
    title: str
    language: Language
    sample: Callable[..., list[str]]
    examples: tuple[str, ...] = ()
    judges: Mapping[str, str]
    load_judge: Callable[[Path, str], Judge]

    def parse(self, text: str) -> Asked:
        """What a caption asks for.

        Raises:
            StudioError: it is not of this world's grammar.
        """
        return self.language.parse(text)

    def prompts(self, first: int, count: int) -> list[str]:
        """Sample prompts from the `first` on, of a seed that nothing was trained or chosen on."""
        return self.sample(first + count, PROMPT_SEED)[first:]

    def judge(self, assets: Path, purpose: str = "choosing") -> Judge:
        """A judge of its pictures; it is read once.

        Args:
            assets: the folder of bundled files.

        Raises:
            StudioError: this world has no judge for that, or its file is missing or damaged.
        """
        if purpose not in self.judges:
            raise StudioError(
                "There is no second judge for pictures of this model, to report what the first one chose.",
                "Choose the scorers that begin with “judge”.",
            )
        return _judge(self.name, assets, purpose)


@lru_cache(maxsize=4)
def _judge(name: str, assets: Path, purpose: str) -> Judge:
    world = WORLDS[name]
    return world.load_judge(assets / "judge" / world.judges[purpose], purpose)


def _judge_of_shapes(file: Path, purpose: str) -> Judge:
    from core.miniature.judge import Judge
    from core.miniature.world.judge import SIDE, SceneReader

    return Judge.load(file, SceneReader, shapes.LANGUAGE, SIDE)


def _judge_of_drawings(file: Path, purpose: str) -> Judge:
    from core.miniature.drawings.judge import READERS, SIDE
    from core.miniature.judge import Judge

    return Judge.load(file, READERS[purpose], drawings.LANGUAGE, SIDE)


SHAPES = World(
    name="shapes",
    title="the world of shapes",
    language=shapes.LANGUAGE,
    sample=shapes.sample_prompts,
    judges={"choosing": "judge"},
    load_judge=_judge_of_shapes,
)
DRAWINGS = World(
    name="drawings",
    title="the world of drawings",
    language=drawings.LANGUAGE,
    sample=drawings.sample_prompts,
    examples=(
        "a large glossy heart",
        "a large flat pizza",
        "a soft rabbit, green background",
        "a simple rocket, dotted blue background",
        "a vintage crying face",
        "a large detailed tomato on the left",
    ),
    judges={"choosing": "drawings-choosing", "reporting": "drawings-reporting"},
    load_judge=_judge_of_drawings,
)
WORLDS = {world.name: world for world in (SHAPES, DRAWINGS)}


def world_of(base: Path) -> World | None:
    """The world that a base model draws, as the file beside it says; None where it says none that is known here."""
    file = base / FILE
    if not file.is_file():
        return None
    try:
        return WORLDS.get(str(read_json(file, dict).get("world", "")))
    except StudioError:
        return None  # a stranger's model with a damaged file renders as one without it


def world_reading(prompt: str) -> World | None:
    """The first world whose grammar reads this prompt, for pictures of which only the prompt is known; else None."""
    for world in WORLDS.values():
        try:
            world.parse(prompt)
        except StudioError:
            continue
        return world
    return None
