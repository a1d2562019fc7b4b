"""The engine renders, keeps pictures with their settings, and says what is wrong."""

import hashlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core.errors import StudioError
from core.families.attention import VARIABLE, in_place
from core.families.compiling import VARIABLE as COMPILE
from core.families.saving import VARIABLE as SAVE
from core.generation.comparison import Comparison
from core.generation.media import read_png
from core.method.guidance import GuidanceWeights
from core.offsets.writing import save_offset
from core.studio.comparing.engine import Engine
from core.studio.comparing.events import Note, Sampling, Saved, Waiting, Working
from core.studio.library.choose import find_base, find_offset, list_bases, list_controls, list_offsets
from core.studio.locks import holding
from core.studio.presets.proposal import propose_file
from tests.builders.offsets import DELTA

NPO = GuidanceWeights(omega=2, beta=1)


@pytest.fixture
def engine(workspace):
    save_offset(workspace.offsets / "bad.safetensors", DELTA, family="sd15", provenance={})
    return Engine(workspace, cpu=True)


def settings(**changes):
    values = {"base": "tiny", "prompt": "ab", "negative": "bad.safetensors", "steps": 3, "columns": (NPO.plain(), NPO)}
    return Comparison(**{**values, **changes})


def test_a_comparison_is_reported_step_by_step_and_kept_with_its_settings(engine):
    events = list(engine.compare(settings(seeds=(3, 4))))
    assert [e.step for e in events if isinstance(e, Sampling)] == [1, 2, 3]
    saved = [e for e in events if isinstance(e, Saved)]
    assert [(s.column, s.seed) for s in saved] == [(0, 3), (0, 4), (1, 3), (1, 4)]
    facts = read_png(saved[3].path)
    assert facts == saved[3].settings
    assert (facts["seed"], facts["beta"], facts["guidance_scale"], facts["negative"]) == (4, 1, 3, "bad.safetensors")
    assert saved[3].path.parent == engine.workspace.outputs


def test_the_attention_that_the_program_was_started_with_is_in_place(engine, monkeypatch):
    monkeypatch.setenv(VARIABLE, "plain")
    saved = [e for e in engine.compare(settings()) if isinstance(e, Saved)]
    assert len(saved) == 2 and in_place(engine.models.pipe.unet) == "plain"
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(StudioError, match="“fast” is not an implementation of attention"):
        list(Engine(engine.workspace, cpu=True).compare(settings()))


def test_ways_to_save_memory_render_nearly_the_same(engine, monkeypatch):
    plain = sorted_images(engine.compare(settings()))
    monkeypatch.setenv(SAVE, "layerwise-casting,vae-tiling,group-offload")
    saving = Engine(engine.workspace, cpu=True)
    now = sorted_images(saving.compare(settings()))
    assert {parameter.dtype for parameter in saving.models.pipe.unet.parameters()} >= {torch.float8_e4m3fn}
    assert 0 < np.abs(np.subtract(now, plain)).mean() < 12
    monkeypatch.setenv(SAVE, "magic")
    with pytest.raises(StudioError, match="“magic” is not a way to save memory"):
        list(Engine(engine.workspace, cpu=True).compare(settings()))


@pytest.mark.parametrize("fails", [False, True])
def test_compiled_blocks_render_the_same_and_a_failure_is_said(engine, monkeypatch, fails):
    from torch._dynamo.exc import TorchDynamoException

    asked = []

    def compiled(forward, **options):
        def call(*args, **kwargs):
            asked.append(forward)
            if fails:
                raise TorchDynamoException("no compiler")
            return forward(*args, **kwargs)

        return call

    plain = sorted_images(engine.compare(settings()))
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setenv(COMPILE, "1")
    events = list(Engine(engine.workspace, cpu=True).compare(settings()))
    assert np.array_equal(sorted_images(events), plain) and len(asked) > 1 - fails
    assert [e.text for e in events if isinstance(e, Note)] == (
        ["Compiling failed (TorchDynamoException); it went on without."] if fails else []
    )


def test_stop_keeps_what_is_finished(engine):
    stop = []
    seen = []
    comparison = settings(columns=(NPO, GuidanceWeights(omega=5, beta=1)))
    for event in engine.compare(comparison, cancelled=lambda: bool(stop)):
        seen.append(event)
        if isinstance(event, Saved):
            stop.append(1)
    assert len([e for e in seen if isinstance(e, Saved)]) == 1
    assert len(list(engine.compare(settings()))) > 2  # and it goes on serving


def test_a_session_that_left_frees_the_engine(engine):
    rendering = engine.compare(settings(steps=100))
    next(rendering)
    rendering.close()
    assert [e for e in engine.compare(settings(steps=2)) if isinstance(e, Saved)]


def test_two_studios_on_one_workspace_render_in_turn(engine):
    with holding(engine.workspace.lock) as other:
        assert other
        rendering = engine.compare(settings(steps=2))
        first = next(rendering)
        assert isinstance(first, Waiting) and "another studio" in first.reason
    assert len([e for e in rendering if isinstance(e, Saved)]) == 2


