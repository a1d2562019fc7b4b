"""CogVideoX beyond what every family promises: its three layouts, its schedule, its frames."""

import pytest
import torch

from core.errors import StudioError
from core.families import get
from core.families.base import Size
from core.generation.rendering import Comparison, Texts, render
from core.method.guidance import GuidanceWeights
from core.method.schedule import NoiseSchedule, Prediction

FAMILY = get("cogvideox")


@pytest.mark.parametrize("layout", ["2b", "5b", "1.5"])
@torch.no_grad()
def test_prediction_in_each_layout_is_what_the_pipeline_computes(layout):
    pipe = FAMILY.tiny(layout=layout)
    size = FAMILY.defaults(pipe).size
    latents = torch.randn(1, *FAMILY.latent_shape(pipe, size))
    cond = FAMILY.encode_prompt(pipe, ["ab"], size)
    arguments = {**FAMILY.pipeline_arguments(cond, cond, size), "num_inference_steps": 1, "output_type": "latent"}
    ours = FAMILY.predict(pipe.transformer, latents, torch.tensor([999]), cond)
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler)
    ended = pipe(**arguments, latents=latents, guidance_scale=1.0)[0]
    torch.testing.assert_close(schedule.x0(ours, latents, torch.tensor([999])), ended, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["2b", "5b", "1.5"])
def test_each_layout_renders_as_many_frames_as_asked(layout):
    pipe = FAMILY.tiny(layout=layout)
    columns = (GuidanceWeights(omega=2.0),)
    images = render(pipe, FAMILY, Comparison(prompt="ab", columns=columns, steps=2, frames=9))
    assert len(images[0].frames) == 9


def test_the_noisiest_level_is_pure_noise_and_its_estimate_finite():
    pipe = FAMILY.tiny()
    schedule = NoiseSchedule.from_scheduler(pipe.scheduler)
    assert schedule.prediction is Prediction.V
    assert float(schedule.alpha_t[-1]) < 1e-3
    x = torch.randn(1, 2, 4, 8, 8)
    torch.testing.assert_close(schedule.x0(x, x * 0, torch.tensor([999])), -x, rtol=1e-3, atol=1e-3)


def test_guidance_may_grow_along_the_way_here_and_nowhere_else():
    pipe = FAMILY.tiny()
    plain, dynamic = (
        render(
            pipe, FAMILY, Comparison(prompt="ab", columns=(GuidanceWeights(omega=4.0),), steps=3, dynamic_guidance=d)
        )
        for d in (False, True)
    )
    assert plain[0].image.tobytes() != dynamic[0].image.tobytes()
    other = get("sd15")
    with pytest.raises(StudioError, match="does not support dynamic guidance"):
        render(other.tiny(), other, Comparison(prompt="ab", dynamic_guidance=True))


def test_frames_of_the_wrong_number_are_refused_with_one_that_fits():
    for frames in (0, 6, 13):
        with pytest.raises(StudioError, match=f"{frames} frames is not a multiple of 8 plus one.*Choose 49"):
            FAMILY.latent_shape(FAMILY.tiny(), Size(32, 32, frames))


def test_the_text_encoder_is_freed_and_rendering_continues_with_what_was_encoded():
    pipe = FAMILY.tiny()
    size = FAMILY.defaults(pipe).size
    cond = FAMILY.encode_prompt(pipe, ["ab"], size)
    before = render(pipe, FAMILY, Comparison(prompt="ab", negative_prompt="ab", steps=2))
    FAMILY.free_text_encoders(pipe)
    assert pipe.text_encoder is None
    texts = Texts(cond, cond)
    after = render(pipe, FAMILY, Comparison(prompt="ab", negative_prompt="ab", steps=2), texts=texts)
    assert before[0].image.tobytes() == after[0].image.tobytes()
