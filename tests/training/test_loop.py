"""Training on a tiny real network: it learns, resumes exactly, stops within a step, and says what is wrong."""

import itertools
import json
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.errors import StudioError
from core.events import (
    CheckpointSaved,
    Notice,
    PoolProgress,
    PreviewSaved,
    RunFinished,
    RunPaused,
    RunStopped,
    StepDone,
)
from core.generation.rendering import Comparison, render
from core.method.guidance import GuidanceWeights
from core.offsets.files import load_lora, read_offset
from core.training.clock import is_due
from core.training.cost import row_forwards_per_sample
from core.training.loop import train
from core.training.student import Student
from tests.training.variants import FAMILY, PROMPTS, VARIANTS, config, losses, run, settings_of

pytestmark = pytest.mark.long
RECORDED = json.loads(Path(__file__).with_name("recorded_losses.json").read_text(encoding="utf-8"))


RESUMED = ("own", "full with ema")
"""Variants that the default suite cuts and resumes; of the others it takes the first steps, and the long lane all."""


def recorded(events, variant, steps=6):
    """Whether the first losses are what version 0.2 computed, as near as processors agree."""
    assert len(losses(events)) == steps
    for (step, loss, gradient), (then, its_loss, its_gradient) in zip(losses(events), RECORDED[variant], strict=False):
        assert step == then
        assert float.fromhex(loss) == pytest.approx(float.fromhex(its_loss), rel=1e-3)
        assert float.fromhex(gradient) == pytest.approx(float.fromhex(its_gradient), rel=2e-2)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in RESUMED])
def test_the_first_steps_of_each_variant_have_the_recorded_losses(tmp_path, variant):
    events = itertools.takewhile(lambda e: e.step <= 2, events_of(tmp_path, settings_of(variant, tmp_path)))
    recorded(list(events), variant, steps=2)


def cut_and_resumed(folder, settings, last):
    """Cut hard: the iterator is dropped after step `last`, and the newest checkpoint is that of an even step."""
    cut = list(itertools.takewhile(lambda e: e.step <= last, events_of(folder, settings)))
    return losses(cut)[: last // 2 * 2] + losses(run(folder, settings))


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v in RESUMED else pytest.mark.slow) for v in VARIANTS])
def test_a_run_that_is_cut_and_resumed_repeats_the_uninterrupted_one_exactly(tmp_path, variant):
    settings = settings_of(variant, tmp_path)
    whole = run(tmp_path / "whole", settings)
    assert isinstance(whole[-1], RunFinished)
    recorded(whole, variant)
    last = 3 if variant in RESUMED else list(VARIANTS).index(variant) % 6
    assert cut_and_resumed(tmp_path / "cut", settings, last) == losses(whole)
    one, other = (load_lora(tmp_path / name / "offset.safetensors").low_rank for name in ("whole", "cut"))
    assert all(torch.equal(one[n].up, other[n].up) and torch.equal(one[n].down, other[n].down) for n in one)


@pytest.mark.slow
def test_a_run_cut_after_any_step_repeats_the_uninterrupted_one_exactly(tmp_path):
    whole = losses(run(tmp_path / "whole", config()))
    for last in range(6):
        assert cut_and_resumed(tmp_path / f"cut-{last}", config(), last) == whole


def events_of(folder, settings, **options):
    return train(settings, folder, FAMILY.tiny(), FAMILY, PROMPTS, cpu=True, **options)


