"""Stable Diffusion 1.5 and everything in its layout, the bundled miniature included."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

from core.families import tiny
from core.families.base import Conditioning, FamilyDefaults, FamilySpec, Size
from core.families.image_vae import UNET_LORA_TARGETS, decode_latents, encode_image, unet_latent_shape
from core.families.samplers import SAMPLERS


def make_tiny(seed: int = 0) -> StableDiffusionPipeline:
    """A pipeline of a few thousand random weights, for tests and speed alone: 32 px, 16 x 16 latents."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=tiny.clip(32),
        tokenizer=tiny.clip_tokenizer(),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: list[str], size: Size | None = None, negative: bool = False) -> Conditioning:
    """encoder_hidden_states: (prompts, tokens, width), as the stock pipeline makes them."""
    embeds, _ = pipe.encode_prompt(
        prompts, device=pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return {"encoder_hidden_states": embeds}


def pipeline_arguments(cond: Conditioning, negative_cond: Conditioning, size: Size) -> dict[str, Any]:
    """The conditionings as the stock pipeline takes them."""
    return {
        "prompt_embeds": cond["encoder_hidden_states"],
        "negative_prompt_embeds": negative_cond["encoder_hidden_states"],
        "height": size.height,
        "width": size.width,
    }


def predict(denoiser: nn.Module, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The UNet's raw output at x_t (batch, channels, height, width), t (batch,)."""
    return denoiser(x_t, t, encoder_hidden_states=cond["encoder_hidden_states"], return_dict=False)[0]


def defaults(pipe: Any) -> FamilyDefaults:
    """The official 25 steps of DPM-Solver++ at guidance_scale 7.5, at the size the UNet was trained for."""
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return FamilyDefaults(size=Size(side, side), steps=25, omega=6.5, scheduler="dpmsolver++")


SPEC = FamilySpec(
    name="sd15",
    title="Stable Diffusion 1.5",
    pipeline=StableDiffusionPipeline,
    parts=("unet", "text_encoder"),
    tiny=make_tiny,
    lora_targets=UNET_LORA_TARGETS,
    samplers=SAMPLERS,
    encode_prompt=encode_prompt,
    pipeline_arguments=pipeline_arguments,
    predict=predict,
    encode_image=encode_image,
    decode_latents=decode_latents,
    latent_shape=unet_latent_shape,
    defaults=defaults,
    input_pipelines={
        "image": StableDiffusionImg2ImgPipeline,
        "inpaint": StableDiffusionInpaintPipeline,
        "control": StableDiffusionControlNetPipeline,
        "adapter": StableDiffusionAdapterPipeline,
    },
    load_options={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
)
