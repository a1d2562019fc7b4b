"""CogVideoX (Yang et al. 2024): text to video. The papers of NPO have no code for it; this is how their formulas apply.

    noise schedule  v-prediction with zero terminal SNR (Lin et al. 2023) and an SNR shift: both are in the scheduler's
                    alphas_cumprod, which `NoiseSchedule` reads. At the noisiest level alpha_T = 0: x_T is pure noise.
    Tweedie         x0_hat = alpha_t x_t - sigma_t v, finite at alpha_T = 0 too, where it is minus the output.
    renoising       x_s = (alpha_s / alpha_t) x_t + ..., defined because a rollout ends below the noisiest level.
    guidance        the pipeline mixes v-predictions; v is linear in epsilon at a fixed x_t, so mixing v with weights
                    that sum to one is mixing epsilon with the same weights.
    rollout grid    trailing spacing, as the model samples.
    text            T5 embeddings have no mask in this model; they are computed once before training, then the encoder,
                    larger than the denoiser, is freed.

Latents are (batch, frames, channels, height, width) as the transformer takes them.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor, nn

from core.errors import StudioError
from core.families import tiny
from core.families.base import Conditioning, FamilyDefaults, FamilySpec, Size
from core.families.image_vae import check_size

LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")


def make_tiny(seed: int = 0, *, layout: str = "2b") -> CogVideoXPipeline:
    """A pipeline of a few thousand random weights, for tests and speed alone: 9 frames of 32 px.

    Args:
        layout: "2b" (sinusoidal positions), "5b" (rotary positions) or "1.5" (rotary, patches in time).
    """
    torch.manual_seed(seed)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        patch_size_t=2 if layout == "1.5" else None,
        patch_bias=layout != "1.5",
        temporal_compression_ratio=4,
        max_text_seq_length=tiny.TOKENS,
        spatial_interpolation_scale=1.0,
        use_rotary_positional_embeddings=layout != "2b",
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(8, 8, 16),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        temporal_compression_ratio=4,
        sample_height=32,
        sample_width=32,
    )
    scheduler = CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=3.0 if layout == "2b" else 1.0,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )
    pipe = CogVideoXPipeline(
        tokenizer=tiny.t5_tokenizer(),
        text_encoder=tiny.t5(32),
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: list[str], size: Size | None = None, negative: bool = False) -> Conditioning:
    """encoder_hidden_states: (prompts, tokens, width) of T5, as the stock pipeline makes them."""
    embeds, _ = pipe.encode_prompt(
        prompts,
        do_classifier_free_guidance=False,
        max_sequence_length=pipe.transformer.config.max_text_seq_length,
        device=pipe._execution_device,
    )
    return {"encoder_hidden_states": embeds}


def pipeline_arguments(cond: Conditioning, negative_cond: Conditioning, size: Size) -> dict[str, Any]:
    """The conditionings as the stock pipeline takes them."""
    return {
        "prompt_embeds": cond["encoder_hidden_states"],
        "negative_prompt_embeds": negative_cond["encoder_hidden_states"],
        "height": size.height,
        "width": size.width,
        "num_frames": size.frames,
        "max_sequence_length": cond["encoder_hidden_states"].shape[1],
    }


def rotary(config: Any, latent_size: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Rotary position embeddings of (frames, height, width) latents, as the pipeline lays them; None for 2b."""
    if not config.use_rotary_positional_embeddings:
        return None
    frames, height, width = latent_size
    patch, patch_t = config.patch_size, config.patch_size_t
    grid = (height // patch, width // patch)
    base = (config.sample_height // patch, config.sample_width // patch)
    if patch_t is None:
        return get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=get_resize_crop_region_for_grid(grid, base[1], base[0]),
            grid_size=grid,
            temporal_size=frames,
            device=device,
        )
    return get_3d_rotary_pos_embed(
        embed_dim=config.attention_head_dim,
        crops_coords=None,
        grid_size=grid,
        temporal_size=(frames + patch_t - 1) // patch_t,
        grid_type="slice",
        max_size=base,
        device=device,
    )


def predict(denoiser: nn.Module, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The transformer's raw output, v, at x_t (batch, frames, channels, height, width), t (batch,)."""
    config = getattr(denoiser, "module", denoiser).config  # data parallelism wraps the network
    return denoiser(
        hidden_states=x_t,
        encoder_hidden_states=cond["encoder_hidden_states"],
        timestep=t,
        image_rotary_emb=rotary(config, (x_t.shape[1], x_t.shape[3], x_t.shape[4]), x_t.device),
        return_dict=False,
    )[0]


@torch.no_grad()
def encode_image(pipe: Any, images: Tensor) -> Tensor:
    """Scaled latents (batch, 1, channels, height, width): each picture as a video of one frame."""
    return encode_video(pipe, images[:, None])


@torch.no_grad()
def encode_video(pipe: Any, videos: Tensor) -> Tensor:
    """Scaled latents of videos (batch, frames, 3, height, width) in [-1, 1]."""
    latents = pipe.vae.encode(videos.to(pipe.vae.dtype).transpose(1, 2)).latent_dist.mode()
    return latents.transpose(1, 2) * pipe.vae.config.scaling_factor


def decode_latents(pipe: Any, latents: Tensor) -> Tensor:
    """Videos (batch, frames, 3, height, width) in [-1, 1], not clipped. A gradient of the latents passes through. CogVideoX 1.5
    samples one latent frame more than the video has, in front: it is dropped, as the pipeline does."""
    with torch.set_grad_enabled(latents.requires_grad):
        if pipe.transformer.config.patch_size_t is not None:
            latents = latents[:, 1:]
        scaled = latents.to(pipe.vae.dtype).transpose(1, 2) / pipe.vae.config.scaling_factor
        return pipe.vae.decode(scaled).sample.transpose(1, 2)


def latent_shape(pipe: Any, size: Size) -> tuple[int, ...]:
    """(frames, channels, height, width) of one latent.

    Raises:
        StudioError: a size that the patches do not divide; frames that are not 8 n + 1: the VAE decodes two latent frames at a
            time after the first, each of four frames.
    """
    config, space, time = pipe.transformer.config, pipe.vae_scale_factor_spatial, pipe.vae_scale_factor_temporal
    check_size(size, space * config.patch_size)
    unit = 2 * time
    if size.frames < 1 or (size.frames - 1) % unit:
        raise StudioError(
            "{frames} frames is not a multiple of {unit} plus one.",
            "Choose {example}.",
            frames=size.frames,
            unit=unit,
            example=unit * 6 + 1,
        )
    frames = (size.frames - 1) // time + 1 + (config.patch_size_t is not None)
    return (frames, config.in_channels, size.height // space, size.width // space)


def defaults(pipe: Any) -> FamilyDefaults:
    """50 steps at guidance_scale 6 as the model's authors recommend, at the size the transformer was trained for."""
    config = pipe.transformer.config
    size = Size(
        config.sample_height * pipe.vae_scale_factor_spatial,
        config.sample_width * pipe.vae_scale_factor_spatial,
        config.sample_frames,
    )
    scheduler = "dpm" if config.use_rotary_positional_embeddings else "ddim"
    return FamilyDefaults(
        size=size, steps=50, omega=5.0, scheduler=scheduler, fps=8 if config.patch_size_t is None else 16
    )


SPEC = FamilySpec(
    name="cogvideox",
    title="CogVideoX",
    pipeline=CogVideoXPipeline,
    parts=("transformer", "text_encoder"),
    tiny=make_tiny,
    lora_targets=LORA_TARGETS,
    samplers={"ddim": (CogVideoXDDIMScheduler, "DDIM"), "dpm": (CogVideoXDPMScheduler, "DPM++ 2M SDE")},
    encode_prompt=encode_prompt,
    pipeline_arguments=pipeline_arguments,
    predict=predict,
    encode_image=encode_image,
    decode_latents=decode_latents,
    latent_shape=latent_shape,
    defaults=defaults,
    load_options={},
    reader=lambda pipe: (pipe.tokenizer, pipe.transformer.config.max_text_seq_length),
    dynamic_guidance=True,
    large_text_encoder=True,
)
