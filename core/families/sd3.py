"""Stable Diffusion 3 (Esser et al. 2024): flow matching on a straight line, x_t = (1 - sigma) x_0 + sigma epsilon.

The method's formulas hold with alpha_t = 1 - sigma_t; the network predicts the velocity epsilon - x_0 and takes t = 1000 sigma.
Guidance mixes velocities with weights that sum to one, which is mixing either prediction with the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn

from core.errors import StudioError
from core.families import tiny
from core.families.base import Conditioning, FamilyDefaults, FamilySpec, Size
from core.families.image_vae import check_size, decode_latents, encode_image

LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "to_add_out",
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
)


def make_tiny(seed: int = 0) -> StableDiffusion3Pipeline:
    """A pipeline of a few thousand random weights, for tests and speed alone: 32 px, 16 x 16 latents."""
    torch.manual_seed(seed)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=48,
        out_channels=4,
        pos_embed_max_size=16,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=1.5305,
        shift_factor=0.0609,
    )
    pipe = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae,
        text_encoder=tiny.clip(32, projection=True),
        tokenizer=tiny.clip_tokenizer(),
        text_encoder_2=tiny.clip(16, projection=True),
        tokenizer_2=tiny.clip_tokenizer(),
        text_encoder_3=tiny.t5(64),
        tokenizer_3=tiny.t5_tokenizer(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: list[str], size: Size | None = None, negative: bool = False) -> Conditioning:
    """encoder_hidden_states (prompts, tokens of CLIP and T5, width) and pooled projections of both CLIPs."""
    embeds, _, pooled, _ = pipe.encode_prompt(
        prompts, prompts, prompts, device=pipe._execution_device, do_classifier_free_guidance=False
    )
    return {"encoder_hidden_states": embeds, "pooled_projections": pooled}


def pipeline_arguments(cond: Conditioning, negative_cond: Conditioning, size: Size) -> dict[str, Any]:
    """The conditionings as the stock pipeline takes them."""
    return {
        "prompt_embeds": cond["encoder_hidden_states"],
        "pooled_prompt_embeds": cond["pooled_projections"],
        "negative_prompt_embeds": negative_cond["encoder_hidden_states"],
        "negative_pooled_prompt_embeds": negative_cond["pooled_projections"],
        "height": size.height,
        "width": size.width,
    }


def predict(denoiser: nn.Module, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The transformer's raw output, epsilon - x_0, at x_t (batch, channels, height, width), t (batch,)."""
    return denoiser(hidden_states=x_t, timestep=t, return_dict=False, **cond)[0]


def latent_shape(pipe: Any, size: Size) -> tuple[int, ...]:
    """(channels, height, width) of one latent.

    Raises:
        StudioError: a size that the patches do not divide, or more than one frame.
    """
    if size.frames != 1:
        raise StudioError(
            "This model draws pictures, not {frames} frames.", "Choose a video model.", frames=size.frames
        )
    check_size(size, pipe.vae_scale_factor * pipe.patch_size)
    config = pipe.transformer.config
    return (config.in_channels, size.height // pipe.vae_scale_factor, size.width // pipe.vae_scale_factor)


def reader(pipe: Any) -> tuple[Any, int]:
    """T5 reads 256 tokens in the stock pipeline; where it was left out, CLIP reads what it can."""
    if pipe.tokenizer_3 is not None:
        return pipe.tokenizer_3, 256
    return pipe.tokenizer, pipe.tokenizer.model_max_length


def defaults(pipe: Any) -> FamilyDefaults:
    """28 steps at guidance_scale 7, the pipeline's own, at the size the transformer was trained for."""
    side = pipe.transformer.config.sample_size * pipe.vae_scale_factor
    return FamilyDefaults(size=Size(side, side), steps=28, omega=6.0, scheduler="flow-euler")


SPEC = FamilySpec(
    name="sd3",
    title="Stable Diffusion 3",
    pipeline=StableDiffusion3Pipeline,
    parts=("transformer", "text_encoder", "text_encoder_2", "text_encoder_3"),
    tiny=make_tiny,
    lora_targets=LORA_TARGETS,
    samplers={"flow-euler": (FlowMatchEulerDiscreteScheduler, "Euler")},
    encode_prompt=encode_prompt,
    pipeline_arguments=pipeline_arguments,
    predict=predict,
    encode_image=encode_image,
    decode_latents=decode_latents,
    latent_shape=latent_shape,
    defaults=defaults,
    load_options={},
    reader=reader,
    large_text_encoder=True,
)
