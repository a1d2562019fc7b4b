"""Stable Diffusion 1.5 beyond what every family promises."""

import pytest
import torch

from core.errors import StudioError
from core.families import detect, get
from core.families.samplers import SAMPLERS

FAMILY = get("sd15")


def test_decoding_undoes_the_latent_scale():
    pipe = FAMILY.tiny()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    latents = FAMILY.encode_image(pipe, images)
    direct = pipe.vae.decode(pipe.vae.encode(images).latent_dist.mode()).sample
    torch.testing.assert_close(FAMILY.decode_latents(pipe, latents), direct)


def test_what_is_not_a_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(StudioError, match="no readable model_index.json"):
        detect(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(StudioError, match="FluxPipeline"):
        detect(tmp_path)
    with pytest.raises(StudioError, match="could not be loaded as Stable Diffusion 1.5"):
        FAMILY.load(tmp_path)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_scheduler_keeps_the_models_noise_schedule(name):
    pipe = FAMILY.tiny()
    made = FAMILY.make_scheduler(name, pipe.scheduler.config)
    torch.testing.assert_close(made.alphas_cumprod, pipe.scheduler.alphas_cumprod)
