"""Folders of pictures for other programs' measures: numbered PNG files with their prompts beside them.

`without/000012.png` and `with/000012.png` are a pair, `000012.txt` in either holds the prompt: the layout that the comparison
script of the Diffusion-NPO authors reads, and scripts like it. Heavy imports happen inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from core.evaluation.prompts import read_prompts
from core.files import whole_file, write_text
from core.studio.evaluating.settings import Column, EvaluationSettings, columns_of
from core.studio.evaluating.work import load_parts, render_prompts
from core.studio.workspace import Workspace

FOLDERS = ("without", "with")


def write_gallery(
    workspace: Workspace,
    settings: EvaluationSettings,
    out: Path,
    *,
    shard: tuple[int, int] = (0, 1),
    device: str = "cpu",
) -> Iterator[int]:
    """Renders the prompts of `settings.prompts` at the setting and at plain CFG of the same ω; what is there is kept.

    Yields:
        how many prompts of this share are done.

    Raises:
        StudioError: prompts, a model or an offset that cannot be read, or a full disk.
    """
    from core.families.libraries import load_libraries

    load_libraries()
    end = settings.first + settings.count
    prompts = islice(enumerate(read_prompts(Path(settings.prompts).expanduser(), end)), settings.first, None)
    same = next(c for c in columns_of(settings) if c.role == "cfg" and c.weights.omega == settings.omega)
    columns: tuple[Column, Column] = (same, columns_of(settings)[0])
    parts = None
    done = 0
    while batch := list(islice(prompts, settings.batch)):
        if (batch[0][0] - settings.first) // settings.batch % shard[1] != shard[0]:
            continue
        names = [out / folder / f"{number:06d}.png" for folder in FOLDERS for number, _ in batch]
        if not all(name.is_file() and name.with_suffix(".txt").is_file() for name in names):
            parts = parts or load_parts(workspace, settings, device)
            seeds = [settings.seed + number for number, _ in batch]
            frames = render_prompts(parts, settings, columns, [prompt.text for _, prompt in batch], seeds)
            for folder, column in zip(FOLDERS, columns, strict=True):
                for (number, prompt), one in zip(batch, frames[column.name], strict=True):
                    path = out / folder / f"{number:06d}.png"
                    write_text(path.with_suffix(".txt"), prompt.text)
                    with whole_file(path) as staged:
                        one[len(one) // 2].save(staged, format="PNG")
        done += len(batch)
        yield done