def warmed(engine, comparison):
    engine.warm(comparison)
    for thread in threading.enumerate():
        if thread.name == "warm":
            thread.join(60)


def test_a_warmed_engine_has_loaded_and_kept_nothing(engine):
    warmed(engine, settings(seeds=(3, 4)))
    assert engine.models.base == engine.workspace.models / "tiny" and engine.models._offsets
    assert not list(engine.workspace.outputs.glob("*"))
    assert not any(isinstance(event, Waiting) for event in engine.compare(settings(steps=2)))


def test_what_cannot_be_warmed_is_reported_when_it_is_asked_for(engine):
    warmed(engine, settings(base="nothing"))
    with pytest.raises(StudioError, match="no base model"):
        list(engine.compare(settings(base="nothing")))
    assert [e for e in engine.compare(settings(steps=2)) if isinstance(e, Saved)]


def test_who_comes_while_the_model_loads_sees_that_it_loads(engine, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    models = engine.models
    real = models.sample
    monkeypatch.setattr(models, "sample", lambda *args: (begun.set(), go.wait(60), real(*args)))
    engine.warm(settings())
    assert begun.wait(60)
    rendering = engine.compare(settings(steps=2))
    assert next(rendering) == Waiting("Loading {name}.", "tiny")
    go.set()
    assert [e for e in rendering if isinstance(e, Saved)]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"base": "nothing"}, "no base model “nothing”"),
        ({"base": "/etc"}, "not a model folder"),
        ({"negative": "/no/such/file"}, "no offset “file”"),
        ({"prompt": "x" * 5000}, "at most 4000"),
        ({"seeds": tuple(range(99))}, "at most 64"),
        ({"scheduler": "x"}, "no scheduler"),
        ({"steps": 0}, "steps is 0, outside 1 to 200"),
    ],
)
def test_what_cannot_be_done_is_reported_without_a_path(engine, wrong, sentence):
    with pytest.raises(StudioError, match=sentence) as refused:
        list(engine.compare(settings(**wrong)))
    assert refused.value.remedy and str(engine.workspace.root) not in str(refused.value)


def test_what_there_is_to_choose_from(workspace, engine):
    assert "tiny" in [choice.name for choice in list_bases(workspace)]
    assert "bad.safetensors" in [choice.name for choice in list_offsets(workspace)]
    assert find_base(workspace, "tiny") == workspace.models / "tiny"
    assert find_offset(workspace, "none") is None


