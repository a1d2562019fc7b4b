"""Small evaluations of a tiny random model."""

from core.miniature.world.scene import sample_prompts
from core.offsets.writing import save_offset
from core.studio.evaluating.events import ChunkDone
from core.studio.evaluating.settings import EvaluationSettings
from core.studio.evaluating.work import run_evaluation
from tests.builders.offsets import DELTA

SMALL = {
    "base": "tiny",
    "negative": "bad.safetensors",
    "count": 4,
    "batch": 2,
    "steps": 2,
    "cfg": (1.0, 3.0),
    "probe": 1,
    "choosing": 0.0,
    "scorers": ("judge-preference", "judge-cleanliness"),
}
LEAN = {"controls": False, "effective": False, "cfg": (1.0,)}
"""Three columns instead of seven, where a test is about how the work is done."""


def prepared(workspace, tmp_path):
    """A workspace with an offset, and a file of prompts next to it."""
    save_offset(workspace.offsets / "bad.safetensors", DELTA, family="sd15", provenance={})
    (tmp_path / "prompts.txt").write_text("\n".join(sample_prompts(4, seed=5)) + "\n")
    return workspace


def settings(tmp_path, **changes):
    """Settings of an evaluation of four pairs."""
    return EvaluationSettings.from_dict({**SMALL, "prompts": str(tmp_path / "prompts.txt"), **changes})


def finished(space, evaluation, **options):
    """Does the work of an evaluation; the chunks that were done."""
    events = run_evaluation(space, evaluation, **options)
    return [event for event in events if isinstance(event, ChunkDone)]


def contents(evaluation):
    """Every file that the work made, by its place in the folder."""
    made = [
        *evaluation.folder.glob("chunks/*"),
        *evaluation.folder.glob("images/*/*"),
        evaluation.folder / "probe.json",
    ]
    return {
        str(path.relative_to(evaluation.folder)): path.read_bytes()
        for path in made
        if not path.name.endswith(".lock") and not path.name.startswith(".")
    }
