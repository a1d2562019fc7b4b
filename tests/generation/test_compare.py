"""Comparisons: what a column shows depends on its own settings and seed alone; stopping stops at once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import StudioError
from core.families import get
from core.generation.decoding import rough_images
from core.generation.rendering import Comparison, render, start_latents
from core.generation.watch import Cancelled, Watch
from core.method.guidance import GuidanceWeights
from core.offsets.offset import Offset
from tests.builders.offsets import DELTA, ETA

FAMILY = get("sd15")
PLAIN, NPO = GuidanceWeights(omega=2), GuidanceWeights(omega=2, alpha=0.7, beta=1)


@pytest.fixture(scope="module")
def pipe():
    return FAMILY.tiny()


def pixels(images):
    return np.stack([np.asarray(image.image, dtype=int) for image in images])


def compare(pipe, columns, seeds=(1, 2), **options):
    comparison = Comparison(prompt="ab", seeds=seeds, columns=columns, steps=4)
    return render(pipe, FAMILY, comparison, positive=ETA, negative=DELTA, **options)


def test_images_come_column_by_column_in_the_order_of_the_seeds(pipe):
    images = compare(pipe, (PLAIN, NPO, GuidanceWeights(omega=0)), seeds=(5, 3))
    assert [(i.column, i.seed) for i in images] == [(0, 5), (0, 3), (1, 5), (1, 3), (2, 5), (2, 3)]
    assert images[0].image.size == (32, 32)


def test_a_columns_pixels_do_not_depend_on_the_other_columns(pipe):
    together = compare(pipe, (PLAIN, NPO))
    other = compare(pipe, (NPO, GuidanceWeights(omega=2, alpha=0, beta=-1), GuidanceWeights(omega=5)))
    alone = compare(pipe, (NPO,))
    npo = pixels(i for i in together if i.column == 1)
    assert abs(npo - pixels(i for i in other if i.column == 0)).max() <= 1
    assert abs(npo - pixels(alone)).max() <= 1
    assert abs(npo - pixels(i for i in together if i.column == 0)).max() > 8


def test_a_seeds_pixels_do_not_depend_on_the_other_seeds_nor_on_how_rows_are_split(pipe):
    several = pixels(compare(pipe, (NPO,), seeds=(1, 2, 3)))
    assert abs(several[1] - pixels(compare(pipe, (NPO,), seeds=(2,)))[0]).max() <= 1
    assert abs(several - pixels(compare(pipe, (NPO,), seeds=(1, 2, 3), max_rows=2))).max() <= 1


def test_a_column_equals_the_formula_with_two_separate_networks(pipe):
    """The hand-written loop of the papers, with whole networks for the two predictions."""
    omega, steps, seed = 2.0, 4, 7
    image = render(
        pipe,
        FAMILY,
        Comparison(prompt="ab", seeds=(seed,), columns=(NPO,), steps=steps, scheduler="ddim"),
        positive=ETA,
        negative=DELTA,
    )[0]
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    cond, empty = (FAMILY.encode_prompt(pipe, [text]) for text in ("ab", ""))
    x = start_latents((seed,), (4, 16, 16))
    with torch.no_grad():
        for t in scheduler.timesteps:
            with ETA.apply(pipe.unet):
                positive = FAMILY.predict(pipe.unet, x, t[None], cond)
            with Offset.combine([(ETA, 0.7), (DELTA, 1.0)]).apply(pipe.unet):
                negative = FAMILY.predict(pipe.unet, x, t[None], empty)
            x = scheduler.step((omega + 1) * positive - omega * negative, t, x).prev_sample
        expected = (FAMILY.decode_latents(pipe, x).clamp(-1, 1) + 1) * 127.5
    got = np.asarray(image.image, dtype=float).transpose(2, 0, 1)
    assert abs(got - expected[0].numpy()).max() <= 1.0


def test_plain_columns_are_the_stock_pipelines_own_pictures(pipe):
    ours = render(pipe, FAMILY, Comparison(prompt="ab", seeds=(4,), columns=(PLAIN,), steps=4, scheduler="ddim"))
    stock = pipe(
        "ab", num_inference_steps=4, guidance_scale=3.0, latents=start_latents((4,), (4, 16, 16)), output_type="np"
    ).images[0]
    assert abs(np.asarray(ours[0].image, dtype=float) - stock * 255).max() <= 1.0


def test_stop_ends_within_the_step_and_leaves_the_pipeline_as_it_was(pipe):
    scheduler, steps = pipe.scheduler, []
    with pytest.raises(Cancelled):
        compare(pipe, (PLAIN, NPO), watch=Watch(step=steps.append, cancelled=lambda: len(steps) >= 2))
    assert len(steps) == 2 and pipe.scheduler is scheduler
    assert not pipe.unet._forward_pre_hooks


def test_previews_come_every_step(pipe):
    steps = []
    compare(pipe, (PLAIN, NPO), seeds=(1,), watch=Watch(step=steps.append))
    assert [(s.step, s.steps, len(s.images)) for s in steps] == [(n, 4, 2) for n in (1, 2, 3, 4)]
    assert rough_images(pipe, FAMILY, torch.zeros(1, 4, 16, 16))[0].size == (16, 16)


def test_the_last_preview_looks_like_its_own_end_and_the_first_does_not_yet():
    pipe = FAMILY.load(Path(__file__).parents[2] / "assets" / "miniature-sd15")
    steps = []
    comparison = Comparison(
        prompt="a large red circle, plain gray background", seeds=(1, 2), columns=(GuidanceWeights(omega=3),), steps=8
    )
    ends = render(pipe, FAMILY, comparison, watch=Watch(step=steps.append))

    def alike(preview, end):
        small = end.image.resize(preview.size, Image.Resampling.BOX)
        one, other = (np.asarray(picture, dtype=float).reshape(-1, 3) for picture in (preview, small))
        return np.corrcoef((one - one.mean(0)).ravel(), (other - other.mean(0)).ravel())[0, 1]

    for index, end in enumerate(ends):
        own = alike(steps[-1].images[index], end)
        assert own > 0.9
        assert own > 0.2 + alike(steps[0].images[index], end)
        assert own > 0.2 + alike(steps[-1].images[1 - index], end)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"steps": 0}, "steps is 0, outside 1 to 200"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"seeds": ()}, "nothing to render"),
        ({"seeds": (-1,)}, "seed is -1, outside"),
        ({"scheduler": "best"}, "no scheduler"),
        ({"height": 33}, "not a multiple of 4"),
    ],
)
def test_what_cannot_be_rendered_is_reported_in_a_sentence(pipe, setting, sentence):
    with pytest.raises(StudioError, match=sentence):
        render(pipe, FAMILY, Comparison(**{"prompt": "a", "steps": 2, **setting}))


def test_latents_that_became_nan_are_reported(pipe):
    broken = Offset({name: layer._replace(up=layer.up * 1e30) for name, layer in DELTA.low_rank.items()})
    with pytest.raises(StudioError, match="NaN or infinite"):
        render(pipe, FAMILY, Comparison(prompt="a", columns=(NPO,), steps=2), negative=broken)


def test_stop_ends_in_the_middle_of_a_step(pipe, monkeypatch):
    """One step of a large picture may take minutes."""
    monkeypatch.setattr("core.generation.watch.OFTEN", 0.0)
    asked = []

    def after_the_start():
        asked.append(1)
        return len(asked) > 3  # in the text, before the batch, and once in a layer

    steps = []
    with pytest.raises(Cancelled):
        compare(pipe, (PLAIN,), watch=Watch(step=steps.append, cancelled=after_the_start))
    assert not steps
    assert not any(module._forward_pre_hooks for module in pipe.unet.modules())


def test_row_75_the_models_own_size_times_many_images_is_bounded_too(pipe, monkeypatch):
    monkeypatch.setattr("core.generation.limits.ALL_PIXELS", 3 * 32 * 32)
    with pytest.raises(StudioError, match="4 images of 32 x 32 pixels"):
        compare(pipe, (PLAIN, NPO))


def test_row_75_a_picture_far_larger_than_the_models_own_is_refused_and_a_larger_one_gets_fewer_rows(pipe):
    with pytest.raises(StudioError, match="64 times the model's own size; at most 16"):
        render(pipe, FAMILY, Comparison(prompt="a", height=256, width=256, steps=2))
    steps = []
    comparison = Comparison(prompt="a", height=64, width=64, seeds=(1, 2), columns=(PLAIN,), steps=1)
    render(pipe, FAMILY, comparison, max_rows=8, watch=Watch(step=steps.append))
    assert len(steps) == 2, "four times the pixels: a quarter of the rows, one seed at a time"