@pytest.mark.parametrize("weights", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_previews_and_own_samples_of_a_resumed_run_are_the_same_bit_for_bit(tmp_path, weights):
    settings = config(weights=weights, preview_every=2, learning_rate=1e-3)

    def pictures_on(pipe):
        def preview(low_rank, kind):
            weights = GuidanceWeights(omega=2, beta=1 if kind == "guided" else 0)
            comparison = Comparison(prompt="p1", seeds=(0,), columns=(weights,), steps=2)
            return [i.image for i in render(pipe, FAMILY, comparison, negative=low_rank)]

        return preview

    def go(folder):
        pipe = FAMILY.tiny()
        return train(settings, folder, pipe, FAMILY, PROMPTS, cpu=True, preview=pictures_on(pipe))

    list(go(tmp_path / "whole"))
    assert list(itertools.takewhile(lambda e: e.step <= 3, go(tmp_path / "cut")))
    list(go(tmp_path / "cut"))
    for name in ("previews", "pool.safetensors", "offset.safetensors"):
        one, other = (
            {p.name: p.read_bytes() for p in (place.iterdir() if place.is_dir() else [place])}
            for place in (tmp_path / "whole" / name, tmp_path / "cut" / name)
        )
        assert one == other, name
    assert len(list((tmp_path / "cut" / "previews").iterdir())) == 4  # the base's, and those of steps 2, 4 and 6


def test_a_kill_between_a_checkpoint_and_its_offset_loses_nothing(tmp_path):
    run(tmp_path / "whole", config())
    cut = itertools.takewhile(
        lambda e: not isinstance(e, CheckpointSaved) or e.step < 4, events_of(tmp_path / "cut", config())
    )
    list(cut)
    (tmp_path / "cut" / "offsets" / "step-4.safetensors").unlink()
    run(tmp_path / "cut", config())
    for step in (2, 4, 6):
        name = f"offsets/step-{step}.safetensors"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_start_points_that_became_nan_are_never_kept(tmp_path):
    pipe = FAMILY.tiny()
    pipe.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(StudioError, match="start points became NaN"):
        list(train(config(), tmp_path, pipe, FAMILY, PROMPTS, cpu=True))
    assert not (tmp_path / "pool.safetensors").exists()


@pytest.mark.parametrize(
    ("step", "every", "last", "due"), [(2, 2, 9, True), (3, 2, 9, False), (9, 2, 9, True), (9, 0, 9, False)]
)
def test_what_is_due_is_due_at_each_and_at_the_end(step, every, last, due):
    assert is_due(step, every, last) is due


def test_the_loss_falls_on_a_fixed_batch(tmp_path):
    settings = config(steps=30, batch_size=12, start="trajectory", learning_rate=3e-3, warmup_steps=1)
    values = [e.loss for e in run(tmp_path, settings) if isinstance(e, StepDone)]
    assert sum(values[-8:]) < 0.98 * sum(values[:8])


def test_full_weights_say_how_much_their_offset_holds(tmp_path):
    events = run(tmp_path, config(weights="full", learning_rate=1e-3))
    notices = [e.message for e in events if isinstance(e, Notice)]
    held = float(read_offset(tmp_path / "offset.safetensors").provenance["captured"])
    assert 0 < held < 1 and notices == [f"The offset of rank 2 captures {held:.0%} of what was trained."]


def test_the_offset_carries_its_provenance_and_no_path(tmp_path):
    run(tmp_path, config(base=str(tmp_path / "secret" / "model")))
    offset = read_offset(tmp_path / "offset.safetensors")
    assert offset.rank == 2 and offset.family == "sd15"
    assert offset.provenance["steps"] == "6" and offset.provenance["base"] == "model"
    assert str(tmp_path) not in json.dumps(dict(offset.provenance))
    last, whole = (load_lora(tmp_path / name).low_rank for name in ("offsets/step-6.safetensors", "offset.safetensors"))
    assert all(torch.equal(last[name].up, whole[name].up) for name in whole), "the last checkpoint's is the run's"


@pytest.mark.parametrize(("asked_for", "ending"), [("pause", RunPaused), ("stop", RunStopped)])
def test_a_request_is_followed_within_one_step_with_a_checkpoint(tmp_path, asked_for, ending):
    asked = []

    def stop():
        asked.append(1)
        return asked_for if len(asked) > 5 else None

    events = run(tmp_path, config(start="noise", steps=50, checkpoint_every=40), stop=stop)
    assert isinstance(events[-1], ending) and isinstance(events[-2], CheckpointSaved)
    assert events[-1].step == events[-2].step == 5
    if asked_for == "stop":
        assert read_offset(tmp_path / events[-1].offset).provenance["steps"] == "5"


def test_a_stopped_run_shows_what_it_reached(tmp_path):
    drawn = []

    def preview(low_rank, kind):
        drawn.append(kind)
        return [Image.new("RGB", (8, 8))]

    wishes = iter([None] * 5 + ["stop"] * 9)
    settings = config(start="noise", steps=50, preview_every=40)
    events = run(tmp_path, settings, stop=lambda: next(wishes), preview=preview)
    assert isinstance(events[-1], RunStopped) and isinstance(events[-2], PreviewSaved)
    assert events[-2].step == events[-1].step > 0 and drawn == ["plain", "last"]
    assert (tmp_path / events[-2].guided[0]).is_file()


def test_own_samples_are_drawn_once_and_shown_as_they_come(tmp_path):
    settings = config(steps=2)
    first = run(tmp_path, settings, stop=lambda: None)
    progress = [e for e in first if isinstance(e, PoolProgress)]
    assert [(e.done, len(e.pictures)) for e in progress] == [(3, 3), (4, 4)]
    assert all((tmp_path / name).is_file() for name in progress[-1].pictures)
    again = run(tmp_path, settings)
    assert not [e for e in again if isinstance(e, PoolProgress | StepDone)]


def test_a_request_is_followed_while_own_samples_are_drawn(tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return "pause" if len(asked) == 3 else None

    settings = config(steps=2)
    events = run(tmp_path / "cut", settings, stop=stop)
    assert isinstance(events[-1], RunPaused) and "own samples" in events[-1].reason
    assert not (tmp_path / "cut" / "pool.safetensors").exists()
    assert losses(run(tmp_path / "cut", settings)) == losses(run(tmp_path / "whole", settings))


@pytest.mark.parametrize("start", [pytest.param("noise", marks=pytest.mark.slow), "own"])
def test_a_prompt_file_that_changes_behind_a_run_changes_nothing(tmp_path, start):
    whole = run(tmp_path / "whole", config(start=start))
    requests = iter([None] * (18 if start == "own" else 3) + ["pause"] * 9)
    cut = run(tmp_path / "cut", config(start=start), stop=requests.__next__)
    assert isinstance(cut[-1], RunPaused) and 0 < cut[-1].step < 6
    other = list(train(config(start=start), tmp_path / "cut", FAMILY.tiny(), FAMILY, ["x", "y"], cpu=True))
    assert losses(cut) + losses(other) == losses(whole)


def test_no_prompts_at_all_is_reported_before_anything_is_drawn(tmp_path):
    with pytest.raises(StudioError, match="no prompts") as refused:
        list(train(config(), tmp_path, FAMILY.tiny(), FAMILY, [], cpu=True))
    assert "caption_dropout" in refused.value.remedy
    settings = config(caption_dropout=1.0)
    assert isinstance(list(train(settings, tmp_path / "b", FAMILY.tiny(), FAMILY, [], cpu=True))[-1], RunFinished)


def test_checkpoints_that_cannot_fit_are_refused_with_the_figures(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10**5})
    monkeypatch.setattr("core.training.trainer.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(StudioError, match=r"0.0 GB free; the checkpoints of this run need 0.\d GB"):
        run(tmp_path, config(weights="full"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
def test_a_precision_the_machine_lacks_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(StudioError, match="cannot train with precision fp16"):
        run(tmp_path, config(precision="fp16"))


def test_a_preview_cut_short_by_a_request_leaves_no_half_set(tmp_path):
    events = run(tmp_path, config(preview_every=2), preview=lambda low_rank, kind: None)
    assert isinstance(events[-1], RunFinished) and not [e for e in events if isinstance(e, PreviewSaved)]
    assert not list((tmp_path / "previews").iterdir())


def test_previews_show_the_same_seeds_with_and_without_the_offset(tmp_path):
    pipe = FAMILY.tiny()
    seen = []

    def preview(low_rank, kind):
        weights = GuidanceWeights(omega=2, beta=1 if kind == "guided" else 0)
        comparison = Comparison(prompt="p1", seeds=(0,), columns=(weights,), steps=2)
        images = [i.image for i in render(pipe, FAMILY, comparison, negative=low_rank)]
        seen.append((kind, images[0].tobytes()))
        return images

    for weights in ("lora", "full"):
        seen.clear()
        pipe = FAMILY.tiny()
        settings = config(preview_every=3, weights=weights, learning_rate=1e-2)
        events = list(train(settings, tmp_path / weights, pipe, FAMILY, PROMPTS, preview=preview, cpu=True))
        saved = [e for e in events if isinstance(e, PreviewSaved)]
        assert [e.step for e in saved] == [0, 3, 6] and saved[0].guided == saved[0].plain, (
            "the base before the first step"
        )
        assert all((tmp_path / weights / name).is_file() for e in saved for name in e.plain + e.guided)
        plain = [pixels for kind, pixels in seen if kind == "plain"]
        guided = [pixels for kind, pixels in seen if kind == "guided"]
        assert len(plain) == 1 and saved[0].plain == saved[1].plain  # the base's pictures are drawn once
        assert guided[0] != guided[1] and guided[1] != plain[0]


def test_settings_that_changed_are_shown_and_refused(tmp_path):
    run(tmp_path, config(steps=2))
    with pytest.raises(StudioError, match="steps 2 → 9"):
        run(tmp_path, config(steps=9))


def test_a_base_that_changed_is_refused(tmp_path):
    run(tmp_path, config(), stop=iter([None] * 5 + ["pause"] * 9).__next__)
    with pytest.raises(StudioError, match="base model has changed"):
        list(train(config(), tmp_path, FAMILY.tiny(seed=1), FAMILY, PROMPTS, cpu=True))


def test_a_loss_that_became_nan_stops_the_run_before_the_weights_change(tmp_path):
    def blow_up(folder):
        pipe = FAMILY.tiny()
        for event in train(config(start="noise"), folder, pipe, FAMILY, PROMPTS, cpu=True):
            yield event
            if isinstance(event, CheckpointSaved) and event.step == 2:
                pipe.unet.conv_in.weight.data.fill_(float("nan"))

    with pytest.raises(StudioError, match="loss became NaN or infinite at step 3") as failed:
        list(blow_up(tmp_path))
    assert "learning rate" in failed.value.remedy
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-0000002"]


def test_the_newest_checkpoint_damaged_falls_back_to_the_one_before_and_says_so(tmp_path):
    whole = run(tmp_path / "cut", config())
    newest = tmp_path / "cut" / "checkpoints" / "step-0000006" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    events = run(tmp_path / "cut", config())
    assert "step-0000006 is damaged; the run continues from step-0000004" in events[0].message
    assert losses(events) == losses(whole)[4:]


def test_the_ema_reference_is_the_average_of_whole_products():
    pipe = FAMILY.tiny()
    student = Student(pipe.unet, FAMILY.lora_targets, config(reference="ema", ema_decay=0.7))
    base = {n: p.detach().clone() for n, p in FAMILY.tiny().unet.named_parameters()}
    expected: dict[str, torch.Tensor] = {}
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        for parameter in student.parameters:
            parameter.data = torch.randn(parameter.shape, generator=generator)
        student.update_reference()
        for name, layer in student.low_rank().low_rank.items():
            before = expected.get(name, torch.zeros(()))
            expected[name] = 0.7 * before + 0.3 * layer.dense()
    with student.reference() as network:
        weights = dict(network.named_parameters())
    for name, change in expected.items():
        torch.testing.assert_close(weights[f"{name}.weight"] - base[f"{name}.weight"], change, atol=1e-5, rtol=1e-4)


def test_images_of_a_folder_can_be_the_start(tmp_path):
    from PIL import Image

    with pytest.raises(StudioError, match="no captioned image"):
        (tmp_path / "images").mkdir()
        run(tmp_path / "run0", config(start="images", images_folder=str(tmp_path / "images")))
    Image.new("RGB", (50, 40), "red").save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "a.txt").write_text("a red field")
    settings = config(start="images", images_folder=str(tmp_path / "images"), steps=4)
    whole = run(tmp_path / "whole", settings)
    assert isinstance(whole[-1], RunFinished)
    cut = run(tmp_path / "cut", settings, stop=iter([None] * 3 + ["pause"] * 9).__next__)
    (tmp_path / "images" / "a.png").unlink()
    assert losses(cut) + losses(run(tmp_path / "cut", settings)) == losses(whole)


def test_the_counted_forwards_are_the_real_ones(tmp_path, monkeypatch):
    pipe = FAMILY.tiny()
    rows = []
    real = pipe.unet.forward
    monkeypatch.setattr(pipe.unet, "forward", lambda x, *a, **k: rows.append(len(x)) or real(x, *a, **k))
    settings = config(start="noise", rollout_guidance=2.0, steps=4)
    list(train(settings, tmp_path, pipe, FAMILY, PROMPTS, cpu=True))
    # a backward is counted as two forwards and is not seen here; at the end the dose is measured on four own samples
    dose = 4 * settings.ddim_grid + 4 * 5 * 3
    assert (sum(rows) - dose) / (4 * settings.batch_size) == row_forwards_per_sample(settings) - 2


def test_equal_trainings_give_equal_files(tmp_path):
    for name in ("one", "two"):
        run(tmp_path / name, config(steps=2))
    for path in ("offset.safetensors", "pool.safetensors", "checkpoints/step-0000002/state.safetensors"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_row_51_a_clock_that_jumps_changes_no_duration(tmp_path, monkeypatch):
    """Someone sets the clock, or summer time begins, while a training runs."""
    jumps = itertools.cycle([0.0, -3_600.0, 86_400.0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + next(jumps))
    events = run(tmp_path, config(steps=3))
    elapsed = [event.elapsed for event in events]
    assert isinstance(events[-1], RunFinished) and elapsed == sorted(elapsed)
    assert elapsed[0] >= 0 and elapsed[-1] < 600
    assert all(0.001 < e.rate < 10_000 for e in events if isinstance(e, StepDone))
