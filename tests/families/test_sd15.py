"""The SD1.5 family: loading, conditioning, prediction, and what it refuses."""

import pytest
import torch

from core.errors import StudioError
from core.families import detect, get
from core.families.samplers import SAMPLERS, make_scheduler

FAMILY = get("sd15")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny"
    FAMILY.tiny().save_pretrained(path)
    return path


def test_a_saved_folder_loads_with_the_same_prediction(folder):
    pipe, back = FAMILY.tiny(), FAMILY.load(folder)
    x, t = torch.randn(2, *FAMILY.latent_shape(pipe, 32, 32)), torch.tensor([3, 800])
    with torch.no_grad():
        one, other = (FAMILY.predict(p.unet, x, t, FAMILY.encode_prompt(p, ["a", "b"])) for p in (pipe, back))
    torch.testing.assert_close(one, other)
    assert detect(folder) == "sd15"


def test_conditioning_is_the_stock_pipelines_own():
    pipe = FAMILY.tiny()
    with torch.no_grad():
        arguments = FAMILY.pipeline_arguments(FAMILY.encode_prompt(pipe, ["ab"]), FAMILY.encode_prompt(pipe, [""]))
        start = torch.randn(1, 4, 16, 16)
        settings = {"latents": start, "num_inference_steps": 2, "guidance_scale": 4.0, "output_type": "latent"}
        assert torch.equal(pipe("ab", **settings).images, pipe(**arguments, **settings).images)


def test_decoding_undoes_the_latent_scale():
    pipe = FAMILY.tiny()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    latents = FAMILY.encode_image(pipe, images)
    assert latents.shape[1:] == FAMILY.latent_shape(pipe, 32, 32)
    direct = pipe.vae.decode(pipe.vae.encode(images).latent_dist.mode()).sample
    torch.testing.assert_close(FAMILY.decode_latents(pipe, latents), direct)


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(StudioError, match="no readable model_index.json"):
        detect(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(StudioError, match="FluxPipeline"):
        detect(tmp_path)
    with pytest.raises(StudioError, match="not a Stable Diffusion 1.5 folder"):
        FAMILY.load(tmp_path)


def test_an_incomplete_folder_is_refused_without_its_path(folder, tmp_path):
    (tmp_path / "model_index.json").write_text((folder / "model_index.json").read_text())
    with pytest.raises(StudioError, match="could not be loaded") as refused:
        FAMILY.load(tmp_path)
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_scheduler_keeps_the_models_noise_schedule(name):
    pipe = FAMILY.tiny()
    torch.testing.assert_close(
        make_scheduler(name, pipe.scheduler.config).alphas_cumprod, pipe.scheduler.alphas_cumprod
    )


@pytest.mark.parametrize("size", [(30, 32), (32, 0), (2, 32)])
def test_a_size_the_model_cannot_have_is_refused(size):
    with pytest.raises(StudioError, match="no multiple of 4"):
        FAMILY.latent_shape(FAMILY.tiny(), *size)
