"""Input pictures with an offset, on tiny networks of SD1.5 and SDXL: two networks, seeds, masks, control networks."""

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter
from PIL import Image

from core.errors import StudioError
from core.families import get
from core.generation.inputs import InputImage, arguments_with, pipeline_with
from core.generation.rendering import Comparison, render
from core.generation.watch import Watch
from core.method.guidance import GuidanceWeights
from tests.builders.offsets import random_offset

PICTURE = Image.fromarray((np.indices((48, 64)).sum(0) * 2 % 256).astype("uint8")).convert("RGB")
PLAIN, NPO = GuidanceWeights(omega=2), GuidanceWeights(omega=2, alpha=1, beta=1)


both = pytest.mark.parametrize(
    "family", ["sd15", pytest.param("sdxl", marks=pytest.mark.long)], indirect=True, scope="module"
)
one_and_in_the_long_lane_both = pytest.mark.parametrize(
    "family", ["sd15", pytest.param("sdxl", marks=pytest.mark.slow)], indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def family(request):
    return get(request.param)


@pytest.fixture(scope="module")
def pipe(family):
    return family.tiny()


def control_net(pipe, kind):
    torch.manual_seed(3)
    if kind == "control":
        net = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(4, 8))
        for part in net.controlnet_down_blocks:
            torch.nn.init.normal_(part.weight, std=0.3)
        return net.eval()
    xl = "text_time" in str(pipe.unet.config.addition_embed_type)
    channels = list(pipe.unet.config.block_out_channels)
    return T2IAdapter(
        channels=channels,
        num_res_blocks=1,
        downscale_factor=4 if xl else 2,
        adapter_type="full_adapter_xl" if xl else "full_adapter",
    ).eval()


def input_for(pipe, use):
    if use == "image":
        return InputImage(image=PICTURE, strength=0.6)
    if use == "inpaint":
        mask = Image.new("L", PICTURE.size)
        mask.paste(255, (0, 0, 32, 48))
        return InputImage(image=PICTURE, mask=mask, strength=1.0)
    return InputImage(image=PICTURE, control=control_net(pipe, use), control_scale=1.0)


def pixels(images):
    return [np.asarray(image.image, dtype=int) for image in images]


def rendered(pipe, family, input_image, columns=(PLAIN, NPO), **options):
    comparison = Comparison(prompt="ab", seeds=(1, 2), columns=columns, steps=5)
    return render(pipe, family, comparison, input_image=input_image, **options)


@both
@pytest.mark.parametrize("use", ["image", "inpaint", "control"])
def test_the_plain_column_is_the_stock_pipelines_and_npo_moves_it(family, pipe, use):
    input_image = input_for(pipe, use)
    steps = []
    ours = pixels(
        rendered(
            pipe,
            family,
            input_image,
            negative=random_offset(family, pipe),
            watch=Watch(step=lambda e: steps.append(e.step)),
        )
    )
    assert steps == list(range(1, (3 if use == "image" else 5) + 1))
    stock = pipeline_with(pipe, family, input_image)
    stock.scheduler = family.make_scheduler(family.defaults(pipe).scheduler, pipe.scheduler.config)
    from core.families.base import Size
    from core.generation.rendering import start_latents

    conds = (
        family.encode_prompt(pipe, ["ab"], Size(32, 32)),
        family.encode_prompt(pipe, [""], Size(32, 32), negative=True),
    )
    size = Size(32, 32)
    options = {k: v for k, v in family.pipeline_arguments(*conds, size).items() if "embeds" in k}
    if use == "control":
        options["latents"] = start_latents((1,), family.latent_shape(pipe, size))
    theirs = stock(
        **options,
        **arguments_with(input_image, size, 1),
        generator=torch.Generator().manual_seed(1),
        num_inference_steps=5,
        guidance_scale=3,
    ).images[0]
    assert np.abs(ours[0] - np.asarray(theirs, dtype=int)).max() <= 1
    assert np.abs(ours[0] - ours[2]).max() > 3, "the offset acts"
    assert np.abs(ours[0] - ours[1]).max() > 3, "the seed acts"


@one_and_in_the_long_lane_both
@pytest.mark.parametrize("use", ["image", "inpaint", "control", "adapter"])
def test_a_column_does_not_depend_on_the_others(family, pipe, use):
    input_image, offset = input_for(pipe, use), random_offset(family, pipe)
    together = pixels(rendered(pipe, family, input_image, negative=offset))
    alone = pixels(rendered(pipe, family, input_image, columns=(NPO,), negative=offset))
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(together[2:], alone, strict=True))
    if use in ("control", "adapter"):
        without = pixels(rendered(pipe, family, None, negative=offset))
        assert np.abs(without[0] - together[0]).max() > 3, "the control network acts"


@both
def test_what_the_mask_leaves_stays(family, pipe):
    input_image = input_for(pipe, "inpaint")
    shown = pixels(rendered(pipe, family, input_image, negative=random_offset(family, pipe)))
    kept = [image[:, 24:] for image in shown]
    assert all(np.abs(kept[0] - other).mean() < 12 for other in kept[1:])
    assert np.abs(shown[0][:, :12] - shown[1][:, :12]).mean() > 2 * np.abs(kept[0] - kept[1]).mean()


@one_and_in_the_long_lane_both
def test_what_cannot_be_is_a_sentence(family, pipe):
    with pytest.raises(StudioError, match="strength is 0, outside"):
        InputImage(image=PICTURE, strength=0)
    with pytest.raises(StudioError, match="cannot be combined"):
        InputImage(image=PICTURE, mask=PICTURE, control=torch.nn.Identity())
    with pytest.raises(StudioError, match="leave no step"):
        rendered(pipe, family, InputImage(image=PICTURE, strength=0.1))
    with pytest.raises(StudioError, match="does not support an input image"):
        pipeline_with(None, get("sd3"), InputImage(image=PICTURE))


@one_and_in_the_long_lane_both
@pytest.mark.parametrize("negative_prompt", ["", "ba"])
def test_an_empty_prompt_is_unconditional_and_guidance_acts_through_the_offset_alone(family, pipe, negative_prompt):
    comparison = Comparison(
        prompt="", negative_prompt=negative_prompt, seeds=(4,), steps=5, columns=(PLAIN, GuidanceWeights(omega=0), NPO)
    )
    plain, bare, npo = pixels(render(pipe, family, comparison, negative=random_offset(family, pipe)))
    if not negative_prompt and family.name == "sd15":
        assert np.abs(plain - bare).max() <= 1, "both predictions are one"
    assert np.abs(plain - npo).max() > 3
