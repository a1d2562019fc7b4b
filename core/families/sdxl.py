"""Stable Diffusion XL: two text encoders, pooled embeddings and time ids (Podell et al. 2023, section 2.2)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

from core.families import image_vae, tiny
from core.families.base import Conditioning, FamilyDefaults, FamilySpec, Size
from core.families.samplers import SAMPLERS


def make_tiny(seed: int = 0) -> StableDiffusionXLPipeline:
    """A pipeline of a few thousand random weights, for tests and speed alone: 32 px, 16 x 16 latents."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=56,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.13025,
    )
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=tiny.clip(32),
        text_encoder_2=tiny.clip(24, projection=True),
        tokenizer=tiny.clip_tokenizer(),
        tokenizer_2=tiny.clip_tokenizer(),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: list[str], size: Size | None = None, negative: bool = False) -> Conditioning:
    """encoder_hidden_states (prompts, tokens, both widths), pooled text_embeds, and time_ids (prompts, 6): original
    height and width, crop corner, target height and width, in pixels.

    An empty negative text is zeros where the pipeline's configuration forces them (SDXL base 1.0 does).
    """
    size = size or defaults(pipe).size
    embeds, _, pooled, _ = pipe.encode_prompt(
        prompts, device=pipe._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    if negative and pipe.config.force_zeros_for_empty_prompt:
        nonempty = torch.tensor([bool(prompt) for prompt in prompts], device=embeds.device)
        embeds, pooled = embeds * nonempty[:, None, None], pooled * nonempty[:, None]
    ids = torch.tensor([size.height, size.width, 0, 0, size.height, size.width], device=embeds.device)
    time_ids = ids.to(embeds.dtype).expand(len(prompts), 6)
    return {"encoder_hidden_states": embeds, "text_embeds": pooled, "time_ids": time_ids}


def pipeline_arguments(cond: Conditioning, negative_cond: Conditioning, size: Size) -> dict[str, Any]:
    """The conditionings as the stock pipeline takes them; it makes the same time ids itself."""
    return {
        "prompt_embeds": cond["encoder_hidden_states"],
        "pooled_prompt_embeds": cond["text_embeds"],
        "negative_prompt_embeds": negative_cond["encoder_hidden_states"],
        "negative_pooled_prompt_embeds": negative_cond["text_embeds"],
        "height": size.height,
        "width": size.width,
    }


def predict(denoiser: nn.Module, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The UNet's raw output at x_t (batch, channels, height, width), t (batch,)."""
    added = {"text_embeds": cond["text_embeds"], "time_ids": cond["time_ids"]}
    embeds = cond["encoder_hidden_states"]
    return denoiser(x_t, t, encoder_hidden_states=embeds, added_cond_kwargs=added, return_dict=False)[0]


def decode_latents(pipe: Any, latents: Tensor) -> Tensor:
    """Images in [-1, 1], not clipped. The original VAE overflows in float16 and says so (`force_upcast`): it decodes
    in float32 then; the fp16-fixed one does not need to."""
    if pipe.vae.dtype == torch.float16 and pipe.vae.config.force_upcast:
        pipe.vae.to(torch.float32)
    return image_vae.decode_latents(pipe, latents)


def defaults(pipe: Any) -> FamilyDefaults:
    """25 steps of DPM-Solver++ at the guidance_scale of 5 of the official code, at the size the UNet was trained for."""
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return FamilyDefaults(size=Size(side, side), steps=25, omega=4.0, scheduler="dpmsolver++")


SPEC = FamilySpec(
    name="sdxl",
    title="Stable Diffusion XL",
    pipeline=StableDiffusionXLPipeline,
    parts=("unet", "text_encoder", "text_encoder_2"),
    tiny=make_tiny,
    lora_targets=image_vae.UNET_LORA_TARGETS,
    samplers=SAMPLERS,
    encode_prompt=encode_prompt,
    pipeline_arguments=pipeline_arguments,
    predict=predict,
    encode_image=image_vae.encode_image,
    decode_latents=decode_latents,
    latent_shape=image_vae.unet_latent_shape,
    defaults=defaults,
    input_pipelines={
        "image": StableDiffusionXLImg2ImgPipeline,
        "inpaint": StableDiffusionXLInpaintPipeline,
        "control": StableDiffusionXLControlNetPipeline,
        "adapter": StableDiffusionXLAdapterPipeline,
    },
    load_options={"add_watermarker": False},
    large_text_encoder=True,
)