def test_the_studio_floor_loads_without_torch():
    code = (
        "import sys, core.studio.comparing.engine, core.studio.runs.run, core.studio.library.choose, core.training.config; "
        "sys.exit(bool({'torch', 'diffusers', 'transformers', 'gradio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_input_picture_is_rendered_and_its_hash_and_strength_are_kept(workspace, engine):
    picture = Image.new("RGB", (40, 30), (200, 30, 30))
    inputs = {"image": picture, "strength": 0.5}
    saved = [e for e in engine.compare(settings(**inputs)) if isinstance(e, Saved)]
    facts = read_png(saved[-1].path)
    assert facts["strength"] == 0.5 and len(facts["input_sha256"]) == 64 and facts["inpainted"] is False
    rows = engine.estimate(settings(**inputs, steps=20)).row_forwards
    assert rows == 2 * 2 * 10 * len(settings().seeds)


def test_a_textual_inversion_acts_by_its_name_and_the_picture_says_which(workspace, engine, tmp_path):
    plain = [e for e in engine.compare(settings(prompt="ab, star")) if isinstance(e, Saved)]
    save_file({"emb_params": torch.full((2, 32), 3.0)}, workspace.embeddings / "star.safetensors")
    saved = [e for e in engine.compare(settings(prompt="ab, star")) if isinstance(e, Saved)]
    assert Image.open(saved[0].path).tobytes() != Image.open(plain[0].path).tobytes()
    sha = hashlib.sha256((workspace.embeddings / "star.safetensors").read_bytes()).hexdigest()[:12]
    assert (
        read_png(saved[1].path)["textual_inversions"] == f"star: {sha}"
        and "textual_inversions" not in plain[0].settings
    )
    assert f'TI hashes: "star: {sha}"' in Image.open(saved[0].path).info["parameters"]
    assert not [text for text in propose_file(workspace, saved[0].path).missing if "inversion" in text]
    (workspace.embeddings / "star.safetensors").unlink()
    missing = propose_file(workspace, saved[0].path).missing
    assert "The textual inversion “star” is not in the embeddings folder: its name is read as words." in missing
    notes = [e.text for e in engine.compare(settings(prompt="a embedding:star")) if isinstance(e, Note)]
    assert any("There is no textual inversion “star”" in note for note in notes)


def test_a_control_network_is_found_by_its_configuration_and_follows_the_base(workspace, engine):
    from diffusers import ControlNetModel

    from core.families import get

    for family in ("sd15", "sdxl"):
        net = ControlNetModel.from_unet(get(family).tiny().unet, conditioning_embedding_out_channels=(4, 8))
        net.save_pretrained(workspace.models / "edges" / family)
    assert [c.path.name for c in list_controls(workspace, "sd15")] == ["sd15"]
    assert "sd15" not in [choice.name for choice in list_bases(workspace)]
    picture = Image.new("RGB", (32, 32), (250, 250, 250))
    inputs = {"image": picture, "control": "sd15", "control_scale": 0.8}
    saved = [e for e in engine.compare(settings(**inputs)) if isinstance(e, Saved)]
    assert saved and read_png(saved[0].path)["control"] == "sd15"
    pixels = Image.open(saved[0].path).tobytes()
    shutil.move(
        workspace.models / "edges/sd15/diffusion_pytorch_model.safetensors", workspace.models / "one.safetensors"
    )
    shutil.rmtree(workspace.models / "edges/sd15")
    inputs["control"] = "one.safetensors"
    saved = [e for e in Engine(workspace, cpu=True).compare(settings(**inputs)) if isinstance(e, Saved)]
    assert (read_png(saved[0].path)["control"], Image.open(saved[0].path).tobytes()) == ("one.safetensors", pixels)
    for name, sentence in (("sdxl", "is Stable Diffusion 1.5"), ("nothing", "no ControlNet or T2I-Adapter “nothing”")):
        with pytest.raises(StudioError, match=sentence):
            list(engine.compare(settings(image=picture, control=name)))


def test_low_memory_slices_the_vae_and_the_batch_and_shows_the_same_pictures(workspace, engine):
    low = Engine(workspace, cpu=True, memory="low")
    comparison = settings(seeds=(1, 2, 3))
    events = list(low.compare(comparison))
    assert max(e.step for e in events if isinstance(e, Sampling)) == 3 * 3, "one seed of two columns at a time"
    assert low.models.pipe.vae.use_slicing and low.models.pipe.vae.use_tiling
    for one, other in zip(sorted_images(events), sorted_images(engine.compare(comparison)), strict=True):
        assert abs(one - other).max() <= 1


def sorted_images(events):
    saved = sorted((e for e in events if isinstance(e, Saved)), key=lambda e: (e.column, e.seed))
    return [np.asarray(Image.open(e.picture), dtype=int) for e in saved]


class Slow:
    """Stands in for sampling that never ends by itself: it asks its watch, as layers do."""

    def __init__(self):
        self.begun, self.ended = threading.Event(), threading.Event()

    def sample(self, comparison, files, watch):
        from core.generation.watch import Cancelled

        self.begun.set()
        while not watch.cancelled():
            time.sleep(0.01)
        self.ended.set()
        raise Cancelled


def test_row_75_a_rendering_has_a_deadline_after_which_the_engine_is_free(engine, monkeypatch):
    slow = Slow()
    with monkeypatch.context() as patched:
        patched.setattr(engine.models, "sample", slow.sample)
        engine.deadline = 0.2
        with pytest.raises(StudioError, match="was stopped after 0 minutes"):
            list(engine.compare(settings()))
        engine.deadline = 60
    assert slow.ended.is_set()
    assert [e for e in engine.compare(settings(steps=2)) if isinstance(e, Saved)]


def test_row_75_a_client_that_left_in_the_middle_of_a_step_is_noticed(engine, monkeypatch):
    """The page's generator is closed only where it yields; a rendering without news yields, too."""
    slow = Slow()
    list(engine.compare(settings(steps=1)))
    monkeypatch.setattr(engine.models, "sample", slow.sample)
    monkeypatch.setattr("core.studio.comparing.engine.SILENCE", 0.05)
    rendering = engine.compare(settings())
    assert isinstance(next(rendering), Working)
    assert slow.begun.wait(10) and not slow.ended.is_set()
    rendering.close()
    assert slow.ended.wait(10)


@pytest.mark.parametrize("kind", ["card", "machine", "python"])
def test_row_40_out_of_memory_is_reported_and_the_engine_continues(engine, monkeypatch, kind):
    import torch

    fault = {
        "card": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        "machine": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
        "python": MemoryError(),
    }[kind]

    def fail(*args):
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(engine.models, "sample", fail)
        with pytest.raises(StudioError, match="ran out of memory"):
            list(engine.compare(settings()))
    assert [e for e in engine.compare(settings(steps=2)) if isinstance(e, Saved)]


def test_a_fault_of_a_library_shows_no_path(engine, monkeypatch, capsys):
    def fail(*args):
        raise OSError(5, "Input/output error", "/home/someone/secret")

    monkeypatch.setattr(engine.models, "sample", fail)
    with pytest.raises(StudioError, match="Rendering failed: OSError") as refused:
        list(engine.compare(settings()))
    assert "secret" not in str(refused.value) and "secret" in capsys.readouterr().err
