"""Which scorers there are on this machine, what is missing, and how they are loaded. Heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.evaluation.scorer import CARDS, ScorerCard, WeightFile
from core.files import cannot_write, whole_file
from core.miniature.scorer_cards import CARDS as BUNDLED_CARDS
from core.miniature.scorer_cards import SECOND, purpose_of
from core.miniature.worlds import SHAPES, World, world_reading
from core.offsets.header import file_hash
from core.studio.library.worlds import world_of_base
from core.studio.workspace import ASSETS, Workspace

ALL = {**BUNDLED_CARDS, **SECOND, **CARDS}
"""Every scorer by name, the bundled judges first."""


def default_scorers(workspace: Workspace, base: str) -> tuple[str, ...]:
    """The bundled judges for a base that draws one of their worlds; none for other bases, for which a person chooses.

    The first decides the verdict.
    """
    return tuple(BUNDLED_CARDS) if world_of_base(workspace, base) else ()


def judged_world(workspace: Workspace, prompt: str, base: str = "") -> World:
    """The world whose judge scores pictures: the base's own, else the one in whose words the prompt is written. Where there is
    neither, the world of shapes, whose judge says what it does not understand."""
    return (world_of_base(workspace, base) if base else None) or world_reading(prompt) or SHAPES


def cards_of(names: Sequence[str]) -> list[ScorerCard]:
    """Their cards.

    Raises:
        StudioError: there is no scorer of a name, or none was named.
    """
    if not names:
        raise StudioError("No scorer is chosen for this model.", "Choose one of {known}.", known=", ".join(CARDS))
    for name in names:
        if name not in ALL:
            raise StudioError(
                "There is no scorer “{name}”.", "Choose one of {known}.", name=name[:60], known=", ".join(ALL)
            )
    return [ALL[name] for name in names]


def _folder(workspace: Workspace) -> Path:
    return workspace.root / "scorers"


def find_file(workspace: Workspace, file: WeightFile) -> Path | None:
    """Where a file of a scorer is: in the workspace's folder `scorers`, or where huggingface_hub keeps what it fetched, at
    the revision that is named; None where it is missing."""
    own = _folder(workspace) / (file.repo.replace("/", "--") or "files") / file.name
    if own.is_file():
        return own
    loose = _folder(workspace) / file.name
    if loose.is_file() and file.name != "model.safetensors":
        return loose
    if file.repo:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(file.repo, file.name, revision=file.revision)
        if isinstance(cached, str):
            return Path(cached)
    return None


def missing(workspace: Workspace, names: Sequence[str]) -> list[tuple[ScorerCard, WeightFile]]:
    """What is not on this machine of these scorers."""
    return [(card, file) for card in cards_of(names) for file in card.files if find_file(workspace, file) is None]


def check(workspace: Workspace, names: Sequence[str]) -> None:
    """That every file of these scorers is here.

    Raises:
        StudioError: the first that is missing, with its size, source and licence.
    """
    for card, file in missing(workspace, names):
        raise StudioError(
            "{title} is not on this machine: {file} is missing ({size} GB, from {source}, licence {licence}).",
            "Run `evaluate scorers fetch {name}`, or put the file into the folder scorers of the workspace.",
            title=card.title,
            file=file.name,
            size=f"{file.size / 1e9:.2f}",
            source=file.source,
            licence=card.licence,
            name=card.name,
        )


def fetch(workspace: Workspace, name: str) -> list[Path]:
    """Fetches what is missing of a scorer, at the revision its card names; files with a known sha256 are checked.

    Raises:
        StudioError: no network, no room, or a file that is not the one it should be.
    """
    paths = []
    for _, file in missing(workspace, [name]):
        if file.size > workspace.free_bytes() - 2**28:
            raise StudioError(
                "{file} needs {size} GB.", "Free disk space.", file=file.name, size=f"{file.size / 1e9:.1f}"
            )
        target = _folder(workspace) / (file.repo.replace("/", "--") or "files") / file.name
        try:
            if file.repo:
                from huggingface_hub import hf_hub_download

                hf_hub_download(file.repo, file.name, revision=file.revision, local_dir=target.parent)
            else:
                from urllib.request import urlopen

                with urlopen(file.url, timeout=60) as answer, whole_file(target) as staged:
                    staged.write_bytes(answer.read(file.size + 1))
        except StudioError:
            raise
        except Exception as error:
            raise StudioError(
                "{file} could not be fetched from {source}.",
                "Try again when online, or put the file into the folder scorers of the workspace.",
                file=file.name,
                source=file.source,
            ) from error
        if file.sha256 and file_hash(target) != file.sha256:
            target.unlink()
            raise StudioError("{file} is not the file it should be.", "Fetch it again.", file=file.name)
        paths.append(target)
    return paths


def _weights(workspace: Workspace, file: WeightFile) -> dict[str, Any]:
    """The tensors of a file; a pickle is first turned into safetensors by the guarded child, and kept so."""
    from safetensors.torch import load_file

    path = find_file(workspace, file)
    assert path is not None
    if path.suffix != ".safetensors":
        from core.offsets.unpickle import convert_pickle

        converted = _folder(workspace) / "converted" / f"{path.stem}.safetensors"
        if not converted.is_file():
            convert_pickle(path, converted)
        path = converted
    try:
        return load_file(path)
    except OSError as error:
        raise cannot_write(path.name, error) from error


def load(workspace: Workspace, names: Sequence[str], world: World) -> list[Any]:
    """The scorers, ready to score on the CPU; `to` moves them. Their networks compute attention as this program was started
    to, where they have that form.

    Args:
        world: whose judge the bundled scorers ask.

    Raises:
        StudioError: as `check`, or weights that do not fit.
    """
    check(workspace, names)
    scorers: list[Any] = []
    for name in names:
        if purpose := purpose_of(name):
            from core.miniature.scorers import JudgeScorer

            scorers.append(JudgeScorer(world.judge(ASSETS, purpose), name))
        else:
            from core.evaluation.attention import put_in_scorer
            from core.families.attention import chosen

            scorers.append(_published(workspace, name))
            put_in_scorer(scorers[-1], chosen())
    return scorers


def _published(workspace: Workspace, name: str) -> Any:
    from core.evaluation import clip_scorers
    from core.families.full_size import clip_tokenizer

    files = CARDS[name].files
    if name == "imagereward":
        from core.evaluation.image_reward import bert_tokenizer, make_image_reward

        vocabulary = find_file(workspace, files[1])
        assert vocabulary is not None
        return make_image_reward(_weights(workspace, files[0]), bert_tokenizer(vocabulary))
    tokenizer = clip_tokenizer(ASSETS / "configs")
    weights = [_weights(workspace, file) for file in files]
    make = {
        "pickscore": clip_scorers.make_pickscore,
        "hpsv2": clip_scorers.make_hpsv2,
        "clipscore": clip_scorers.make_clipscore,
        "aesthetic": clip_scorers.make_aesthetic,
    }[name]
    return make(*weights, tokenizer)  # type: ignore[operator]
